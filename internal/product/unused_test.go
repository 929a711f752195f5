package product

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goss-org/goss/resource"

	"github.com/hallmark-ci/hallmark/internal/config"
)

const someGoss = "file: {/etc/motd: {exists: true}}\n"

const someHiera = `version: 5
defaults: {datadir: data, data_hash: yaml_data}
hierarchy:
  - {name: Role, path: "role/%{facts.hallmark_role}.yaml"}
  - {name: Common, path: common.yaml}
`

// secretTree is a product whose bastion and whose db read the secrets that they have.
func secretTree() tree {
	return tree{
		"hallmark.yaml":                                  good + "secrets:\n- {name: db_key, roles: [db]}\n",
		"puppet/manifests/site.pp":                       "include \"role::${facts['hallmark_role']}\"\ninclude profile::everywhere\n",
		"puppet/hiera.yaml":                              someHiera,
		"puppet/data/common.yaml":                        "secret::fixed: the same everywhere\n",
		"puppet/data/role/web.yaml":                      "b: 1\n",
		"puppet/modules/role/manifests/web.pp":           "class role::web {\n  contain profile::web\n}\n",
		"puppet/modules/role/manifests/db.pp":            "class role::db {\n  contain profile::db\n}\n",
		"puppet/modules/role/manifests/bastion.pp":       "class role::bastion {\n  contain profile::totp\n}\n",
		"puppet/modules/profile/manifests/web.pp":        "class profile::web { }\n",
		"puppet/modules/profile/manifests/db.pp":         "class profile::db {\n  $x = lookup('secret::db_key')\n  $y = lookup('secret::fixed')\n}\n",
		"puppet/modules/profile/manifests/totp.pp":       "class profile::totp {\n  $seed = lookup('secret::totp_seed')\n}\n",
		"puppet/modules/profile/manifests/everywhere.pp": "class profile::everywhere { }\n",
		"puppet/modules/profile/functions/launched.pp":   "function profile::launched() {\n  $facts['hallmark_stage'] == 'launch'\n}\n",
	}
}

// hieraTree is a product with data for Hiera.
func hieraTree(hiera string) tree {
	return tree{"puppet/hiera.yaml": hiera, "puppet/data/common.yaml": "a: 1\n", "puppet/data/role/web.yaml": "b: 1\n"}
}

