package puppet

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func report(t *testing.T, name string) Report {
	t.Helper()
	body, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseReport(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// An upgrade of a web server, as Puppet 7.23 wrote it.
func TestReportChanged(t *testing.T) {
	r := report(t, "changed.yaml")
	if r.Status != "changed" || len(r.Failed)+len(r.Errors) != 0 || r.Version != "7.23.0" || r.Time.IsZero() {
		t.Errorf("%+v", r)
	}
	if len(r.Changed) != r.Totals["changed"] || r.Totals["changed"] == 0 {
		t.Errorf("%d changed resources, totals %v", len(r.Changed), r.Totals)
	}
	i := slices.IndexFunc(r.Changed, func(c Resource) bool { return c.Title == "File[/etc/php/8.2/fpm/pool.d/acme.conf]" })
	if i < 0 || r.Changed[i].File != "puppet/modules/profile/manifests/web/php.pp" || r.Changed[i].Line == 0 || !strings.Contains(r.Changed[i].Message, "content changed") {
		t.Errorf("changed: %v", r.Changed)
	}
	if len(r.Slowest) != slowest || r.Slowest[0].Took < r.Slowest[1].Took || r.Slowest[0].Took <= 0 {
		t.Errorf("slowest: %v", r.Slowest)
	}
	if r.Compile <= 0 || r.Apply <= time.Second {
		t.Errorf("compile %s, apply %s", r.Compile, r.Apply)
	}
}

// A file before its directory: works on a server that has it, fails from clean.
func TestReportFailed(t *testing.T) {
	r := report(t, "failed.yaml")
	if r.Status != "failed" || len(r.Failed) != 1 || r.Skipped != 1 {
		t.Fatalf("status %s, failed %v, skipped %d", r.Status, r.Failed, r.Skipped)
	}
	f := r.Failed[0]
	if f.Title != "Exec[/usr/bin/touch /etc/acme-late/a]" || f.File != "puppet/manifests/site.pp" || f.Line != 3 || strings.Contains(f.Message, "\n") {
		t.Errorf("%+v", f)
	}
	if !strings.HasPrefix(f.String(), "Exec[/usr/bin/touch /etc/acme-late/a] (puppet/manifests/site.pp:3): change from 'notrun' to ['0'] failed") {
		t.Errorf("as text: %s", f)
	}
}

// A run that failed as a whole tells what Puppet complained of.
func TestReportFailedWithoutResource(t *testing.T) {
	r, err := ParseReport(strings.NewReader("--- !ruby/object:Puppet::Transaction::Report\nstatus: failed\npuppet_version: 7.23.0\n" +
		"logs:\n- {level: notice, message: fine, source: Puppet}\n- {level: err, message: \"no\\n way\", source: Puppet}\n"))
	if err != nil || len(r.Errors) != 1 || r.Errors[0] != "no way" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestNoReport(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "scalar": "x", "other": "a: 1\n", "broken": "a: [", "list": "- 1\n"} {
		t.Run(name, func(t *testing.T) {
			if r, err := ParseReport(strings.NewReader(text)); err == nil {
				t.Errorf("gave %+v", r)
			}
		})
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add([]byte("--- !ruby/object:Puppet::Transaction::Report\nstatus: failed\npuppet_version: 7.23.0\n" +
		"logs:\n- {level: err, message: no, source: Puppet}\nmetrics:\n  resources:\n    values:\n    - [total, Total, 3]\n" +
		"resource_statuses:\n  Exec[a]:\n    file: /opt/hallmark/product/c/a.pp\n    line: 3\n    evaluation_time: 0.1\n    failed: true\n" +
		"    events:\n    - {property: returns, message: no, status: failure}\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseReport(bytes.NewReader(body))
		if err == nil && r.Status == "" {
			t.Error("a report without a status was accepted")
		}
	})
}
