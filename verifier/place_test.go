package verifier_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
	"github.com/hallmark-ci/hallmark/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const neighbour = "192.0.2.9:22"

// place is a bastion and a web server on which all is well but for what a test scripts. It is also
// the host from which logins are tried.
type place struct {
	t        *testing.T
	product  *product.Product
	verifier *verifier.Verifier
	clock    *clock.Manual

	answers   environmenttest.Answers
	instead   []instead
	noSession error
	noPut     error
	files     map[string]map[string]string // content by server and path
	puts      []string                     // "web-1 0755 path"
	asked     []string                     // "web-1 line"
	open      int                          // sessions

	admin, bootstrap ssh.Signer
	factor           *remote.Factor
	address          string // of web-1
	noAccess         error
	refusals         map[string]remote.Refusal // instead of what ought to be, by leg
	noLogin          error
	tried            []string        // legs
	alive            map[string]bool // addresses that answer this host

	audit      verdict.Audit
	audits     int
	auditEnded error // of the context that the last audit got
}

// instead is what a server answers to lines with such a part.
type instead struct {
	server, part string
	reply        func(ctx context.Context, cmd remote.Command) (remote.Result, error)
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir := t.TempDir()
	p := &place{
		t: t, clock: clock.NewManual(time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC)),
		product: &product.Product{
			Dir:      dir,
			Roles:    map[string]product.Role{"bastion": {Name: "bastion", Bastion: true}, "web": {Name: "web"}},
			Topology: []product.Group{{Role: "bastion", Count: 1}, {Role: "web", Count: 1, After: []string{"bastion"}}},
		},
		files: map[string]map[string]string{"bastion": {}, "web-1": {}},
		admin: signer(t), bootstrap: signer(t), factor: new(remote.Factor), refusals: map[string]remote.Refusal{},
		alive: map[string]bool{neighbour: true}, audit: clean(), address: "10.0.0.3:22",
	}
	p.write("probe", "a static binary")
	p.write("suites/smoke/all.yaml", "service: {sshd: {running: true}}\n")
	p.write("suites/build/web.yaml", "port: {'tcp:80': {listening: true}}\nservice: {nginx: {running: true}}\n")
	p.verifier = &verifier.Verifier{
		Probe: filepath.Join(dir, "probe"), Timeout: time.Minute, Now: p.clock.Now,
		Outside: netip.MustParseAddr("127.0.0.2"), Neighbour: neighbour, Host: host{p},
	}
	t.Cleanup(func() {
		if p.open != 0 {
			t.Errorf("%d sessions were left open", p.open)
		}
	})
	return p
}

func signer(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func clean() verdict.Audit {
	return verdict.Audit{Done: true, AllRunning: true, ExpectedBoots: true, PackageSources: true}
}

func unclean() verdict.Audit {
	a := clean()
	a.AllRunning, a.Findings = false, []string{"web-1 is gone", "web-1 lets nobody in"}
	return a
}

// write puts a file into the product's directory.
func (p *place) write(name, content string) {
	p.t.Helper()
	file := filepath.Join(p.product.Dir, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600))
	if err != nil {
		p.t.Fatal(err)
	}
}

// when scripts a server's answer; the first that fits is given.
func (p *place) when(server, part string, reply func(context.Context, remote.Command) (remote.Result, error)) {
	p.instead = append(p.instead, instead{server, part, reply})
}

func exits(code int, stdout string) func(context.Context, remote.Command) (remote.Result, error) {
	return func(context.Context, remote.Command) (remote.Result, error) {
		return remote.Result{Exit: code, Stdout: []byte(stdout), Stderr: []byte("complaint\n")}, nil
	}
}

func breaks(cause verdict.Cause) func(context.Context, remote.Command) (remote.Result, error) {
	return func(context.Context, remote.Command) (remote.Result, error) {
		return remote.Result{}, verdict.Errorf(cause, "web-1", "as scripted")
	}
}

