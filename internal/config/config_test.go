package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cost"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write what is said now into the golden files")

// load loads text as /…/hallmark.yaml and gives the error's text without the directory.
func load(t *testing.T, text string, flags *pflag.FlagSet) (Config, string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "hallmark.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, flags)
	if err == nil {
		return c, ""
	}
	var problem *Error
	if !errors.As(err, &problem) {
		t.Errorf("error is no Error: %v", err)
	}
	return c, strings.ReplaceAll(err.Error(), dir+"/", "")
}

const least = "product: {repository: /srv/acme.git}\n"

func TestDefaults(t *testing.T) {
	c, said := load(t, least, nil)
	if said != "" {
		t.Fatal(said)
	}
	if c.StateDir != "/var/lib/hallmark" || c.Product.Development != "main" || c.Provider.Kind != "incus" || c.Limits.Attempts != 2 ||
		c.Base.MaxAge != 7*24*time.Hour || c.LedgerFile() != "/var/lib/hallmark/ledger.db" || c.Provider.Incus.Cache.String() != "10.90.0.1:3142" {
		t.Errorf("defaults are %+v", c)
	}
	if got := c.Policy["release"].ChannelFor("release/1.0"); got != "release-1.0" {
		t.Errorf("a release's channel is %s", got)
	}
	if got := c.Policy["nightly"].ChannelFor("main"); got != "development" || len(c.Policy["nightly"].Require) != 2 {
		t.Errorf("nightly's policy is %+v", c.Policy["nightly"])
	}
}

// What a policy in the file leaves out is the default's: a policy with budgets only requires no less.
func TestPolicyLaysOverTheDefault(t *testing.T) {
	var usual Config
	usual.Default()
	c, said := load(t, least+"policy:\n  nightly: {budgets: {flaky: 1}}\n  release: {channel: \"\"}\nupgrade: none-yet\n", nil)
	if said != "" {
		t.Fatal(said)
	}
	nightly, release := usual.Policy["nightly"], usual.Policy["release"]
	nightly.Budgets.Flaky, release.Channel = 1, ""
	if want := map[string]Policy{"nightly": nightly, "release": release}; !reflect.DeepEqual(c.Policy, want) {
		t.Errorf("policies are %+v\nwant %+v", c.Policy, want)
	}
	if c.Upgrade != UpgradeNoneYet || usual.Upgrade != UpgradeRequired {
		t.Errorf("upgrade is %q, by default %q", c.Upgrade, usual.Upgrade)
	}
	require := "[{scenario: verify, origins: [prebuilt], phases: [rebooted], tiers: [smoke]}]"
	c, said = load(t, least+"policy: {nightly: {require: "+require+"}}\n", nil)
	if p := c.Policy["nightly"]; said != "" || len(p.Require) != 1 || p.Channel != "development" || len(c.Policy["release"].Require) != 2 {
		t.Errorf("%s; policies are %+v", said, c.Policy)
	}
}

func TestPrices(t *testing.T) {
	c, said := load(t, least+"prices: {currency: EUR, types: [{type: m7i.large, hour: 0.1176}], cpu-hour: 0.02, memory-gib-hour: 0, volume-gib-month: 1}\n", nil)
	want := cost.Prices{Currency: "EUR", Types: []cost.TypePrice{{Type: "m7i.large", Hour: 0.1176}}, CPU: 0.02, Volume: 1}
	if said != "" || !reflect.DeepEqual(c.Prices, want) {
		t.Errorf("%s\n%+v", said, c.Prices)
	}
}

// The example must be right, and must say the defaults as they are: what it leaves commented out is
// for others to change.
func TestExample(t *testing.T) {
	c, err := Load("../../configs/hallmark.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Schedules) == 0 || c.Policy["nightly"].Channel != "development" {
		t.Errorf("the example is %+v", c)
	}
	var d Config
	d.Default()
	for name, pair := range map[string][2]any{
		"limits":      {c.Limits, d.Limits},
		"timeouts":    {c.Timeouts, d.Timeouts},
		"environment": {c.Environment, d.Environment},
		"keep":        {c.Keep, d.Keep},
		"base":        {c.Base, d.Base},
		"provider":    {c.Provider, d.Provider},
		"policy":      {c.Policy, d.Policy},
		"owner":       {c.Owner, d.Owner},
		"state-dir":   {c.StateDir, d.StateDir},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: the example says %+v, the default is %+v", name, pair[0], pair[1])
		}
	}
}

