package verifier_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// hangs is a command that ends with its context, as package remote tells it of a healthy server.
func hangs(ctx context.Context, _ remote.Command) (remote.Result, error) {
	<-ctx.Done()
	cause := verdict.TestTimeout
	if errors.Is(ctx.Err(), context.Canceled) {
		cause = verdict.Cancelled
	}
	return remote.Result{Exit: -1}, verdict.Errorf(cause, "web-1", "its context ended: %w", ctx.Err())
}

// A command that outlives its time is the product's fault, but on a healthy server only. The audit
// has time of its own.
func TestTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		audit verdict.Audit
		want  wanted
	}{
		"on a healthy server":             {clean(), wanted{ledger.Failed, verdict.TestTimeout, []string{"web-1", "its context ended"}}},
		"on a server that is not healthy": {unclean(), wanted{ledger.Inconclusive, verdict.TestTimeout, []string{"its context ended", "web-1 is gone"}}},
		"on a server nobody looked at":    {verdict.Audit{}, wanted{ledger.Inconclusive, verdict.TestTimeout, []string{"its context ended"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlace(t)
				p.audit = c.audit
				p.when("web-1", "again", hangs)
				began := time.Now()
				p.one("system", "second Puppet run changes nothing", "web-1", c.want)
				if took := time.Since(began); took != p.verifier.Timeout {
					t.Errorf("it had %v, want %v", took, p.verifier.Timeout)
				}
				if p.audits != 1 || p.auditEnded != nil {
					t.Errorf("%d audits, the context of the last: %v", p.audits, p.auditEnded)
				}
			})
		})
	}
}

// What was cut short is held against nobody, whatever the audit finds.
func TestCancelled(t *testing.T) {
	p := newPlace(t)
	ctx, cancel := context.WithCancel(t.Context())
	p.when("web-1", "again", func(ctx context.Context, cmd remote.Command) (remote.Result, error) {
		cancel()
		return hangs(ctx, cmd)
	})
	for _, test := range p.plan("build") {
		if test.Server != "web-1" || test.Name != "second Puppet run changes nothing" {
			continue
		}
		results := p.verifier.Run(ctx, test, p)
		if len(results) != 1 {
			t.Fatalf("results %+v", results)
		}
		wanted{ledger.Inconclusive, verdict.Cancelled, []string{"its context ended"}}.check(t, results[0])
		return
	}
	t.Fatal("the test is not planned")
}

// Whose fault an error is decides its cause, and for the product's causes the audit.
func TestErrorsOfATest(t *testing.T) {
	for name, c := range map[string]struct {
		err       error
		cause     verdict.Cause
		onHealthy ledger.Outcome
	}{
		"the product's":        {verdict.Errorf(verdict.ServerLogin, "web-1", "refused"), verdict.ServerLogin, ledger.Failed},
		"the infrastructure's": {verdict.Errorf(verdict.CloudLost, "web-1", "gone"), verdict.CloudLost, ledger.Inconclusive},
		"wrapped":              {fmt.Errorf("try: %w", verdict.Errorf(verdict.ServerLogin, "web-1", "refused")), verdict.ServerLogin, ledger.Failed},
		"unexplained":          {errors.New("never seen"), verdict.Unexplained, ledger.Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			for _, audit := range []verdict.Audit{clean(), unclean()} {
				p := newPlace(t)
				p.noSession, p.audit = c.err, audit
				want := wanted{c.onHealthy, c.cause, []string{c.err.Error()}}
				if !audit.Clean() {
					want.outcome, want.words = ledger.Inconclusive, append(want.words, "; audit: web-1 is gone; web-1 lets nobody in")
				}
				p.one("system", "clean logs", "web-1", want)
			}
		})
	}
}
