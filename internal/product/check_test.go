package product

import (
	"bytes"
	"context"
	"maps"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func checked(t *testing.T, files tree, change func(*Product)) (problems []Problem, out string, err error) {
	t.Helper()
	dir := t.TempDir()
	files.write(t, dir)
	p, err := Load(dir, "c1")
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(p)
	}
	var said bytes.Buffer
	problems, err = Check(t.Context(), p, &said)
	return problems, said.String(), err
}

func wantProblems(t *testing.T, problems []Problem, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// needPuppet fails a test on a machine that is not set up; a check that was not made has not passed.
func needPuppet(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("puppet"); err != nil {
		t.Fatal("puppet is not installed: run `make host`")
	}
}

func TestCheckGood(t *testing.T) {
	needPuppet(t)
	files := goodTree()
	files["puppet/modules/web/templates/x.epp"] = "<%= $facts['x'] %>\n"
	files["puppet/hiera.yaml"] = "version: 5\n"
	files["puppet/data/common.yaml"] = "a: 1\n"
	problems, out, err := checked(t, files, func(p *Product) {
		p.UnitTests = UnitTests{Command: "echo tested $HALLMARK_COMMIT in $(ls hallmark.yaml)", Timeout: time.Minute}
	})
	wantProblems(t, problems, err)
	if !strings.Contains(out, "tested c1 in hallmark.yaml\n") {
		t.Errorf("output is %q", out)
	}
}

func TestCheckFindsAll(t *testing.T) {
	needPuppet(t)
	files := goodTree()
	files["puppet/modules/a/manifests/init.pp"] = "class a {\n  file { \"x\"\n}\n"
	files["puppet/modules/b/manifests/init.pp"] = "class b {\n  $x = }\n"
	files["puppet/modules/b/templates/x.epp"] = "hello\n<%= $x + %>\n"
	files["puppet/hiera.yaml"] = "version: 5\n"
	files["puppet/data/common.yaml"] = "a: 1\nb: [\n"
	problems, _, err := checked(t, files, func(p *Product) {
		p.UnitTests = UnitTests{Command: "echo no >&2; exit 3", Timeout: time.Minute}
	})
	wantProblems(t, problems, err,
		"puppet/modules/a/manifests/init.pp:3: Syntax error at '}' (puppet parser)",
		"puppet/modules/b/manifests/init.pp:2: Syntax error at '}' (puppet parser)",
		"puppet/modules/b/templates/x.epp:2: Syntax error at '%>' (puppet epp)",
		"puppet/data/common.yaml:2: did not find expected node content (hiera)",
		"unit tests: `echo no >&2; exit 3` failed with exit status 3:\nno")
}

// Puppet's parser reads what servers apply: also modules that are linked from elsewhere in the product, and
// plans, in their own language. Of a key that is there twice Puppet itself never says a word.
func TestCheckReadsAllThatIsApplied(t *testing.T) {
	needPuppet(t)
	files := hieraTree(someHiera)
	maps.Copy(files, goodTree())
	files["vendor/ntp/manifests/init.pp"] = "class ntp { notify { 'x'\n}\n"
	files["puppet/modules/ntp"] = "-> ../../vendor/ntp"
	files["puppet/modules/patching/plans/init.pp"] = "plan patching (TargetSpec $targets) {\n  return run_command('uptime', $targets)\n}\n"
	files["puppet/data/common.yaml"] = "web::workers: 16\nweb::tls: {a: 1, a: 2}\nweb::workers: 2\n"
	files["puppet/modules/web/files/app.yaml"] = "a: 1\na: 2\n"
	files["puppet/modules/web/data/common.yaml"] = "b: 1\nb: 2\n"
	problems, _, err := checked(t, files, nil)
	wantProblems(t, problems, err,
		"vendor/ntp/manifests/init.pp:2: Syntax error at '}' (puppet parser)",
		"puppet/data/common.yaml:3: key web::workers is there twice, also in line 1; keep one of them (hiera)",
		"puppet/data/common.yaml:2: key a is there twice, also in line 2; keep one of them (hiera)",
		"puppet/modules/web/data/common.yaml:2: key b is there twice, also in line 1; keep one of them (hiera)")
}

func TestUnitTestsThatHang(t *testing.T) {
	c := checker{product: &Product{Dir: t.TempDir(), UnitTests: UnitTests{Command: "echo begun; sleep 1000 & wait", Timeout: 300 * time.Millisecond}}, out: &bytes.Buffer{}}
	begin := time.Now()
	err := c.unitTests(t.Context())
	wantProblems(t, c.problems, err, "unit tests: `echo begun; sleep 1000 & wait` did not end within 300ms:\nbegun")
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("it took %v: the process group did not end", took)
	}
}

func TestUnitTestsAreCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := checker{product: &Product{Dir: t.TempDir(), UnitTests: UnitTests{Command: "sleep 1000", Timeout: time.Hour}}, out: &bytes.Buffer{}}
	if err := c.unitTests(ctx); err == nil || c.problems != nil {
		t.Errorf("got %v, problems %v: a cancelled check is no failure of the product", err, c.problems)
	}
}

func TestUnitTestsSeeNoSecrets(t *testing.T) {
	t.Setenv("HALLMARK_TOKEN", "s3cret")
	var out bytes.Buffer
	c := checker{product: &Product{Dir: t.TempDir(), UnitTests: UnitTests{Command: "env", Timeout: time.Minute}}, out: &out}
	if err := c.unitTests(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "s3cret") || !strings.Contains(out.String(), "PATH=") {
		t.Errorf("environment is\n%s", out.String())
	}
}

// What could not be checked must not look checked.
func TestNoSandbox(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, _, err := checked(t, goodTree(), nil)
	if err == nil || !strings.Contains(err.Error(), "puppet parser: bwrap is not installed on this machine") {
		t.Errorf("error is %v", err)
	}
}

func TestTail(t *testing.T) {
	var kept tail
	chunk := bytes.Repeat([]byte("x"), 1<<19)
	for range 20 {
		if n, err := kept.Write(chunk); n != len(chunk) || err != nil {
			t.Fatal(n, err)
		}
	}
	if n := len(kept.text); n < 1<<20 || n > 2<<20 {
		t.Errorf("%d bytes kept", n)
	}
}
