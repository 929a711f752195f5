package puppet

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func TestParseStatus(t *testing.T) {
	f, err := os.Open("testdata/report-failed.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := ParseStatus(f)
	if err != nil {
		t.Fatal(err)
	}
	if s.Outcome != Failed || s.Cause != verdict.PuppetFailed || s.Run != 1 || s.Stage != StageLaunch || s.Finished.Before(s.Started) {
		t.Errorf("%+v", s)
	}
	err = s.Err("bastion")
	var coded *verdict.Error
	if !errors.As(err, &coded) || coded.Cause != verdict.PuppetFailed || coded.Server != "bastion" {
		t.Errorf("error %v", err)
	}
	if (Status{Outcome: Converged}).Err("x") != nil {
		t.Error("a server that converged has no error")
	}
	if got := verdict.CauseOf((Status{Outcome: Failed}).Err("x")); got != verdict.Unexplained {
		t.Errorf("a failure without a cause is %q", got)
	}
}

func TestParseStatusRefuses(t *testing.T) {
	for _, text := range []string{"", "{", "{}", `{"commit":"a","outcome":"maybe"}`, `{"outcome":"converged"}`} {
		if s, err := ParseStatus(strings.NewReader(text)); err == nil {
			t.Errorf("%q gave %+v", text, s)
		}
	}
}

func TestFor(t *testing.T) {
	s := Status{Commit: "a", Stage: StageBake, Finished: time.Now()}
	if s.For("a", StageLaunch) || s.For("b", StageBake) || !s.For("a", StageBake) {
		t.Error("a status is about its commit and stage only")
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add(`{"commit": "c", "stage": "launch", "outcome": "failed", "exit": 1, "started": "2026-11-23T22:21:51.373Z"}`)
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseStatus(strings.NewReader(text)); err == nil && s.Outcome != Converged && s.Err("x") == nil {
			t.Errorf("%q: neither converged nor an error", text)
		}
	})
}
