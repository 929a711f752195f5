package incus

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Private files are written between a server's creation and its first start, and by whoever completes a launch that
// was cut short there. They are in no other request, and never written into a server that has run.
func TestPrivateFilesComeBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	stopped := strings.NewReplacer("Running", "Stopped", "103", "102").Replace(running)
	ran := strings.Replace(stopped, `"config"`, `"last_used_at": "2026-11-28T10:00:00Z", "config"`, 1)
	work := map[string][]http.HandlerFunc{
		"GET /operations/create/wait": {ended(200, "Success", "")},
		"PUT /instances/web-1/state":  {began("start")},
		"GET /operations/start/wait":  {ended(200, "Success", "")},
	}
	spec := oneServer
	spec.Private = []cloud.PrivateFile{{Path: "/etc/hallmark/secrets.yaml", Content: "hunter22"}, {Path: "/etc/hallmark/more", Content: "hunter33"}}
	writes := []string{
		"POST /instances/web-1/files /etc/hallmark 0755",
		"POST /instances/web-1/files /etc/hallmark/secrets.yaml 0600 hunter22", "POST /instances/web-1/files /etc/hallmark/more 0600 hunter33",
	}
	for name, c := range map[string]struct {
		before, after []string // what there is of the server, seen in a list and alone
		creates       bool
		writes        []string
	}{
		"anew":              {[]string{"[]", "[" + stopped + "]"}, []string{stopped, running}, true, writes},
		"cut short":         {[]string{"[" + stopped + "]"}, []string{stopped, running}, false, writes},
		"running":           {[]string{"[" + running + "]"}, []string{running}, false, nil},
		"stopped by others": {[]string{"[" + ran + "]"}, []string{ran}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := map[string][]http.HandlerFunc{}
			for call, list := range work {
				answers[call] = list
			}
			for _, text := range c.before {
				answers["GET /instances"] = append(answers["GET /instances"], reply(text))
			}
			for _, text := range c.after {
				answers["GET /instances/web-1"] = append(answers["GET /instances/web-1"], reply(text))
			}
			p, f := serveFake(t, answers)
			if _, err := p.Launch(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			var got []string
			started := false
			for _, told := range f.told {
				switch {
				case strings.HasPrefix(told, "POST /instances/web-1/files"):
					if started {
						t.Errorf("written after the start: %s", told)
					}
					got = append(got, strings.TrimSpace(told))
				case strings.HasPrefix(told, "PUT /instances/web-1/state"):
					started = true
				case strings.HasPrefix(told, "POST /instances ") && !strings.Contains(told, `"start":false`):
					t.Errorf("it is started without its files: %s", told)
				}
				if !strings.HasPrefix(told, "POST /instances/web-1/files") && strings.Contains(told, "hunter") {
					t.Errorf("a secret is in another request: %s", told)
				}
			}
			if !slices.Equal(got, c.writes) || started != (c.writes != nil) || (f.calls("POST /instances") > len(got)) != c.creates {
				t.Errorf("asked:\n%s", strings.Join(f.told, "\n"))
			}
		})
	}
	p, _ := serveFake(t, nil)
	for _, path := range []string{"etc/x", "/etc/../x", "/etc/x/", ""} {
		spec := oneServer
		spec.Private = []cloud.PrivateFile{{Path: path}}
		if _, err := p.Launch(t.Context(), spec); cloud.CodeOf(err) != cloud.CodeRefused {
			t.Errorf("path %q: %v", path, err)
		}
	}
}
