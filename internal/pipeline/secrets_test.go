package pipeline_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/mask"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// words gives every text in a JSON value, and what it is if it is base64.
func words(value any) []string {
	var all []string
	switch v := value.(type) {
	case string:
		all = append(all, v)
		if raw, err := base64.StdEncoding.DecodeString(v); err == nil {
			all = append(all, string(raw))
		}
	case map[string]any:
		for _, inner := range v {
			all = append(all, words(inner)...)
		}
	case []any:
		for _, inner := range v {
			all = append(all, words(inner)...)
		}
	}
	return all
}

// secrets are those of all environments that live now: keys, seeds, the product's own.
func (d *daemon) secrets(ctx context.Context) []string {
	environments, err := d.parts.Ledger.Environments(ctx, ledger.EnvironmentFilter{})
	if err != nil {
		d.t.Error(err)
	}
	var all []string
	for _, e := range environments {
		e, err := d.parts.Ledger.Environment(ctx, e.ID)
		if err != nil {
			d.t.Error(err)
		}
		var value any
		if len(e.Sealed) == 0 {
			continue // destroyed meanwhile
		}
		if err := json.Unmarshal(e.Sealed, &value); err != nil {
			d.t.Errorf("sealed values of %s: %v", e.ID, err)
		}
		all = append(all, words(value)...)
	}
	return all
}

// leaks lists the files below a folder that hold one of the secrets.
func leaks(t *testing.T, dir string, secrets []string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // a file that went away meanwhile holds nothing
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for _, s := range secrets {
			if bytes.Contains(content, []byte(s)) {
				found = append(found, path+": "+s)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

// While servers live and afterwards, what Hallmark keeps on its host tells no secret of theirs.
func TestSecretsStayOnServers(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	// Failures tell more than success, and here they tell all that their server knows.
	g.answers.Fail("web-1", "port:tcp:80:holds", "nothing listens for "+environmenttest.ItsSecrets)
	g.answers.Fail("web-1", "units", "shop@"+environmenttest.ItsSecrets+".service")
	g.answers.Fail("db-1", "logs", "connect: "+environmenttest.ItsSecrets)
	g.answers.Fail("db-1", "again", "Notice: password changed to "+environmenttest.ItsSecrets)
	var mu sync.Mutex
	var secrets, found []string
	g.onCall(func(ctx context.Context, d *daemon, call cloud.Call) {
		if call.Verb != cloud.VerbReboot {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		now := d.secrets(ctx)
		secrets = append(secrets, now...)
		found = append(found, leaks(t, g.cfg.StateDir, now)...)
	})
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Failed {
		t.Fatal(d.tree())
	}
	results, err := d.parts.Ledger.Results(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	masked := map[string]bool{} // by test
	for _, r := range results {
		if strings.Contains(r.Message+r.Lines, mask.Mark) {
			masked[r.Test] = true
		}
	}
	for _, test := range []string{"port:tcp:80:holds", "no failed units", "clean logs", "second Puppet run changes nothing"} {
		if !masked[test] {
			t.Errorf("no result of %q tells that a secret was there", test)
		}
	}
	told := g.world.Secrets()
	for _, secret := range told {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte("user:" + secret))[8:30])
	}
	if len(secrets) < 8 || len(told) < 8 {
		t.Fatalf("only %d secrets were sealed, %d told: nothing is proved", len(secrets), len(told))
	}
	d.stop()
	secrets = append(secrets, told...)
	found = append(found, leaks(t, g.dir, secrets)...)
	for _, f := range found {
		t.Errorf("a secret is in %s", f)
	}
	// The search itself can find something.
	g.file("state/planted", "x"+secrets[0]+"y")
	if len(leaks(t, g.cfg.StateDir, secrets)) == 0 {
		t.Error("a planted secret is not found")
	}
	for _, r := range g.sim.Records() {
		for _, s := range secrets {
			if strings.Contains(r.Call.String()+r.Err, s) {
				t.Errorf("a secret is in %v", r.Call)
			}
		}
	}
}
