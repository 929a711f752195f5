package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud/limit"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// judgedError is trouble whose verdict was reached already, by an audit or by the gate.
type judgedError struct {
	verdict verdict.Verdict
	text    string
}

func (j *judgedError) Error() string { return j.text }

// verdictOf judges an error for which nothing can be audited any more.
func verdictOf(err error) verdict.Verdict {
	var judged *judgedError
	switch {
	case err == nil:
		return verdict.Passed
	case errors.As(err, &judged):
		return judged.verdict
	}
	return verdict.Judge(verdict.CauseOf(err), verdict.Audit{})
}

// detailBytes bounds what a stage tells of its error: it may quote a server or a provider.
const detailBytes = 64 << 10

func detailOf(err error) string {
	text := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\x00", "\ufffd"), "\ufffd")
	if over := len(text) - detailBytes; over > 0 {
		text = strings.ToValidUTF8(text[:detailBytes], "") + fmt.Sprintf("… (%d bytes more)", over)
	}
	return text
}

// stage keeps the run's tree up to date around a piece of work. note replaces the line shown beside
// the stage while it runs. A resumed run keeps the times of what was done before.
func (e *Engine) stage(ctx context.Context, run, path string, work func(note func(string)) error) error {
	s := e.recorded(ctx, run, path)
	doneBefore := s.State == stageDone
	write := func() {
		if err := e.Ledger.RecordStage(context.WithoutCancel(ctx), s); err != nil {
			e.Log.Warn("record stage", "run", run, "stage", path, "err", err)
		}
	}
	note := func(text string) {
		if !doneBefore {
			s.Detail = text
			write()
		}
	}
	note("")
	err := stopped(ctx, work(note))
	if doneBefore || errors.Is(err, errStopped) {
		return err
	}
	s.State, s.Finished, s.Detail, s.Verdict = stageDone, e.Now(), "", verdictOf(err)
	if err != nil {
		s.Detail = detailOf(err)
	}
	write()
	return err
}

// patient lets a stage tell of launches under ctx that wait for the provider: by note as they do, and when
// it is over by a stage of its own below it, so that reports show how long it took.
func (e *Engine) patient(ctx context.Context, run, path string, note func(string)) context.Context {
	return limit.WithPauses(ctx, func(p limit.Pause) {
		if !p.Over {
			note(p.Call.String() + ": waits, " + p.Reason())
			return
		}
		note(p.Call.String())
		s := ledger.Stage{
			Run: run, Path: path + "/" + p.Call.String() + " waited", State: stageDone, Verdict: verdict.Passed,
			Detail: firstLine(p.Reason()), Started: e.Now().Add(-p.Waited), Finished: e.Now(),
		}
		if p.Failed {
			s.Verdict = verdict.Inconclusive
		}
		if err := e.Ledger.RecordStage(context.WithoutCancel(ctx), s); err != nil {
			e.Log.Warn("record stage", "run", run, "stage", s.Path, "err", err)
		}
	})
}

const (
	stageRunning = "running"
	stageDone    = "done"
)

// recorded is the stage as the ledger has it, or a new one.
func (e *Engine) recorded(ctx context.Context, run, path string) ledger.Stage {
	stages, err := e.Ledger.Stages(ctx, run)
	if err != nil {
		e.Log.Warn("read stages", "run", run, "err", err)
	}
	if i := slices.IndexFunc(stages, func(s ledger.Stage) bool { return s.Path == path }); i >= 0 {
		return stages[i]
	}
	return ledger.Stage{Run: run, Path: path, State: stageRunning, Started: e.Now()}
}