// Everything that may lie in a product and would silently not be used, and what the user is told. The text of
// the messages is in testdata/unused.txt.
func TestUnused(t *testing.T) {
	submodule := func(dir string) tree {
		return tree{dir + "/.git": "gitdir: ../.git/modules/x\n", dir + "/init.pp": "class x { }\n"}
	}
	cases := []struct {
		name  string
		files tree
	}{
		{"starlark beside goss files", tree{"suites/build/failover.star": "def test_x(env): fail()\n", "suites/smoke/up.star": "def test_x(env): fail()\n"}},
		{"programs beside goss files", tree{"suites/smoke/check": "#!/bin/sh\nexit 1\n", "suites/build/check.sh": "#!/bin/sh\nexit 1\n", "suites/build/README": "#!/bin/sh\n"}},
		{"tiers that no run tests", tree{"suites/functional/shop.star": "def test_x(env): fail()\n", "suites/functional/all.yaml": someGoss, "suites/application/order": "#!/bin/sh\nexit 1\n"}},
		{"tests in no tier", tree{"suites/all.yaml": someGoss, "suites/web.star": "x\n"}},
		{"files that are no tests", tree{"suites/build/web.yaml~": someGoss, "suites/build/db.json": "{}", "suites/build/db.yml": someGoss, "suites/smoke/data.csv": "1\n"}},
		{"hidden goss file", tree{"suites/build/.db.yaml": someGoss}},
		{"goss files outside suites", tree{"tests/goss/web.yaml": someGoss, "goss.yaml": "{{ if true }}\n", "build/web.yml": "service: {ssh: {running: true}}\nport: {\"tcp:80\": {listening: true}}\n", "tests/shop.star": "x\n"}},
		{"includes", tree{"suites/build/web.yaml": "gossfile:\n  ../parts/ssh.yaml: {}\n  ssh: {file: parts/ssh.yaml}\n  /etc/goss/parts.yaml: {}\n"}},
		{"includes of a template", tree{"suites/build/web.yaml": "{{ $os := \"debian\" -}}\ngossfile:\n  \"{{ $os }}/*.yaml\": {}\n  part:\n    file: part.yaml\n  /etc/goss/x.yaml: {}\nservice: {ssh: {running: true}}\n"}},
		{"words that goss ignores", tree{"suites/build/web.yaml": "command:\n  uname -a:\n    exit-statsu: 0\n  \"true\": {exit-status: 0, retry_count: 3}\nservice:\n  nginx: {title: The web server}\n"}},
		{"skipped without a reason", tree{"suites/build/web.yaml": "port:\n  \"tcp:80\": {listening: true, skip: true}\n  \"tcp:81\": {listening: true, skip: true, meta: {reason: \" \"}}\n  \"tcp:82\": {listening: true, skip: true, meta: {reason: \"ticket 7\"}}\n  \"tcp:83\": {listening: true, skip: false}\n"}},
		{"a check twice", tree{"suites/build/web.yaml": "port:\n  \"tcp:80\": {listening: true}\n  \"tcp:80\": {listening: false}\n"}},
		{"variables that no server has", tree{"suites/build/web.yaml": "{{if .Vars.hallmark_rol}}\n" + someGoss + "{{end}}\n# {{.Vars.version}} {{.Vars.hallmark.server}}\n"}},

		{"Puppetfile", tree{"Puppetfile": "mod 'puppetlabs/ntp'\n", "puppet/Puppetfile": "mod 'puppetlabs/ntp'\n"}},
		{"environment.conf", tree{"puppet/environment.conf": "# ours\nmodulepath = site-modules:modules:$basemodulepath\nmanifest = manifests/nodes\nconfig_version = 'scripts/v'\n"}},
		{"files of a control repository", tree{"environment.conf": "modulepath = modules\n", "hiera.yaml": someHiera, "manifests/site.pp": "x\n", "site-modules/role/manifests/web.pp": "x\n", "site-modules/role/manifests/db.pp": "x\n", "site-modules/profile/manifests/a.pp": "x\n"}},
		{"manifests beside site.pp", tree{"puppet/manifests/nodes.pp": "x\n", "puppet/manifests/more/a.pp": "x\n"}},
		{"modules elsewhere", tree{"puppet/site/role/manifests/web.pp": "class role::web { }\n"}},
		{"a class in the wrong place", tree{"puppet/modules/web/init.pp": "class web { }\n", "puppet/modules/web.pp": "class web { }\n"}},
		{"code of an environment", tree{"puppet/lib/facter/x.rb": "x\n", "puppet/functions/x.pp": "x\n", "puppet/types/a.pp": "x\n"}},
		{"a role without its class", tree{"puppet/modules/role/manifests/web.pp": "class role::web { }\n"}},
		{"a role with a dash", tree{"hallmark.yaml": strings.NewReplacer("  web:", "  app-server:", "role: web", "role: app-server").Replace(good), "suites/build/web.yaml": "-> ../smoke/all.yaml"}},

		{"data without hiera.yaml", tree{"puppet/data/common.yaml": "a: 1\n"}},
		{"hiera 3", hieraTree("---\n:hierarchy:\n  - common\n:backends:\n  - yaml\n")},
		{"hiera 4", hieraTree("version: 4\n")},
		{"hiera without a version", hieraTree("hierarchy: []\n")},
		{"hiera of another shape", hieraTree("version: 5\nhierarchy: common\n")},
		{"a data folder that is not there", hieraTree("version: 5\ndefaults: {datadir: hieradata}\nhierarchy:\n  - {name: Common, path: common.yaml}\n")},
		{"levels that hold nothing", hieraTree(someHiera + "  - {name: Site, path: site.yaml}\n  - {name: Parts, glob: \"parts/*.yaml\"}\n  - {name: Stage, path: \"stage/%{hallmark_stage}.yaml\"}\n")},
		{"data that no level reads", with(hieraTree(someHiera), tree{"puppet/data/role/wbe.yaml": "a: 1\n", "puppet/data/web.json": "{}", "puppet/more.eyaml": "a: 1\n"})},
		{"a key of hiera.yaml twice", hieraTree(someHiera + "defaults: {datadir: other}\n")},

		{"secrets that others have", with(secretTree(), tree{
			"puppet/modules/profile/manifests/web.pp":        "# lookup('secret::comment')\nclass profile::web {\n  include profile::app, profile::totp\n  $a = lookup('secret::db_key')\n  $b = epp('profile/x.epp')\n  $c = profile::key()\n}\n",
			"puppet/modules/profile/manifests/app.pp":        "class profile::app {\n  if profile::launched() {\n    if $facts['hallmark_stage'] == 'launch' {\n      file { '/x': content => lookup('secret::nowhere', Sensitive[String]) }\n    } else {\n      $y = lookup('secret::db_key')\n    }\n  }\n}\n",
			"puppet/modules/profile/manifests/totp.pp":       "class profile::totp {\n  $seed = lookup('secret::totp_seed')\n}\n",
			"puppet/modules/profile/templates/x.epp":         "lookup('secret::text')\n<%# lookup('secret::comment') %>\n<%= lookup('secret::db_key').unwrap %>\n",
			"puppet/modules/profile/functions/key.pp":        "function profile::key() {\n  lookup(\"secret::db_key\")\n}\n",
			"puppet/modules/profile/manifests/everywhere.pp": "class profile::everywhere {\n  $a = lookup('secret::nowhere')\n}\n",
		})},

		{"other procedures", tree{"release/procedure.yml": "version: 1\n", "procedure.yaml": "version: 1\n", "release/web.yaml": "a: 1\n"}},
		{"another product file", tree{"hallmark.yml": "version: 1\n"}},

		{"submodules", tree{".gitmodules": "[submodule \"ntp\"]\n\tpath = puppet/modules/ntp\n\turl = https://example.org/ntp\n"}},
		{"a repository inside", submodule("puppet/modules/x")},
		{"attributes", tree{".gitattributes": "# all\n* text=auto\ntests export-ignore\n*.txt export-subst -text\n*.key filter=git-crypt diff=git-crypt\n/doc -export-ignore\n", "app/.gitattributes": "*.html ident\n"}},
		{"pointers to large files", tree{"app/db.sql": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"}},
		{"links out of the product", tree{"app/hosts": "-> /etc/hosts", "app/up": "-> ../../other/x", "app/none": "-> nothing", "app/round": "-> round", "app/git": "-> ../.git/config"}},
	}
	var said strings.Builder
	for _, c := range cases {
		files := goodTree()
		maps.Copy(files, c.files)
		dir := t.TempDir()
		files.write(t, dir)
		_, err := Load(dir, "")
		var problem *config.Error
		if !errors.As(err, &problem) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var all config.Errors
		if !errors.As(err, &all) {
			t.Errorf("%s: one problem and no list: %v", c.name, err)
		}
		for _, one := range all {
			if one.Remedy == "" {
				t.Errorf("%s: no remedy: %v", c.name, one)
			}
		}
		said.WriteString("# " + c.name + "\n" + err.Error() + "\n\n")
	}
	golden(t, "unused.txt", said.String())
}

func with(a, b tree) tree {
	maps.Copy(a, b)
	return a
}

// What people keep beside what is used: documentation, tests and examples of modules, code for other tools.
func TestNothingUnused(t *testing.T) {
	for name, more := range map[string]tree{
		"documentation": {"suites/README.md": "x\n", "suites/build/README": "x\n", "suites/build/.keep": "", "release/.keep": "", "release/NOTES.md": "x\n", "docs/x.pp.md": "x\n"},
		"a module": {
			"puppet/modules/web/manifests/init.pp": "class web { }\n", "puppet/modules/web/manifests/a/b.pp": "class web::a::b { }\n",
			"puppet/modules/web/functions/x.pp": "x\n", "puppet/modules/web/types/x.pp": "x\n", "puppet/modules/web/plans/x.pp": "x\n",
			"puppet/modules/web/examples/init.pp": "x\n", "puppet/modules/web/spec/fixtures/modules/y/manifests/init.pp": "x\n",
			"puppet/modules/web/files/goss.yaml": someGoss, "puppet/modules/web/files/x.pp": "x\n", "puppet/modules/web/lib/facter/x.rb": "x\n",
			"puppet/modules/web/hiera.yaml": "version: 5\n", "puppet/modules/web/data/common.yaml": "a: 1\n", "puppet/modules/web/.fixtures.yml": "a: 1\n",
		},
		"a linked module":       {"vendor/ntp/manifests/init.pp": "class ntp { }\n", "puppet/modules/ntp": "-> ../../vendor/ntp"},
		"fixtures":              {"tests/fixtures/site.pp": "x\n", "tests/data.yaml": "a: 1\n", "app/config.yaml": "http: {port: 80}\nservice: {name: x}\n", "app/v.txt": "-> ../VERSION", "VERSION": "1\n"},
		"the usual environment": {"puppet/environment.conf": "[main]\nmodulepath = modules:$basemodulepath\nmanifest=manifests/site.pp\n"},
		"another product":       {"old/hallmark.yaml": good, "old/suites/build/web.star": "x\n", "old/puppet/site/x/manifests/init.pp": "x\n"},
		"attributes":            {".gitattributes": "*.pp text eol=lf\n*.md linguist-documentation\n*.x !export-ignore\n"},
		"data": with(hieraTree(someHiera+`  - {name: Secrets, datadir: /etc/hallmark, path: secrets.yaml}
  - {name: Node, path: "node/%{trusted.certname}.yaml"}
  - {name: System, paths: ["os/%{facts.os.name}.yaml", "os/%{facts.os.family}.yaml"]}
  - {name: Parts, glob: "parts/**/*.{yaml,json}"}
  - {name: Mapped, mapped_paths: [facts.list, each, "each/%{each}.yaml"]}
  - {name: Function, lookup_key: own::lookup}
`), tree{"puppet/data/os/Debian.yaml": "a: 1\n", "puppet/data/parts/a/b.json": "{}", "puppet/data/parts/c.yaml": "a: 1\n", "puppet/data/each/1.yaml": "a: 1\n"}),
		"secrets that only some servers read": with(secretTree(), tree{
			"puppet/modules/profile/manifests/everywhere.pp": `class profile::everywhere (Boolean $key = false) {
  # lookup('secret::db_key')
  $hash = '#{' # a brace that opens nothing
  if $facts['hallmark_role'] == 'db' {
    if profile::launched() { $a = lookup('secret::db_key') }
  } elsif $key {
    $b = lookup('secret::db_key')
  } else {
    $c = lookup('secret::nowhere')
  }
  case $facts['hallmark_role'] {
    'bastion': { include profile::totp }
    default: { }
  }
  $d = $key ? { true => lookup('secret::db_key'), default => '' }
  if profile::is('db') { include profile::db }
  $e = lookup('secret::db_key', String, 'first', 'none')
  $f = lookup('secret::db_key') |$k| { 'none' }
  $g = "class { 'profile::db': }"
  file { '/x': require => Class['profile::db'] }
}
`,
			"puppet/modules/profile/spec/x.pp":           "$x = lookup('secret::nowhere')\n",
			"puppet/modules/profile/manifests/unused.pp": "class profile::unused {\n  $x = lookup('secret::nowhere')\n}\n",
		}),
		"classes of roles": {
			"puppet/modules/role/manifests/web.pp": "x\n", "puppet/modules/role/manifests/db.pp": "x\n", "puppet/modules/role/manifests/bastion.pp": "x\n",
			"puppet/modules/role/manifests/base.pp": "x\n",
		},
		"goss": {"suites/build/web.yaml": "x: &x {running: true}\n", "suites/build/db.yaml": "service:\n  a: &a {running: true}\n  b: *a\n  c: {<<: *a, enabled: true}\n"},
	} {
		files := goodTree()
		maps.Copy(files, more)
		if name == "goss" {
			delete(files, "suites/build/web.yaml")
		}
		dir := t.TempDir()
		files.write(t, dir)
		if _, err := Load(dir, ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of a working copy that counts what git would take.
func TestIgnoredFilesAreNoPartOfAProduct(t *testing.T) {
	s := newScratch(t)
	files := goodTree()
	files[".gitignore"] = "fixtures/\n*.star\n"
	s.commit("first", files)
	(tree{"fixtures/modules/x": "-> /etc", "suites/build/a.star": "x\n", "suites/build/lost": "x\n"}).write(t, s.dir)
	want := "suites/build/lost: is no test, so no run would use it; write tests as goss files <role>.yaml; keep other files outside suites/, and notes in a README.md"
	if _, err := Load(s.dir, ""); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := os.Remove(filepath.Join(s.dir, "suites/build/lost")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(s.dir, ""); err != nil {
		t.Error(err)
	}
	other := newScratch(t)
	commit := other.commit("module", tree{"init.pp": "x\n"})
	s.git("update-index", "--add", "--cacheinfo", "160000,"+commit+",puppet/modules/x")
	if err := os.MkdirAll(filepath.Join(s.dir, "puppet/modules/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	want = "puppet/modules/x: is a git repository of its own, so servers would get an empty folder; commit its files instead"
	if _, err := Load(s.dir, ""); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Code that was released does not change any more: what is not used in it stops no upgrade from it.
func TestReadTakesReleasedCode(t *testing.T) {
	files := goodTree()
	files["puppet/Puppetfile"] = "mod 'puppetlabs/ntp'\n"
	dir := t.TempDir()
	files.write(t, dir)
	if _, err := Load(dir, ""); err == nil {
		t.Error("a Puppetfile is not told of")
	}
	p, err := Read(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Unused(); err == nil {
		t.Error("a Puppetfile is not told of")
	}
}

// Code that was released before secrets named roles is given to all, as it was.
func TestReleasedSecretsAreEveryRoles(t *testing.T) {
	files := goodTree()
	files["hallmark.yaml"] = good + "secrets: [{name: old}, {name: new, roles: [db]}]\n"
	dir := t.TempDir()
	files.write(t, dir)
	if _, err := Load(dir, ""); err == nil || !strings.Contains(err.Error(), "secrets[0].roles") {
		t.Errorf("a secret without roles: %v", err)
	}
	p, err := Read(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[string][]bool{"web": {true, false}, "db": {true, true}} {
		if got := []bool{p.Secrets[0].For(role), p.Secrets[1].For(role)}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", role, got, want)
		}
	}
}

// The table of what goss knows is goss's own.
func TestGossKnowsTheseWords(t *testing.T) {
	of := map[string]any{
		"addr": resource.Addr{}, "command": resource.Command{}, "dns": resource.DNS{}, "file": resource.File{}, "gossfile": resource.Gossfile{},
		"group": resource.Group{}, "http": resource.HTTP{}, "interface": resource.Interface{}, "kernel-param": resource.KernelParam{},
		"matching": resource.Matching{}, "mount": resource.Mount{}, "package": resource.Package{}, "port": resource.Port{},
		"process": resource.Process{}, "service": resource.Service{}, "user": resource.User{},
	}
	if got, want := slices.Sorted(maps.Keys(of)), gossNames; !slices.Equal(got, want) {
		t.Fatalf("kinds are %q, want %q", want, got)
	}
	for kind, example := range of {
		var want []string
		typ := reflect.TypeOf(example)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("yaml"), ",")
			if name != "" && name != "-" {
				want = append(want, name)
			}
		}
		got := append(slices.Clone(gossKinds[kind]), gossAlways...)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, goss has %q", kind, got, want)
		}
	}
}

// An excuse names one kind of line, and not trouble as such.
func TestLogRules(t *testing.T) {
	for match, ok := range map[string]bool{
		`rsyslogd.*imklog`: true, `sshd: error: PAM: .* for testadmin`: true, `^nginx: .*\[crit\].*favicon`: true, `^sshd: `: true,
		`pam_limits\(.*\): Could not set limit for 'core'`: true, `Duplicate entry '\d+'`: true,
		``: false, `.`: false, `.*`: false, `^.+$`: false, `\w`: false, `: `: false, `[aeiou]`: false, `(?i)error`: false,
		`error|failed`: false, `^[a-z]`: false, `\d`: false, `(?i)e`: false, `systemd|nginx|sshd|mariadbd`: false,
	} {
		dir := t.TempDir()
		files := goodTree()
		files["hallmark.yaml"] += "logs:\n  - match: '" + strings.ReplaceAll(match, "'", "''") + "'\n    reason: x\n"
		files.write(t, dir)
		_, err := Load(dir, "")
		if ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "logs[0].match") {
			t.Errorf("%q: %v", match, err)
		}
	}
}