func (p *place) Servers() []environment.Server {
	var servers []environment.Server
	for _, s := range p.product.Servers() {
		servers = append(servers, environment.Server{Name: s.Name, Role: s.Role, Bastion: p.product.Roles[s.Role].Bastion})
	}
	return servers
}

func (p *place) Audit(ctx context.Context, _ ...string) verdict.Audit {
	p.audits++
	p.auditEnded = ctx.Err()
	return p.audit
}

func (p *place) Session(_ context.Context, server string) (remote.Session, error) {
	if p.noSession != nil {
		return nil, p.noSession
	}
	if p.files[server] == nil {
		return nil, fmt.Errorf("there is no server %q", server)
	}
	p.open++
	return &session{p, server}, nil
}

// session is the admin's. Like a server of a real product it keeps everything from whoever is not root.
type session struct {
	place  *place
	server string
}

func (s *session) Run(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	p := s.place
	p.asked = append(p.asked, s.server+" "+cmd.Line)
	if !cmd.Sudo {
		return remote.Result{Exit: 1, Stderr: []byte("permission denied")}, nil
	}
	for _, i := range p.instead {
		if i.server == s.server && strings.Contains(cmd.Line, i.part) {
			return i.reply(ctx, cmd)
		}
	}
	r, _ := p.answers.Shell(environmenttest.Server{Name: s.server, Files: maps.Clone(p.files[s.server])}, cmd)
	return r, nil
}

func (s *session) Put(_ context.Context, path string, content io.Reader, mode uint32, sudo bool) error {
	p := s.place
	if p.noPut != nil {
		return p.noPut
	}
	if !sudo {
		return errors.New("permission denied")
	}
	body, err := io.ReadAll(content)
	p.files[s.server][path] = string(body)
	p.puts = append(p.puts, fmt.Sprintf("%s %04o %s", s.server, mode, path))
	return err
}

func (s *session) Close() error {
	s.place.open--
	return nil
}

// plan gives the tests of a tier.
func (p *place) plan(tier string) []verifier.Test {
	p.t.Helper()
	tests, err := p.verifier.Plan(p.product, p, tier)
	if err != nil {
		p.t.Fatal(err)
	}
	return tests
}

// run runs one test of the tier build.
func (p *place) run(suite, name, server string) []ledger.Result {
	p.t.Helper()
	for _, test := range p.plan(verifier.Build) {
		if test.Suite == suite && test.Name == name && test.Server == server {
			return p.verifier.Run(p.t.Context(), test, p)
		}
	}
	p.t.Fatalf("no test %q of suite %s on %s is planned", name, suite, server)
	return nil
}

// wanted is what a result has to be.
type wanted struct {
	outcome ledger.Outcome
	cause   verdict.Cause
	words   []string // in its message
}

// one runs a test that has one result, named as the test, and compares it.
func (p *place) one(suite, name, server string, want wanted) ledger.Result {
	p.t.Helper()
	results := p.run(suite, name, server)
	if len(results) != 1 {
		p.t.Fatalf("%d results: %+v", len(results), results)
	}
	r := results[0]
	if key := (ledger.ResultKey{Tier: verifier.Build, Suite: suite, Test: name, Server: server}); r.ResultKey != key {
		p.t.Errorf("key %+v, want %+v", r.ResultKey, key)
	}
	want.check(p.t, r)
	return r
}

func (w wanted) check(t *testing.T, r ledger.Result) {
	t.Helper()
	if r.Outcome != w.outcome || r.Cause != w.cause {
		t.Errorf("%s on %s is %s, cause %q, want %s, cause %q: %s", r.Test, r.Server, r.Outcome, r.Cause, w.outcome, w.cause, r.Message)
	}
	for _, word := range w.words {
		if !strings.Contains(r.Message, word) {
			t.Errorf("the message does not say %q: %s", word, r.Message)
		}
	}
	if len(w.words) == 0 && r.Message != "" {
		t.Errorf("there is nothing to say, and it says %q", r.Message)
	}
}