func TestPrecedence(t *testing.T) {
	text := least + "limits: {servers: 3, lanes: 4, image-builds: 5}\nbase: {max-age: 1d12h}\n"
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.String("limits-servers", "99", "")
	flags.Int("limits-lanes", 98, "")
	flags.String("state-dir", "", "")
	if err := flags.Parse([]string{"--limits-servers=30"}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HALLMARK_LIMITS_SERVERS", "20")
	t.Setenv("HALLMARK_LIMITS_LANES", "40")
	t.Setenv("HALLMARK_TIMEOUTS_BOOT", "45s")
	t.Setenv("HALLMARK_PROVIDER_INCUS_POOL", "fast")
	c, said := load(t, text, flags)
	if said != "" {
		t.Fatal(said)
	}
	if want := (Limits{Servers: 30, Lanes: 40, ImageBuilds: 5, Attempts: 2}); c.Limits != want {
		t.Errorf("limits are %+v, want %+v", c.Limits, want)
	}
	if c.Timeouts.Boot != 45*time.Second || c.Provider.Incus.Pool != "fast" || c.Base.MaxAge != 36*time.Hour {
		t.Errorf("configuration is %+v", c)
	}
}

func TestVariableCuresFile(t *testing.T) {
	t.Setenv("HALLMARK_LIMITS_LANES", "4")
	if c, said := load(t, least+"limits: {lanes: many}\n", nil); said != "" || c.Limits.Lanes != 4 {
		t.Errorf("lanes is %d, said %q", c.Limits.Lanes, said)
	}
	t.Setenv("HALLMARK_PRODUCT_REPOSITORY", "/srv/other.git")
	if c, err := Load("", nil); err != nil || c.Product.Repository != "/srv/other.git" || c.Limits.Lanes != 4 {
		t.Errorf("without a file: %+v, %v", c.Product, err)
	}
}

// A repository elsewhere stays an address; what unlocks it is a file.
func TestRepositoryElsewhere(t *testing.T) {
	for repository, remote := range map[string]bool{
		"https://example.org/acme.git": true, "ssh://git@example.org:22/acme.git": true, "git@example.org:acme.git": true,
		"/srv/acme": false, "/srv/a:b": false, "file:///srv/acme": false, "./a:b": false,
	} {
		more := ""
		if remote && !strings.HasPrefix(repository, "https") {
			more = ", known-hosts: hosts, ssh-key: key"
		}
		c, said := load(t, "product: {repository: \""+repository+"\""+more+"}\n", nil)
		switch {
		case said != "" || c.Product.Remote() != remote:
			t.Errorf("%s: %q, remote %v", repository, said, c.Product.Remote())
		case remote && c.Product.Repository != repository || !remote && !filepath.IsAbs(c.Product.Repository):
			t.Errorf("%s became %s", repository, c.Product.Repository)
		case more != "" && !filepath.IsAbs(c.Product.SSHKey):
			t.Errorf("the key is %s", c.Product.SSHKey)
		}
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(t.TempDir())
	file := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(file, []byte("state-dir: state\nproduct: {repository: ../acme}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(FileVariable, file)
	c, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.StateDir != filepath.Join(dir, "state") || c.Product.Repository != filepath.Join(filepath.Dir(dir), "acme") {
		t.Errorf("paths are %s and %s", c.StateDir, c.Product.Repository)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HALLMARK_STATE_DIR", "here")
	if c, err = Load(file, nil); err != nil || c.StateDir != filepath.Join(wd, "here") {
		t.Errorf("state is %s, %v", c.StateDir, err)
	}
}

// offers is a configuration to which entries under publish can be added.
const offers = least + "base: {name: ami-1}\nprovider:\n  kind: ec2\n  ec2:\n    region: eu-lab-1\n    subnets: [subnet-1]\n    reach: [10.0.0.0/24]\n" +
	"    types: [t3.medium]\n    regions: [us-lab-1, us-lab-2]\n    publish:\n"

func TestOffers(t *testing.T) {
	c, said := load(t, strings.Replace(offers, "    publish:\n", "    kms-key: alias/hallmark\n    publish:\n", 1)+`
    - channels: [production, release-*]
      regions: [us-lab-1]
      accounts: ["123456789012"]
      organisations: [arn:aws:organizations::123456789012:organization/o-abcdefghij, arn:aws:organizations::123456789012:ou/o-abcdefghij/ou-ab12-cdefghij]
      keys: {us-lab-1: alias/hallmark}
      deprecate-after: 90d
    - channels: ["*"]
      regions: [us-lab-1]
`, nil)
	if said != "" {
		t.Fatal(said)
	}
	// What is shared with nobody may be under a key that AWS manages.
	if _, said := load(t, strings.Replace(offers, "    publish:\n", "    kms-key: alias/aws/ebs\n    publish:\n", 1)+
		"    - {channels: [production], regions: [us-lab-1], keys: {us-lab-1: alias/aws/ebs}}\n", nil); said != "" {
		t.Error(said)
	}
	if o := c.Provider.EC2.Publish; len(o) != 2 || o[0].DeprecateAfter != 90*24*time.Hour || o[0].Keys["us-lab-1"] != "alias/hallmark" {
		t.Errorf("offers are %+v", o)
	}
}

// Every way to write the configuration wrongly, and what the user is told. The text of the messages
// is in testdata/bad-config.txt.
func TestBadConfig(t *testing.T) {
	schedule := least + "schedules:\n- {name: n, kind: nightly, cron: \"0 2 * * *\"}\n"
	cases := []struct {
		name, text string
		variables  map[string]string
	}{
		{name: "no repository", text: "owner: acme\n"},
		{name: "unknown key", text: least + "schedule: []\n"},
		{name: "unknown section key", text: least + "limits: {server: 3}\n"},
		{name: "nothing like it", text: least + "limits: {colour: red}\n"},
		{name: "wrong case", text: least + "Limits: {servers: 3}\n"},
		{name: "duplicate key", text: least + least},
		{name: "provider", text: least + "provider: {kind: vmware}\n"},
		{name: "ec2 without its settings", text: least + "provider: {kind: ec2}\n"},
		{name: "ec2 settings", text: least + "provider: {kind: ec2, ec2: {region: eu-lab-1, subnets: [a], reach: [wide], types: [t3.medium], cache: nowhere}}\nbase: {name: debian-12}\n"},
		{name: "offers", text: offers + "" +
			"    - {channels: [], regions: [eu-lab-1, us-lab-3], keys: {us-lab-2: \"\", us-lab-9: alias/x}}\n" +
			"    - {channels: [\"release-[\"], accounts: [\"12\"], organisations: [o-acme], deprecate-after: 0s}\n" +
			"    - {channels: [a], accounts: [123456789012], deprecate-after: 9999d}\n" +
			"    - {regions: [us-lab-2]}\n"},
		{name: "offers and the provider", text: offers + "" +
			"    - {channels: [a], regions: [eu-lab-1, us-lab-3]}\n" +
			"    - {channels: [b], accounts: [\"123456789012\"]}\n" +
			"    - {channels: [c], regions: [us-lab-2]}\n" +
			"    - {channels: [d], regions: [us-lab-2, us-lab-1], keys: {us-lab-1: alias/a}}\n" +
			"    - {channels: [e], regions: [us-lab-1], keys: {us-lab-1: alias/b}}\n"},
		{name: "production by night", text: least + "policy:\n  nightly: {channel: production}\n"},
		{name: "a development branch called production", text: "product: {repository: p, development: production}\npolicy:\n  nightly: {channel: \"{branch}\"}\n"},
		{name: "branches of schedules", text: least + "schedules:\n- {name: a, kind: nightly, branch: feature/x, cron: \"0 2 * * *\"}\n- {name: b, kind: release, branch: main, cron: \"0 2 * * *\"}\n- {name: c, kind: release, branch: release/1.0, cron: \"0 2 * * *\"}\n"},
		{name: "keys that AWS manages", text: strings.Replace(offers, "    publish:\n", "    kms-key: alias/aws/ebs\n    publish:\n", 1) + "" +
			"    - {channels: [development], regions: [us-lab-1], keys: {us-lab-1: \"arn:aws:kms:us-lab-1:123456789012:alias/aws/ebs\"}}\n" +
			"    - {channels: [production], regions: [us-lab-2], accounts: [\"210987654321\"], keys: {us-lab-2: alias/aws/ebs}}\n"},
		{name: "parameters", text: strings.Replace(offers, "publish:", "parameters: hallmark", 1)},
		{name: "provider settings", text: least + "provider: {incus: {cache: nowhere, range: wide}}\n"},
		{name: "provider range", text: least + "provider: {incus: {range: 10.0.0.0/28}}\n"},
		{name: "what a server may use", text: least + "provider:\n  incus:\n    server: {cpus: 3, memory: 8GiB, disk: 32GiB, processes: 9000}\n    most: {cpus: 2}\n    cpu-share: 0\n"},
		{name: "processors", text: least + "provider: {incus: {most: {cpus: 2}}}\n"},
		{name: "too little for a server", text: least + "provider:\n  incus:\n    server: {cpus: -1, memory: 1MiB, disk: 1MiB, processes: 5}\n    cpu-share: 101\n"},
		{name: "too few servers", text: least + "limits: {servers: 1, lanes: 0, attempts: -1}\n"},
		{name: "timeouts", text: least + "timeouts: {boot: 5, test: soon, run: -3m}\n"},
		{name: "run longer than the deadline", text: least + "timeouts: {run: 8h}\n"},
		{name: "deadline before the default for runs ends", text: least + "environment:\n  deadline: 2h\n"},
		{name: "run and deadline", text: least + "timeouts: {run: 8h}\nenvironment: {deadline: 7h59m}\n"},
		{name: "egress", text: least + "environment:\n  egress: ['nowhere', '192.0.2.0/24:443', '169.254.169.254:80', '0.0.0.0/1:443', '1.0.0.0/8:443', '2.0.0.0/8:443']\n"},
		{name: "deadline before lease", text: least + "environment: {lease: 2h, deadline: 1h}\n"},
		{name: "cron fields", text: schedule + "- {name: m, kind: release, cron: \"0 0 2 * * *\"}\n"},
		{name: "cron words", text: schedule + "- {name: m, kind: release, cron: \"@daily\"}\n- {name: o, kind: release, cron: \"61 * * * *\"}\n- {name: p, kind: release, cron: \"CRON_TZ=UTC 1 * * * *\"}\n"},
		{name: "schedule words", text: schedule + "- {name: M x, kind: nighty, cron: \"0 2 * * *\", timezone: Mars/Base, overlap: wait}\n"},
		{name: "catch-up", text: schedule + "- {name: m, kind: nightly, cron: \"0 2 * * *\", catch-up: maybe}\n"},
		{name: "schedule twice", text: schedule + "- {name: n, kind: nightly, cron: \"0 3 * * *\"}\n"},
		{name: "schedule without anything", text: schedule + "- {}\n"},
		{name: "policy kind", text: least + "policy: {nightli: {}}\n"},
		{name: "policy words", text: least + "policy:\n  nightly:\n    channel: Dev/1\n    require:\n    - {scenario: verfy, origins: [], phases: [launched, melted], tiers: [smoke]}\n    - {scenario: verify, phases: [upgraded], tiers: [build]}\n"},
		{name: "policy that never promotes", text: least + "policy: {nightly: {channel: development, require: [], budgets: {waived: -1}}}\n"},
		{name: "policy that promotes what was never launched", text: least + "policy:\n  nightly:\n    channel: development\n    require: [{scenario: verify, origins: [base], phases: [launched], tiers: [smoke]}]\n" +
			"  release:\n    require:\n    - {scenario: verify, origins: [base], phases: [launched], tiers: [smoke]}\n    - {scenario: upgrade, phases: [upgraded], tiers: [smoke]}\n"},
		{name: "policy that can't be met", text: least + "policy:\n  nightly:\n    require:\n    - {scenario: verify, phases: [launched, relaunched], tiers: [smoke]}\n    - {scenario: verify, phases: [launched, rebooted], tiers: [build, application]}\n    - {scenario: upgrade, phases: [launched], tiers: [smoke, build]}\n    - {scenario: upgrade, phases: [rebooted], tiers: [functional]}\n"},
		{name: "budgets below nothing", text: least + "policy: {release: {budgets: {flaky: -1, skipped: -2}}}\n"},
		{name: "upgrade", text: least + "upgrade: none\n"},
		{name: "prices", text: least + "prices:\n  currency: 3\n  cpu-hour: free\n  volume-gib-month: -0.1\n  types:\n  - {type: m7i.large, hour: 0.1}\n  - {type: m7i.large}\n"},
		{name: "a type's price twice", text: least + "prices: {types: [{type: m7i.large, hour: 0.1}, {type: m7i.large, hour: 0.2}]}\n"},
		{name: "waiver", text: least + "waivers:\n- {test: t, ticket: T-1, reason: r, expires: tomorrow}\n- {test: t, ticket: 17, expires: 2026-12-31}\n"},
		{name: "waiver twice", text: least + "waivers:\n- {test: t, ticket: T-1, reason: r, expires: 2026-12-31}\n- {test: t, ticket: T-2, reason: r, expires: 2026-12-31}\n"},
		{name: "address of another protocol", text: "product: {repository: \"ext::sh -c id\"}\n"},
		{name: "address without protection", text: "product: {repository: \"http://example.org/acme.git\"}\n"},
		{name: "address with a password", text: "product: {repository: \"https://ci:s3cret@example.org/acme.git\", ssh-key: k}\n"},
		{name: "ssh to anybody", text: "product: {repository: \"git@example.org:acme.git\", ssh-key: k, credentials: c}\n"},
		{name: "keys for a directory", text: "product: {repository: /srv/acme, ssh-key: k, ssh-agent: a, known-hosts: h, credentials: c}\n"},
		{name: "releases match development", text: "product: {repository: /srv/acme, releases: \"*\", development: main}\n"},
		{name: "releases is no glob", text: "product: {repository: /srv/acme, releases: \"release/[\"}\n"},
		{name: "variables", text: least, variables: map[string]string{"HALLMARK_LIMITS_SERVERS": "many", "HALLMARK_LIMITS_LANES": "0", "HALLMARK_STATE_DRI": "/tmp", "HALLMARK_SOMETHING_ELSE": "x"}},
	}
	var said strings.Builder
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for name, value := range c.variables {
				t.Setenv(name, value)
			}
			_, text := load(t, c.text, nil)
			if text == "" {
				t.Error("accepted")
			}
			said.WriteString("# " + c.name + "\n" + text + "\n\n")
		})
	}
	_, err := Load("/nowhere/hallmark.yaml", nil)
	said.WriteString("# no such file\n" + err.Error() + "\n\n")
	_, err = Load("", nil)
	said.WriteString("# no file given\n" + err.Error() + "\n")
	golden(t, "bad-config.txt", said.String())
}

// golden compares text with testdata/<name> and tells the first lines that differ.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(text), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		g, w := "(end)", "(end)"
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if g != w {
			t.Fatalf("%s:%d: got\n%s\nwant\n%s", file, i+1, g, w)
		}
	}
}

