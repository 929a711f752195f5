package fault_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/cloud/fault"
	"github.com/hallmark-ci/hallmark/internal/cloud/sim"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

var start = time.Date(2026, 11, 23, 21, 0, 0, 0, time.UTC)

// stage is a simulated cloud under a script, with a network to launch into.
type stage struct {
	cloud.Provider
	t    *testing.T
	hand *clock.Manual
	bare *sim.Cloud
	base cloud.Image
	net  cloud.Network
}

func newStage(t *testing.T, script string) *stage {
	t.Helper()
	s := &stage{t: t, hand: clock.NewManual(start)}
	s.bare = sim.New(sim.Options{Clock: s.hand})
	parsed, err := fault.Parse([]byte(script))
	if err != nil {
		t.Fatal(err)
	}
	tags := cloud.Tags{Owner: "site"}
	if s.base, err = s.bare.AddBase(t.Context(), cloud.ImageSpec{
		Name: "base", Tags: tags, Properties: map[string]string{cloud.PropertyRecipe: "sha256:abc"}}); err != nil {
		t.Fatal(err)
	}
	if s.net, err = s.bare.CreateNetwork(t.Context(), cloud.NetworkSpec{Name: "env", Tags: tags}); err != nil {
		t.Fatal(err)
	}
	s.Provider = fault.Inject(s.bare, parsed, s.hand)
	return s
}

func (s *stage) launch(name string, n byte) (cloud.Server, error) {
	return s.Launch(s.t.Context(), cloud.ServerSpec{
		Name: name, Network: s.net.ID, Image: s.base.ID, Token: name, Address: netip.AddrFrom4([4]byte{10, 64, 0, n}),
	})
}

// states lists the servers as they are seen, by name.
func (s *stage) states() map[string]cloud.State {
	s.t.Helper()
	list, err := s.Servers(s.t.Context(), cloud.Filter{})
	if err != nil {
		s.t.Fatal(err)
	}
	got := map[string]cloud.State{}
	for _, server := range list {
		got[server.Name] = server.State
	}
	return got
}

func TestRefuseTheNthLaunch(t *testing.T) {
	s := newStage(t, `[{call: launch, subject: "web-*", nth: 2, times: 2, do: refuse}]`)
	var codes []string
	for _, name := range []string{"web-1", "db-1", "web-2", "web-2", "web-2"} {
		_, err := s.launch(name, byte(10+len(codes)))
		codes = append(codes, string(cloud.CodeOf(err)))
		if err != nil && (verdict.CauseOf(err) != verdict.CloudRefused || !strings.Contains(err.Error(), "scripted fault")) {
			t.Errorf("error %v", err)
		}
	}
	if got, want := strings.Join(codes, ","), ",,refused,refused,"; got != want {
		t.Errorf("codes %s, want %s", got, want)
	}
}

func TestOnePeriodOfSilence(t *testing.T) {
	s := newStage(t, `[{do: down, from: 1m, for: 30s}]`)
	for _, step := range []struct {
		wait time.Duration
		want cloud.Code
	}{{0, ""}, {time.Minute, cloud.CodeDown}, {29 * time.Second, cloud.CodeDown}, {time.Second, ""}} {
		s.hand.Advance(step.wait)
		if _, err := s.Images(t.Context(), cloud.Filter{}); cloud.CodeOf(err) != step.want {
			t.Errorf("at %v: %v, want code %q", s.hand.Now().Sub(start), err, step.want)
		}
	}
}

