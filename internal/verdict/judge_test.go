package verdict

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// causes are all constants of type Cause, as the source has them.
func causes(t *testing.T) map[Cause]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "cause.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[Cause]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Cause" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all[Cause(text)] = true
		}
		return true
	})
	return all
}

func TestEveryCauseIsInTheTable(t *testing.T) {
	all := causes(t)
	delete(all, None)
	if len(all) < 20 {
		t.Fatalf("%d causes read", len(all))
	}
	for c := range all {
		if _, ok := blame[c]; !ok {
			t.Errorf("%s is not in the table", c)
		}
	}
	for c := range blame {
		if !all[c] {
			t.Errorf("%s is in the table and is no cause", c)
		}
	}
}

// Each cause is held to what it depends on, and to nothing else.
func TestCausesAreHeldToWhatTheyDependOn(t *testing.T) {
	all := Audit{Done: true, AllRunning: true, ExpectedBoots: true, PackageSources: true, Control: true}
	for _, c := range []struct {
		cause                              Cause
		running, boots, sources, noControl Verdict // what is judged without that look, all others holding
	}{
		{TestFailed, Inconclusive, Inconclusive, Failed, Failed},
		{HealthFailed, Inconclusive, Inconclusive, Failed, Failed},
		{TestTimeout, Inconclusive, Inconclusive, Failed, Failed},
		{PuppetFailed, Inconclusive, Inconclusive, Inconclusive, Failed},
		{PuppetTimeout, Inconclusive, Inconclusive, Inconclusive, Failed},
		{ProcedureFails, Inconclusive, Inconclusive, Inconclusive, Failed},
		{ServerLogin, Inconclusive, Inconclusive, Failed, Failed},
		{ServerSudo, Inconclusive, Inconclusive, Failed, Failed},
		{ServerPort, Inconclusive, Inconclusive, Failed, Failed},
		{ServerBoot, Inconclusive, Failed, Failed, Inconclusive},
		{CheckFailed, Failed, Failed, Failed, Failed},
		{TestBroken, Failed, Failed, Failed, Failed},
		{Transport, Inconclusive, Inconclusive, Inconclusive, Inconclusive},
		{StoppedItself, Inconclusive, Inconclusive, Inconclusive, Inconclusive},
	} {
		for what, spoilt := range map[string]struct {
			spoil func(*Audit)
			want  Verdict
		}{
			"a server that does not run": {func(a *Audit) { a.AllRunning = false }, c.running},
			"another boot":               {func(a *Audit) { a.ExpectedBoots = false }, c.boots},
			"no package sources":         {func(a *Audit) { a.PackageSources = false }, c.sources},
			"no control server":          {func(a *Audit) { a.Control = false }, c.noControl},
		} {
			a := all
			spoilt.spoil(&a)
			if got := Judge(c.cause, a); got != spoilt.want {
				t.Errorf("%s with %s is %s, want %s", c.cause, what, got, spoilt.want)
			}
		}
		if got := Judge(c.cause, Audit{}); got == Failed && c.cause != CheckFailed && c.cause != TestBroken {
			t.Errorf("%s without an audit is %s", c.cause, got)
		}
	}
}

// Trouble on the way in is the product's if the audit found that the product closes the way.
func TestRefine(t *testing.T) {
	locked := func(l Leg) Audit {
		return Audit{Done: true, AllRunning: true, ExpectedBoots: true, Lockout: Lockout{Leg: l, Server: "bastion", Said: "no"}}
	}
	for _, c := range []struct {
		cause Cause
		audit Audit
		want  Cause
		judge Verdict
	}{
		{RemoteFactor, locked(LegFactor), ServerLogin, Failed},
		{RemoteBastion, locked(LegBastionKey), ServerLogin, Failed},
		{RemoteBastion, locked(LegBastionPort), ServerPort, Failed},
		{RemoteBastion, locked(LegForwarding), ServerPort, Failed},
		{Transport, locked(LegNetwork), ServerPort, Failed},
		{Transport, locked(LegSudo), ServerSudo, Failed},
		{RemoteBastion, Audit{Done: true, AllRunning: true, ExpectedBoots: true, PackageSources: true}, RemoteBastion, Inconclusive},
		{CloudLost, locked(LegBastionKey), CloudLost, Inconclusive},
		{Cancelled, locked(LegBastionKey), Cancelled, Inconclusive},
		{TestFailed, Audit{Done: true, Stopped: "web-1"}, ServerStopped, Inconclusive},
		{Transport, Audit{Done: true, Stopped: "web-1"}, ServerStopped, Inconclusive},
		{CheckFailed, Audit{Done: true, Stopped: "web-1"}, CheckFailed, Failed},
	} {
		if got := Refine(c.cause, c.audit); got != c.want {
			t.Errorf("Refine(%s, %+v) = %s, want %s", c.cause, c.audit, got, c.want)
		}
		if got := Judge(c.cause, c.audit); got != c.judge {
			t.Errorf("Judge(%s, %+v) = %s, want %s", c.cause, c.audit, got, c.judge)
		}
	}
}

// A durable step stores an error as text: server and leg must be found again in it.
func TestServerAndLegSurviveText(t *testing.T) {
	inner := Errorf(RemoteFactor, "bastion", "log in: %w", errors.New("refused"))
	inner.Leg = LegFactor
	err := fmt.Errorf("provision web-1: %w", Errorf(PuppetTimeout, "", "did not converge: %w", inner))
	for _, e := range []error{inner, fmt.Errorf("up: %w", inner), errors.New(inner.Error())} {
		if LegOf(e) != LegFactor || ServerOf(e) != "bastion" {
			t.Errorf("leg %q of %q in %v", LegOf(e), ServerOf(e), e)
		}
	}
	if LegOf(err) != LegFactor || ServerOf(err) != "bastion" {
		t.Errorf("leg %q of %q in %v", LegOf(err), ServerOf(err), err)
	}
	if LegOf(nil) != "" || ServerOf(nil) != "" || LegOf(errors.New("x")) != "" || ServerOf(errors.New("x: y")) != "" {
		t.Error("found where there is none")
	}
}