func TestSchedule(t *testing.T) {
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	s := Schedule{Cron: "30 2 * * *", Timezone: "Europe/Berlin"}
	if got, want := s.Next(at("2026-11-23T12:00:00Z")), at("2026-11-24T01:30:00Z"); !got.Equal(want) {
		t.Errorf("next is %v, want %v", got, want)
	}
	if got := (Schedule{Cron: "0 0 30 2 *", Timezone: "UTC"}).Next(at("2026-11-23T12:00:00Z")); !got.IsZero() {
		t.Errorf("the 30th of February is %v", got)
	}

	s.Timezone = "UTC"
	last := at("2026-11-20T02:30:00Z")
	for name, c := range map[string]struct {
		catchUp CatchUp
		last    time.Time
		now     string
		want    string // "" : nothing due
		missed  string // the newest, and how many
	}{
		"new schedule":           {CatchUp(1 << 62), time.Time{}, "2026-11-23T12:00:00Z", "", ""},
		"on time":                {0, last, "2026-11-21T02:30:00Z", "2026-11-21T02:30:00Z", ""},
		"within grace":           {0, last, "2026-11-21T02:31:00Z", "2026-11-21T02:30:00Z", ""},
		"missed, no catch-up":    {0, last, "2026-11-21T02:32:00Z", "", "2026-11-21T02:30:00Z 1"},
		"missed, catches up":     {CatchUp(6 * time.Hour), last, "2026-11-23T08:30:00Z", "2026-11-23T02:30:00Z", "2026-11-22T02:30:00Z 2"},
		"missed by too much":     {CatchUp(6 * time.Hour), last, "2026-11-23T08:31:00Z", "", "2026-11-23T02:30:00Z 3"},
		"only the last counts":   {mustCatchUp(t, "true"), last, "2026-11-23T02:00:00Z", "2026-11-22T02:30:00Z", "2026-11-21T02:30:00Z 1"},
		"done already":           {mustCatchUp(t, "true"), at("2026-11-23T02:30:00Z"), "2026-11-23T12:00:00Z", "", ""},
		"false means no":         {mustCatchUp(t, "false"), last, "2026-11-23T12:00:00Z", "", "2026-11-23T02:30:00Z 3"},
		"a duration in the file": {mustCatchUp(t, "1d"), last, "2026-11-23T12:00:00Z", "2026-11-23T02:30:00Z", "2026-11-22T02:30:00Z 2"},
		// The clock was wrong once: what was noted then tells nothing.
		"clock was set back":       {mustCatchUp(t, "true"), at("2027-01-01T02:30:00Z"), "2026-11-23T12:00:00Z", "", ""},
		"and a tick comes":         {0, at("2031-01-01T02:30:00Z"), "2026-11-23T02:30:10Z", "2026-11-23T02:30:00Z", ""},
		"set back by some minutes": {0, at("2026-11-23T02:30:00Z"), "2026-11-23T02:20:00Z", "", ""}, // this one was acted on
	} {
		s.CatchUp = c.catchUp
		look := s.Look(c.last, at(c.now), time.Minute)
		due, missed := "", ""
		if !look.Due.IsZero() {
			due = look.Due.UTC().Format(time.RFC3339)
		}
		if look.Count > 0 {
			missed = fmt.Sprintf("%s %d", look.Missed.UTC().Format(time.RFC3339), look.Count)
		}
		if due != c.want || missed != c.missed {
			t.Errorf("%s: due is %q, missed %q, want %q and %q", name, due, missed, c.want, c.missed)
		}
	}
}