func TestFates(t *testing.T) {
	s := newStage(t, `
- {call: launch, subject: web-1, do: slow, delay: 90s}
- {call: launch, subject: web-2, do: lose, delay: 1m}
- {call: reboot, subject: db-1, do: break, delay: 1m}
`)
	ids := map[string]cloud.ServerID{}
	for n, name := range []string{"web-1", "web-2", "db-1"} {
		server, err := s.launch(name, byte(11+n))
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = server.ID
	}
	if err := s.Reboot(t.Context(), ids["db-1"]); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		wait time.Duration
		want map[string]cloud.State
	}{
		{59 * time.Second, map[string]cloud.State{"web-1": cloud.Pending, "web-2": cloud.Running, "db-1": cloud.Running}},
		{time.Second, map[string]cloud.State{"web-1": cloud.Pending, "db-1": cloud.Broken}},
		{30 * time.Second, map[string]cloud.State{"web-1": cloud.Running, "db-1": cloud.Broken}},
	} {
		s.hand.Advance(step.wait)
		if got := s.states(); !reflect.DeepEqual(got, step.want) {
			t.Errorf("at %v: %v, want %v", s.hand.Now().Sub(start), got, step.want)
		}
	}
	if list, _ := s.bare.Servers(t.Context(), cloud.Filter{}); len(list) != 2 {
		t.Errorf("a lost server is still there: %v", list)
	}
	if _, err := s.Console(t.Context(), ids["web-2"]); cloud.CodeOf(err) != cloud.CodeNotFound {
		t.Errorf("console of a lost server: %v", err)
	}
}

func TestSlowCapture(t *testing.T) {
	s := newStage(t, `[{call: capture, do: slow, delay: 10m}]`)
	server, err := s.launch("web-1", 11)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context(), server.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Capture(t.Context(), server.ID, cloud.ImageSpec{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if took := s.hand.Now().Sub(start); took != 10*time.Minute {
		t.Errorf("capture took %v", took)
	}
}

func TestContractWithoutFaults(t *testing.T) {
	cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
		s := newStage(t, "")
		if err := s.bare.DeleteNetwork(t.Context(), s.net.ID); err != nil {
			t.Fatal(err)
		}
		return cloudtest.Fixture{
			Provider: s.Provider, Owner: "contract", Base: s.base,
			BaseSpec: cloud.BaseSpec{Name: "base", Digest: "sha256:abc"}, Patience: time.Minute, Pause: s.hand.Advance,
		}
	})
}

func TestCapabilities(t *testing.T) {
	hand := clock.NewManual(start)
	full := cloud.CapabilitiesOf(fault.Inject(sim.New(sim.Options{Clock: hand}), nil, hand))
	if full.Snapshotter == nil || full.BaseImporter == nil || full.DiskReader == nil {
		t.Errorf("lost: there are %+v", full)
	}
	plain := cloud.CapabilitiesOf(fault.Inject(struct{ cloud.Provider }{sim.New(sim.Options{})}, nil, hand))
	if plain != (cloud.Capabilities{}) {
		t.Errorf("invented: there are %+v", plain)
	}
}

func TestBadScripts(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"unknown key":    {"- {do: down}\n- {call: launch, doo: refuse}", "line 2"},
		"unknown call":   {"[{call: lunch, do: refuse}]", `"lunch" is none of`},
		"unknown effect": {"[{call: launch, do: explode}]", `"explode" is none of`},
		"no effect":      {"[{call: launch}]", "do:"},
		"bad pattern":    {"[{call: launch, subject: 'web-[', do: refuse}]", "not a pattern"},
		"slow how long":  {"[{call: launch, do: slow}]", "needs one"},
		"bad duration":   {"[{call: launch, do: slow, delay: soon}]", "soon"},
		"lose what":      {"[{call: images, do: lose}]", "needs one of"},
		"useless delay":  {"[{call: launch, do: refuse, delay: 1s}]", "has none"},
		"negative":       {"[{call: launch, do: refuse, nth: -1}]", "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := fault.Parse([]byte(c.script)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[{call: launch, nth: 2, do: refuse}]")
	f.Add("- {do: down, from: 1m, for: 30s}")
	f.Fuzz(func(t *testing.T, text string) {
		script, err := fault.Parse([]byte(text))
		if err == nil && script.Validate() != nil {
			t.Errorf("parsed an invalid script from %q", text)
		}
	})
}
