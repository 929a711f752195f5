package upgrader_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
	"github.com/hallmark-ci/hallmark/upgrader"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const commit = "c0ffee"

var health = &product.Health{Command: "health", Within: time.Minute}

// fleet is a bastion, a database and three web servers on an old release. It keeps what is done to
// it, in order: "deliver web-1", "health web-1", "run tidy on web-1".
type fleet struct {
	t         *testing.T
	done      []string
	taken     string                   // commit
	delivered map[string]string        // commit by server
	running   map[string]string        // new commits only
	times     map[string]time.Duration // by command
	shell     func(server string, cmd remote.Command) (remote.Result, error)
	sick      string // this server, as soon as web-1 runs new code
	noSession error
	open      int // sessions
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, delivered: map[string]string{}, running: map[string]string{}, times: map[string]time.Duration{}}
	f.shell = func(string, remote.Command) (remote.Result, error) { return remote.Result{}, nil }
	t.Cleanup(func() {
		if f.open != 0 {
			t.Errorf("%d sessions were left open", f.open)
		}
	})
	return f
}

func (f *fleet) ByRole(role string) []environment.Server {
	var servers []environment.Server
	for _, name := range map[string][]string{"bastion": {"bastion"}, "db": {"db-1"}, "web": {"web-1", "web-2", "web-3"}}[role] {
		servers = append(servers, environment.Server{Name: name, Role: role, Commit: f.running[name]})
	}
	return servers
}

func (f *fleet) step(name string, do func()) environment.Step {
	return environment.Step{Name: name, Do: func(context.Context) error {
		f.done = append(f.done, name)
		do()
		return nil
	}}
}

func (f *fleet) Take(code environment.Code, images map[string]cloud.ImageID) environment.Step {
	if images != nil {
		f.t.Errorf("an upgrade in place takes the images %v", images)
	}
	return f.step("take "+code.Commit, func() { f.taken = code.Commit })
}

func (f *fleet) Deliver(server string) environment.Step {
	return f.step("deliver "+server, func() { f.delivered[server] = f.taken })
}

func (f *fleet) Provision(server string) []environment.Step {
	return []environment.Step{
		f.step("start "+server, func() { f.running[server] = f.delivered[server] }),
		f.step("wait "+server, func() {}),
	}
}

func (f *fleet) Check(_ context.Context, server string, check product.Health) error {
	f.done = append(f.done, check.Command+" "+server)
	if server == f.sick && f.running["web-1"] == commit {
		return verdict.Errorf(verdict.HealthFailed, server, "exit 7")
	}
	return nil
}

func (f *fleet) Session(_ context.Context, server string) (remote.Session, error) {
	if f.noSession != nil {
		return nil, f.noSession
	}
	f.open++
	return &session{fleet: f, server: server}, nil
}

// session is no more than an upgrade needs: files are brought by Deliver only.
type session struct {
	remote.Session
	fleet  *fleet
	server string
}

func (s *session) Run(_ context.Context, cmd remote.Command) (remote.Result, error) {
	s.fleet.done = append(s.fleet.done, "run "+cmd.Line+" on "+s.server)
	s.fleet.times[cmd.Line] = cmd.Timeout
	if !cmd.Sudo {
		return remote.Result{Exit: 1, Stderr: []byte("permission denied")}, nil
	}
	return s.fleet.shell(s.server, cmd)
}

func (s *session) Close() error {
	s.fleet.open--
	return nil
}

func plan(f *fleet, p product.Procedure) []environment.Step {
	return upgrader.Plan(f, environment.Code{Product: &product.Product{Procedure: p}, Commit: commit})
}

// did compares what was done with words between commas or on lines.
func (f *fleet) did(want string) {
	f.t.Helper()
	list := strings.FieldsFunc(want, func(r rune) bool { return r == ',' || r == '\n' })
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	if !slices.Equal(f.done, list) {
		f.t.Errorf("done:\n%s\nwant:\n%s", strings.Join(f.done, "\n"), strings.Join(list, "\n"))
	}
}

func TestFollowsTheProcedure(t *testing.T) {
	f := newFleet(t)
	steps := plan(f, product.Procedure{
		Steps: []product.Step{{Role: "db", Health: health}, {Role: "bastion"}, {Role: "without servers"}},
		Tasks: []product.Task{
			{Name: "tidy up", Role: "web", Command: "tidy"}, {Name: "tell", Role: "db", Command: "tell", Once: true},
			{Name: "warm up", Role: "web", Command: "warm", Once: true, Timeout: 90 * time.Second},
		},
	})
	if len(f.done) > 0 {
		t.Errorf("planning did %v", f.done)
	}
	if err := environment.Do(t.Context(), steps); err != nil {
		t.Fatal(err)
	}
	f.did(`take c0ffee
		deliver db-1, start db-1, wait db-1, health db-1
		deliver bastion, start bastion, wait bastion
		run tidy on web-1, run tidy on web-2, run tidy on web-3, run tell on db-1, run warm on web-1`)
	if f.running["db-1"] != commit || f.running["bastion"] != commit {
		t.Errorf("the servers run %v", f.running)
	}
	if f.times["tidy"] != 10*time.Minute || f.times["warm"] != 90*time.Second {
		t.Errorf("the tasks have the time %v", f.times)
	}
}

