package verdict

import (
	"errors"
	"fmt"
	"testing"
)

func TestZeroIsInconclusive(t *testing.T) {
	var v Verdict
	if v != Inconclusive || v.String() != "inconclusive" {
		t.Fatalf("zero verdict is %v", v)
	}
	if Worst() != Inconclusive {
		t.Fatal("nothing tried must be inconclusive")
	}
}

func TestWorst(t *testing.T) {
	for _, tc := range []struct {
		parts []Verdict
		want  Verdict
	}{
		{[]Verdict{Passed, Passed}, Passed},
		{[]Verdict{Passed, Inconclusive}, Inconclusive},
		{[]Verdict{Inconclusive, Failed, Passed}, Failed},
		{[]Verdict{Passed, Verdict(9)}, Inconclusive},
	} {
		if got := Worst(tc.parts...); got != tc.want {
			t.Errorf("Worst(%v) = %v, want %v", tc.parts, got, tc.want)
		}
	}
}

func TestJudge(t *testing.T) {
	clean := Audit{Done: true, AllRunning: true, ExpectedBoots: true, PackageSources: true}
	lost := clean
	lost.AllRunning = false
	full := clean
	full.NoRoom = true
	starved := clean
	starved.Starved = true
	for _, tc := range []struct {
		cause Cause
		audit Audit
		want  Verdict
	}{
		{None, Audit{}, Passed},
		{TestFailed, clean, Failed},
		{TestFailed, lost, Inconclusive},
		{TestFailed, Audit{}, Inconclusive},
		{TestFailed, starved, Failed}, // no host makes a test say no
		{TestTimeout, starved, Inconclusive},
		{TestTimeout, clean, Failed},
		{TestFailed, full, Inconclusive},
		{PuppetFailed, full, Inconclusive},
		{TestBroken, full, Failed},
		{PuppetTimeout, starved, Inconclusive},
		{HealthFailed, starved, Inconclusive},
		{PuppetFailed, starved, Failed},
		{PuppetFailed, clean, Failed},
		{ServerLogin, clean, Failed},
		{CloudRefused, clean, Inconclusive},
		{RemoteBastion, clean, Inconclusive},
		{Unexplained, clean, Inconclusive},
		{Cause("never.heard"), clean, Inconclusive},
		{TestBroken, Audit{}, Failed},
		{CheckFailed, Audit{}, Failed},
	} {
		if got := Judge(tc.cause, tc.audit); got != tc.want {
			t.Errorf("Judge(%q, %+v) = %v, want %v", tc.cause, tc.audit, got, tc.want)
		}
	}
}

// A durable step stores an error as text: the cause must be found again in it.
func TestCauseSurvivesText(t *testing.T) {
	err := fmt.Errorf("lane verify-base: %w", Errorf(PuppetFailed, "web-1", "Service[nginx]: %w", errors.New("exit 1")))
	for _, e := range []error{err, errors.New(err.Error())} {
		if got := CauseOf(e); got != PuppetFailed {
			t.Errorf("CauseOf(%v) = %q", e, got)
		}
	}
	if got := CauseOf(errors.New("array [x.y] out of range")); got != Unexplained {
		t.Errorf("a text that is no code of ours gave %q", got)
	}
	if CauseOf(nil) != None {
		t.Error("nil has a cause")
	}
}
