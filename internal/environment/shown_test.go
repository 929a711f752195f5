package environment_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/mask"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// keeping is a site that keeps what servers show, in the directory that it gives.
func (g *ground) keeping(provider cloud.Provider) (*environment.Site, string) {
	dir := g.t.TempDir()
	site := g.site()
	site.Records = func(run string) string { return filepath.Join(dir, run) }
	if provider != nil {
		site.Provider = provider
	}
	return site, filepath.Join(dir, "run-1")
}

func (g *ground) planOn(site *environment.Site, origin environment.Origin) *environment.Environment {
	g.t.Helper()
	e, err := site.Plan(g.t.Context(), g.spec(origin))
	if err != nil {
		g.t.Fatal(err)
	}
	return e
}

// shownBy gives what is kept, as "server: files", and the content of the only console.
func shownBy(t *testing.T, records string) (names []string, console string) {
	t.Helper()
	kept, err := environment.ShownIn(records)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range kept {
		name := s.Server
		text, err := os.ReadFile(s.Console)
		if err != nil {
			t.Error(err)
		}
		console = string(text)
		if s.Screenshot != "" {
			picture, err := os.ReadFile(s.Screenshot)
			if err != nil || !bytes.HasPrefix(picture, []byte("\xff\xd8\xff")) {
				t.Errorf("the picture of %s: %q, %v", s.Server, picture, err)
			}
			name += " with a picture"
		}
		names = append(names, name)
	}
	return names, console
}

// talkative makes consoles say more.
type talkative struct {
	cloud.Provider
	says string
}

func (p talkative) Console(ctx context.Context, id cloud.ServerID) ([]byte, error) {
	said, err := p.Provider.Console(ctx, id)
	return append(said, p.says...), err
}

func TestWhatServersShowIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		origin environment.Origin
		spoil  func(*ground)
		reboot bool
		cause  verdict.Cause
		want   []string
	}{
		"nothing answers there": {
			environment.Prebuilt, func(g *ground) { g.world.Trouble("web-1", environmenttest.Trouble{NoBoot: true}) }, false,
			verdict.Transport, []string{"web-1 with a picture"},
		},
		"nothing answers there after a reboot": {
			environment.Prebuilt, func(g *ground) { g.world.Trouble("db-1", environmenttest.Trouble{Stuck: true}) }, true,
			verdict.ServerBoot, []string{"db-1 with a picture"},
		},
		"provisioning dies": {
			environment.Base, func(g *ground) { g.world.Trouble("bastion", environmenttest.Trouble{Dies: true}) }, false,
			verdict.Unexplained, []string{"bastion with a picture"},
		},
		"Puppet fails, which its report tells": {
			environment.Base, func(g *ground) {
				g.world.Trouble("web-1", environmenttest.Trouble{Puppet: &puppet.Resource{Title: "File[/x]", Message: "no"}})
			}, false,
			verdict.PuppetFailed, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGround(t)
			site, records := g.keeping(nil)
			e := g.planOn(site, c.origin)
			steps := e.Up()
			if c.reboot {
				g.do(steps)
				steps = e.Reboot()
			}
			c.spoil(g)
			err := environment.Do(t.Context(), steps)
			if got := verdict.CauseOf(err); got != c.cause {
				t.Fatalf("cause %q, want %q: %v", got, c.cause, err)
			}
			names, console := shownBy(t, records)
			if !slices.Equal(names, c.want) {
				t.Errorf("kept: %q, want %q", names, c.want)
			}
			if len(names) > 0 && !strings.Contains(console, "systemd[1]: Booting") {
				t.Errorf("console: %q", console)
			}
		})
	}
}

// A console may say a secret, and much of it; a provider may have no camera.
func TestConsoleIsKeptWithoutSecrets(t *testing.T) {
	g := newGround(t)
	site, records := g.keeping(nil)
	g.world.Trouble("web-1", environmenttest.Trouble{NoBoot: true})
	e := g.planOn(site, environment.Prebuilt)
	_ = environment.Do(t.Context(), e.Up()) // makes the secrets known
	secrets := g.world.Secrets()
	if len(secrets) < 2 {
		t.Fatalf("secrets %q", secrets)
	}
	says := strings.Repeat("much is said here\n", 1<<15) + strings.Join(secrets, "\n") + "\nthe end\n"
	site.Provider = cloud.With(talkative{site.Provider, says}, cloud.Capabilities{})
	if err := os.RemoveAll(records); err != nil {
		t.Fatal(err)
	}
	_ = environment.Do(t.Context(), e.Up())
	names, console := shownBy(t, records)
	if !slices.Equal(names, []string{"web-1"}) || len(console) > 300<<10 || !strings.HasSuffix(console, mask.Mark+"\nthe end\n") {
		t.Errorf("%q; %d bytes, end with %q", names, len(console), console[max(0, len(console)-100):])
	}
	for _, s := range secrets {
		if strings.Contains(console, s) {
			t.Errorf("the secret %q is on it", s)
		}
	}
}

// A person who cancels a run wants to see why it hung; a process that ends leaves the waiting to the next.
func TestShownAfterTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		cause error
		want  []string
	}{
		"cancelled":        {verdict.Errorf(verdict.Cancelled, "", "by a person"), []string{"bastion with a picture"}},
		"the process ends": {context.Canceled, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGround(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			consoles := 0
			site, records := g.keeping(cloud.Intercept(g.world.Provider(), func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
				if call.Verb == cloud.VerbConsole {
					if consoles++; consoles == 1 {
						cancel(c.cause)
					}
				}
				return do(ctx)
			}))
			if err := environment.Do(ctx, g.planOn(site, environment.Prebuilt).Up()); err == nil {
				t.Fatal("it is up")
			}
			if names, _ := shownBy(t, records); !slices.Equal(names, c.want) {
				t.Errorf("kept: %q, want %q", names, c.want)
			}
		})
	}
}

// What cannot be shown changes nothing of what went wrong, and ends in its time.
func TestNothingToShow(t *testing.T) {
	g := newGround(t)
	broken := false
	site, records := g.keeping(cloud.Intercept(g.world.Provider(), func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
		if call.Verb == cloud.VerbScreenshot {
			deadline, ok := ctx.Deadline()
			if left := time.Until(deadline); !ok || left > 2*time.Minute {
				t.Errorf("it may take %v", left)
			}
			broken = true
			return &cloud.Error{Call: call.String(), Code: cloud.CodeDown, Err: os.ErrDeadlineExceeded}
		}
		return do(ctx)
	}))
	g.world.Trouble("web-1", environmenttest.Trouble{NoBoot: true})
	err := environment.Do(t.Context(), g.planOn(site, environment.Prebuilt).Up())
	if got := verdict.CauseOf(err); got != verdict.Transport || !broken {
		t.Errorf("cause %q (%v), picture asked for: %v", got, err, broken)
	}
	if names, _ := shownBy(t, records); !slices.Equal(names, []string{"web-1"}) {
		t.Errorf("kept: %q", names)
	}
}