func TestBatches(t *testing.T) {
	const (
		single = `take c0ffee
			deliver web-1, start web-1, wait web-1, health web-1, health web-2, health web-3
			deliver web-2, start web-2, wait web-2, health web-1, health web-2, health web-3
			deliver web-3, start web-3, wait web-3, health web-1, health web-2, health web-3`
		double = `take c0ffee
			deliver web-1, start web-1, deliver web-2, start web-2, wait web-1, wait web-2, health web-1, health web-2, health web-3
			deliver web-3, start web-3, wait web-3, health web-1, health web-2, health web-3`
		all = `take c0ffee
			deliver web-1, start web-1, deliver web-2, start web-2, deliver web-3, start web-3, wait web-1, wait web-2, wait web-3
			health web-1, health web-2, health web-3`
	)
	for name, c := range map[string]struct {
		batch int
		want  string
	}{
		"all": {0, all}, "one": {1, single}, "two": {2, double},
		"the whole role": {3, all}, "larger than the role": {9, all},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			if err := environment.Do(t.Context(), plan(f, product.Procedure{Steps: []product.Step{{Role: "web", Batch: c.batch, Health: health}}})); err != nil {
				t.Fatal(err)
			}
			f.did(c.want)
		})
	}
}

func TestStopsAtTheFirstBadBatch(t *testing.T) {
	for name, sick := range map[string]string{
		"an upgraded server is sick":     "web-1",
		"a peer on the old code is sick": "web-3",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			f.sick = sick
			err := environment.Do(t.Context(), plan(f, product.Procedure{
				Steps: []product.Step{{Role: "web", Batch: 1, Health: health}, {Role: "db", Batch: 1}},
				Tasks: []product.Task{{Name: "tidy up", Role: "web", Command: "tidy"}},
			}))
			if verdict.CauseOf(err) != verdict.HealthFailed {
				t.Errorf("error %v", err)
			}
			if len(f.delivered) != 1 || f.running["web-1"] != commit {
				t.Errorf("delivered to %v, running %v: want web-1 only", f.delivered, f.running)
			}
			if last := f.done[len(f.done)-1]; last != "health "+sick {
				t.Errorf("ended with %q", last)
			}
		})
	}
}

func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

func TestTaskFails(t *testing.T) {
	task := product.Procedure{Tasks: []product.Task{{Name: "tidy up", Role: "web", Command: "tidy"}, {Name: "tell", Role: "db", Command: "tell"}}}
	long := strings.Repeat("very ", 200)
	for name, c := range map[string]struct {
		result remote.Result
		err    error
		cause  verdict.Cause
		words  []string
		not    string
	}{
		"what it complains of": {remote.Result{Exit: 4, Stdout: []byte("at work"), Stderr: []byte("no luck\n")}, nil,
			verdict.ProcedureFails, []string{"web-2", `"tidy up"`, "exit 4", "no luck"}, "at work"},
		"what it says without a complaint": {remote.Result{Exit: 1, Stdout: []byte("said on stdout\n")}, nil,
			verdict.ProcedureFails, []string{"web-2", "exit 1", "said on stdout"}, "\n"},
		"the end of much": {remote.Result{Exit: 1, Stderr: []byte("the beginning " + long + "bad end")}, nil,
			verdict.ProcedureFails, []string{"web-2", "… ", "very bad end"}, "the beginning"},
		"it cannot be run": {remote.Result{}, verdict.Errorf(verdict.Transport, "web-2", "broken pipe"),
			verdict.Transport, []string{"web-2", "broken pipe"}, "exit"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			f.shell = func(server string, _ remote.Command) (remote.Result, error) {
				if server != "web-2" {
					return remote.Result{}, nil
				}
				return c.result, c.err
			}
			err := environment.Do(t.Context(), plan(f, task))
			if verdict.CauseOf(err) != c.cause {
				t.Fatalf("error %v, want cause %s", err, c.cause)
			}
			says(t, err, c.words...)
			if strings.Contains(err.Error(), c.not) {
				t.Errorf("the error says %q: %v", c.not, err)
			}
			f.did("take c0ffee, run tidy on web-1, run tidy on web-2")
		})
	}
}

// A process that goes on with an upgrade finds its steps again by name.
func TestNamesAreUniqueAndStable(t *testing.T) {
	f := newFleet(t)
	procedure := product.Procedure{
		Steps: []product.Step{{Role: "db"}, {Role: "web", Batch: 2}, {Role: "bastion"}},
		Tasks: []product.Task{{Name: "tidy up", Role: "web"}, {Name: "warm up", Role: "web"}, {Name: "tell", Role: "db", Once: true}},
	}
	steps := plan(f, procedure)
	seen := map[string]bool{}
	var names []string
	for i, s := range steps {
		if s.Name == "" || seen[s.Name] {
			t.Errorf("step %d is called %q, as another is", i, s.Name)
		}
		seen[s.Name] = true
		names = append(names, s.Name)
	}
	for done, s := range steps {
		if err := s.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		var again []string
		for _, s := range plan(f, procedure) {
			again = append(again, s.Name)
		}
		if !slices.Equal(again, names) {
			t.Fatalf("after %d steps they are called %q, before %q", done+1, again, names)
		}
	}
}