// Days on which clocks are moved neither leave a tick out nor double one.
func TestScheduleWhenClocksAreMoved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		zone, cron, from string
		want             []string
	}{
		"Berlin, spring: a time that is left out comes when it is over": {"Europe/Berlin", "30 2 * * *", "2027-03-27T03:00:00+01:00",
			[]string{"2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"}},
		"Berlin, spring: several of them come once": {"Europe/Berlin", "0,20,40 2,3 * * *", "2027-03-27T03:40:00+01:00",
			[]string{"2027-03-28T03:00:00+02:00", "2027-03-28T03:20:00+02:00", "2027-03-28T03:40:00+02:00", "2027-03-29T02:00:00+02:00"}},
		"Berlin, autumn: a time that is shown twice counts once": {"Europe/Berlin", "30 2 * * *", "2026-10-24T03:00:00+02:00",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		"Berlin, autumn: and so do several": {"Europe/Berlin", "*/30 2 * * *", "2026-10-24T03:00:00+02:00",
			[]string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:00:00+01:00"}},
		"Berlin, autumn: every half hour goes on": {"Europe/Berlin", "*/30 * * * *", "2026-10-25T01:59:00+02:00",
			[]string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:00:00+01:00"}},
		"Berlin, spring: every half hour goes on": {"Europe/Berlin", "*/30 * * * *", "2027-03-28T01:29:00+01:00",
			[]string{"2027-03-28T01:30:00+01:00", "2027-03-28T03:00:00+02:00", "2027-03-28T03:30:00+02:00"}},
		"Santiago, spring: midnight is left out": {"America/Santiago", "0 0 * * *", "2026-09-05T12:00:00-04:00",
			[]string{"2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"}},
		"Santiago, spring: on that weekday, too": {"America/Santiago", "30 0 * * 0", "2026-09-05T12:00:00-04:00",
			[]string{"2026-09-06T01:00:00-03:00", "2026-09-13T00:30:00-03:00"}},
		"Santiago, autumn: the hour before midnight is shown twice": {"America/Santiago", "30 23 * * *", "2026-04-04T12:00:00-03:00",
			[]string{"2026-04-04T23:30:00-03:00", "2026-04-05T23:30:00-04:00"}},
		"Sydney, spring": {"Australia/Sydney", "15 2 * * *", "2026-10-03T12:00:00+10:00",
			[]string{"2026-10-04T03:00:00+11:00", "2026-10-05T02:15:00+11:00"}},
		"Sydney, autumn": {"Australia/Sydney", "15 2 * * *", "2026-04-04T12:00:00+11:00",
			[]string{"2026-04-05T02:15:00+11:00", "2026-04-06T02:15:00+10:00"}},
		"Lord Howe, spring: half an hour is left out": {"Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00:00+10:30",
			[]string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		"Lord Howe, autumn: half an hour is shown twice": {"Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00:00+11:00",
			[]string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
		"Lord Howe, autumn: every half hour goes on": {"Australia/Lord_Howe", "*/30 * * * *", "2026-04-05T01:29:00+11:00",
			[]string{"2026-04-05T01:30:00+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"}},
		"Lord Howe, autumn: once an hour stays once": {"Australia/Lord_Howe", "45 * * * *", "2026-04-05T01:00:00+11:00",
			[]string{"2026-04-05T01:45:00+11:00", "2026-04-05T02:45:00+10:30"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Schedule{Cron: c.cron, Timezone: c.zone}
			at, err := time.Parse(time.RFC3339, c.from)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if at = s.Next(at); at.Format(time.RFC3339) != want {
					t.Fatalf("next is %s, want %s", at.Format(time.RFC3339), want)
				}
			}
		})
	}
}

// Next goes through all ticks, from whatever moment it is asked: a daemon looks every second.
func TestScheduleNextIsTheNearest(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"Europe/Berlin", "America/Santiago", "Australia/Lord_Howe"} {
		for _, table := range []string{"30 2 * * *", "*/30 * * * *", "45 1,23 * * *"} {
			s := Schedule{Cron: table, Timezone: zone}
			from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			next := s.Next(from)
			for at := from; at.Before(from.AddDate(1, 0, 0)); at = at.Add(17 * time.Minute) {
				for !next.After(at) {
					next = s.Next(next)
				}
				if got := s.Next(at); !got.Equal(next) {
					t.Fatalf("%s in %s: after %v comes %v, want %v", table, zone, at, got, next)
				}
			}
		}
	}
}

func mustCatchUp(t *testing.T, text string) (c CatchUp) {
	t.Helper()
	if err := c.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestValues(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "0s": 0,
		"": -1, "5": -1, "0": -1, "-5m": -1, "d": -1, "1dd": -1, "99999999h": -1, "99999d2540000h": -1,
	} {
		d, err := ParseDuration(text)
		if err != nil {
			d = -1
		}
		if d != want {
			t.Errorf("duration %q is %v, want %v", text, d, want)
		}
	}
	for text, want := range map[string]Size{
		"1KiB": 1024, "2 GiB": 2 << 30, "1TiB": 1 << 40, "0MiB": 0,
		"": -1, "5": -1, "2GB": -1, "-1MiB": -1, "1.5GiB": -1, "9999999999TiB": -1, "MiB": -1,
	} {
		s, err := ParseSize(text)
		if err != nil {
			s = -1
		}
		if s != want {
			t.Errorf("size %q is %v, want %v", text, s, want)
		}
	}
	for size, want := range map[Size]string{2 << 30: "2GiB", 1536 << 20: "1536MiB", 0: "0B", 1000: "1000B"} {
		if size.String() != want {
			t.Errorf("size is written %s, want %s", size, want)
		}
	}
	if got := Size(1).MiB(); got != 1 {
		t.Errorf("a byte is %d MiB, want 1, rounded up", got)
	}
	expires, err := ParseExpiry("2026-12-31")
	if err != nil || !expires.Equal(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("expiry is %v, %v: the day itself belongs to it", expires, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(least))
	f.Add([]byte(least + "limits: {servers: 3}\npolicy: {nightly: {channel: x, require: [{scenario: verify, phases: [launched], tiers: [smoke]}]}}\n"))
	f.Add([]byte(least + "schedules: [{name: n, kind: nightly, cron: \"*/5 * * * 1-5\", timezone: Europe/Berlin, catch-up: 6h}]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c Config
		err := Decode("f.yaml", data, &c)
		if err == nil && c.Product.Repository == "" && !strings.Contains(string(data), "repository") {
			t.Error("accepted without a repository")
		}
		var problem *Error
		if err != nil && !errors.As(err, &problem) {
			t.Errorf("error is no Error: %v", err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	f.Add("7d")
	f.Add("1d12h")
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := ParseDuration(text); err == nil && d < 0 {
			t.Errorf("%q is %v", text, d)
		}
		if s, err := ParseSize(text); err == nil && s < 0 {
			t.Errorf("%q is %v", text, s)
		}
	})
}

// How people are told of events is checked when the file is read.
func TestNotifyAndFreshness(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"notify: {command: [sh, -c, x]}":                 "",
		"notify: {command: [sh], events: [red, green]}":  "",
		"notify: {command: [nosuchprogram]}":             `"nosuchprogram" is no program`,
		"notify: {command: [./sh]}":                      `"./sh" is no program`,
		"notify: {events: [blue]}":                       `"blue" is not known`,
		"notify: {timeout: 0s}":                          "notify.timeout",
		"notify: {comand: [sh]}":                         "did you mean command",
		"freshness: {development: 36h, production: 90d}": "",
		"freshness: {developement: 36h}":                 "freshness.developement",
		"freshness: {release/1.0: 36h}":                  "no channel has this name",
		"freshness: {release-1.0: 36h}":                  "",
		"freshness: {rc-release-1.0: 36h}\npolicy: {release: {channel: 'rc-{branch}'}}": "",
		"freshness: {release-1.0: 36h}\npolicy: {release: {channel: 'rc-{branch}'}}":    "no channel has this name",
		"freshness: {development: forever}":                                             "which is no objective",
		"freshness: {development: soon}":                                                "is no age",
		"keep: {unknown: 30d}":                                                          "",
		"keep: {unknown: forever}":                                                      "",
		"keep: {unknown: never}":                                                        "is no age: write forever, or a duration such as 30d",
		"keep: {unknown: 0s}":                                                           "is no age",
	} {
		file := filepath.Join(t.TempDir(), "hallmark.yaml")
		if err := os.WriteFile(file, []byte("product: {repository: p}\n"+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file, nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
