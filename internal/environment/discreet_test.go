package environment_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/environment/environmenttest"
	"github.com/hallmark-ci/hallmark/internal/mask"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// tapped is a dialer of servers behind the bastion whose commands a test answers, or changes the answer of.
type tapped struct {
	environment.Dialer
	run runner
}

type runner func(ctx context.Context, s remote.Session, cmd remote.Command) (remote.Result, error)

type tappedPath struct {
	environment.Path
	run runner
}

func (d tapped) Path(b remote.Bastion) environment.Path { return tappedPath{d.Dialer.Path(b), d.run} }

func (p tappedPath) Server(ctx context.Context, server remote.Server) (remote.Session, error) {
	s, err := p.Path.Server(ctx, server)
	return tappedSession{s, p.run}, err
}

type tappedSession struct {
	remote.Session
	run runner
}

func (s tappedSession) Run(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	return s.run(ctx, s.Session, cmd)
}

// Whatever is read of a server has none of its secrets when it leaves the environment: output, output as it comes,
// errors, consoles, Puppet's reports, the record, the log.
func TestNothingReadHoldsASecret(t *testing.T) {
	g := newGround(t)
	site := g.site()
	var secrets []string
	says := func() string {
		var b strings.Builder
		for _, s := range secrets {
			b.WriteString("password " + s + " or " + base64.StdEncoding.EncodeToString([]byte("user:"+s)) + "\n")
		}
		return b.String()
	}
	site.Dialer = tapped{site.Dialer, func(ctx context.Context, s remote.Session, cmd remote.Command) (remote.Result, error) {
		switch cmd.Line {
		case "say":
			said := []byte(says())
			for piece := range bytes.SplitSeq(said, []byte("a")) {
				if _, err := cmd.Output.Write(append(piece, 'a')); err != nil {
					return remote.Result{}, err
				}
			}
			return remote.Result{Stdout: said, Stderr: said}, nil
		case "break":
			return remote.Result{}, verdict.Errorf(verdict.ServerSudo, "web-1", "sudo said %s: %w", says(), os.ErrPermission)
		}
		return s.Run(ctx, cmd)
	}}
	site.Provider = cloud.Intercept(site.Provider, func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
		if err := do(ctx); call.Verb != cloud.VerbReboot || err != nil {
			return err
		}
		return errors.New("cannot reboot: it was launched with " + says())
	})
	e := g.planOn(site, environment.Prebuilt)
	g.do(e.Up())
	if secrets = g.world.Secrets(); len(secrets) < 2 {
		t.Fatalf("secrets %q", secrets)
	}
	clean := func(what, text string) {
		t.Helper()
		for _, s := range secrets {
			if strings.Contains(text, s) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("user:" + s))[8:30]) {
				t.Errorf("%s holds the secret %s: %q", what, s, text)
			}
		}
	}
	masked := func(what, text string) {
		t.Helper()
		clean(what, text)
		if !strings.Contains(text, mask.Mark) {
			t.Errorf("%s does not say that there was one: %q", what, text)
		}
	}
	session, err := e.Session(t.Context(), "web-1")
	if err != nil {
		t.Fatal(err)
	}
	var asItComes bytes.Buffer
	r, err := session.Run(t.Context(), remote.Command{Line: "say", Output: &asItComes})
	if err != nil {
		t.Fatal(err)
	}
	masked("stdout", string(r.Stdout))
	masked("stderr", string(r.Stderr))
	masked("output as it comes", asItComes.String())
	_, err = session.Run(t.Context(), remote.Command{Line: "break"})
	if verdict.CauseOf(err) != verdict.ServerSudo || verdict.ServerOf(err) != "web-1" || !errors.Is(err, os.ErrPermission) {
		t.Errorf("it is another error now: %v", err)
	}
	masked("an error of a session", err.Error())

	err = environment.Do(t.Context(), e.Reboot())
	if err == nil {
		t.Fatal("it rebooted")
	}
	masked("an error of the provider", err.Error())

	provider := site.Provider
	site.Provider = cloud.Intercept(provider, func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
		if call.Verb == cloud.VerbServers || call.Verb == cloud.VerbStop {
			return errors.New("no answer about " + says())
		}
		return do(ctx)
	})
	masked("an audit", strings.Join(e.Audit(t.Context(), "web-1").Findings, "\n"))
	if err = e.Crash(t.Context(), "web-1"); err == nil {
		t.Fatal("it crashed")
	}
	masked("an error of a verb", err.Error())
	site.Provider = provider

	site.Provider = cloud.With(talkative{site.Provider, says()}, cloud.Capabilities{})
	console, err := e.Console(t.Context(), "web-1")
	if err != nil {
		t.Fatal(err)
	}
	masked("the console", string(console))

	g.world.Trouble("web-1", environmenttest.Trouble{Puppet: &puppet.Resource{Title: "File[/x]", Message: "content is " + strings.Join(secrets, ", ")}})
	site.Provider, site.Dialer = g.world.Provider(), g.world.Dialer()
	err = environment.Do(t.Context(), e.RelaunchServer("web-1"))
	if verdict.CauseOf(err) != verdict.PuppetFailed {
		t.Fatalf("relaunch: %v", err)
	}
	secrets = g.world.Secrets()
	masked("what Puppet said", err.Error())
	stored, err := g.store.Environment(t.Context(), e.ID())
	if err != nil {
		t.Fatal(err)
	}
	masked("the record", string(stored.Body))
	clean("the log", g.log.String())
}

// A console without end is read from its end, and says that its beginning is missing.
func TestLongConsole(t *testing.T) {
	g := newGround(t)
	site := g.site()
	e := g.planOn(site, environment.Prebuilt)
	g.do(e.Up())
	site.Provider = cloud.With(talkative{site.Provider, strings.Repeat("x", 5<<20) + "\nthe end\n"}, cloud.Capabilities{})
	console, err := e.Console(t.Context(), "web-1")
	if err != nil || len(console) > 4<<20+100 || !bytes.HasSuffix(console, []byte("the end\n")) || !bytes.Contains(console[:100], []byte("bytes before this are left out")) {
		t.Errorf("%d bytes, %q, %v", len(console), console[:100], err)
	}
}

// A file on a server that is longer than what is read of it is no report: what is missing may be what failed.
func TestReportLongerThanIsRead(t *testing.T) {
	for _, file := range []string{puppet.StatusPath, puppet.ReportPath} {
		g := newGround(t)
		site := g.site()
		site.Dialer = tapped{site.Dialer, func(ctx context.Context, s remote.Session, cmd remote.Command) (remote.Result, error) {
			r, err := s.Run(ctx, cmd)
			r.Truncated = cmd.Line == "cat "+file || strings.Contains(cmd.Line, "reported()") && strings.Contains(cmd.Line, file)
			return r, err
		}}
		err := environment.Do(t.Context(), g.planOn(site, environment.Prebuilt).Up())
		if verdict.CauseOf(err) != verdict.Unexplained || !strings.Contains(err.Error(), file+" is longer than the ") {
			t.Errorf("%s: %v", file, err)
		}
	}
}
