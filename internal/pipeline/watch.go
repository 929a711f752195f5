package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/notify"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

const (
	// newsworthy is how far back a branch's runs are news.
	newsworthy = 90 * 24 * time.Hour
	// newestRuns bounds how many runs of a branch are read to say how it is.
	newestRuns = 50
	// eventTextBytes bounds each text in an event.
	eventTextBytes = 2000
)

// Watch reads from the ledger what people are to be told of, and records it, each event once. It sends
// nothing: that is Deliver's.
func (e *Engine) Watch(ctx context.Context) error {
	if len(e.Config.Notify.Command) == 0 {
		return nil
	}
	lines, err := e.Ledger.Lines(ctx, e.Now().Add(-newsworthy))
	if err != nil {
		return err
	}
	var failed error
	for _, line := range lines {
		failed = errors.Join(failed, e.watchLine(ctx, line))
	}
	return errors.Join(failed, e.watchChannels(ctx))
}

// watchLine tells of a branch that is red, green again, or twice inconclusive.
func (e *Engine) watchLine(ctx context.Context, line ledger.Line) error {
	runs, err := e.Ledger.Runs(ctx, ledger.RunFilter{Kind: line.Kind, Branch: line.Branch, States: []ledger.RunState{ledger.Finished, ledger.Cancelled}, Limit: newestRuns})
	if err != nil {
		return err
	}
	runs = slices.DeleteFunc(runs, func(r ledger.Run) bool { return !r.SpeaksForBranch() })
	taught := func(r ledger.Run) bool { return r.Verdict != verdict.Inconclusive && r.State == ledger.Finished }
	silent := slices.IndexFunc(runs, taught) // runs before the newest one that taught something
	if silent < 0 {
		silent = len(runs)
	}
	subject := line.Kind + " " + line.Branch
	of := func(event, summary string, r ledger.Run) notify.Event {
		return notify.Event{
			ID: strings.Join([]string{event, line.Kind, line.Branch, r.ID}, "/"), Event: event,
			Summary: summary, Text: bounded(r.Reason), Branch: line.Branch, Kind: line.Kind, Run: runOf(r),
		}
	}
	if silent >= 2 {
		first := runs[silent-1] // of the series: it is told once
		event := of(notify.Inconclusive, fmt.Sprintf("%s: the last %d %s runs were inconclusive; nothing new is known of the branch", line.Branch, silent, line.Kind), first)
		event.Run, event.Before = runOf(runs[0]), runOf(runs[1])
		event.Text = bounded(runs[0].Reason)
		if err := e.tell(ctx, subject, event); err != nil {
			return err
		}
	}
	if silent == len(runs) {
		return nil
	}
	last := runs[silent]
	told, err := e.Ledger.LastNotice(ctx, subject, notify.Red, notify.Green)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	switch {
	case last.Verdict == verdict.Failed && told.Event != notify.Red:
		return e.tell(ctx, subject, of(notify.Red, fmt.Sprintf("%s is red: %s run %s failed", line.Branch, line.Kind, last.ID), last))
	case last.Verdict == verdict.Passed && told.Event == notify.Red:
		return e.tell(ctx, subject, of(notify.Green, fmt.Sprintf("%s is green again: %s run %s passed", line.Branch, line.Kind, last.ID), last))
	}
	return nil
}

// watchChannels tells of channels whose images are older than their objective.
func (e *Engine) watchChannels(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(e.Config.Freshness)) {
		objective := e.Config.Freshness[name]
		channel, err := e.Ledger.Channel(ctx, name)
		if err != nil {
			return err
		}
		var built time.Time
		what := "holds nothing yet"
		if channel.Set == "" {
			is, err := e.Ledger.Identity(ctx)
			if err != nil {
				return err
			}
			if built = later(is.Created, channel.Moved); built.IsZero() {
				continue
			}
		} else {
			set, err := e.Ledger.Set(ctx, channel.Set)
			if err != nil {
				return err
			}
			built, what = set.Created, "holds images of "+set.Created.Format("2006-01-02 15:04")+" UTC"
		}
		if !objective.Over(built, e.Now()) {
			continue
		}
		event := notify.Event{
			ID: strings.Join([]string{notify.Stale, name, channel.Set, built.Format(time.RFC3339)}, "/"), Event: notify.Stale,
			Summary: fmt.Sprintf("channel %s %s, which is older than its objective of %s", name, what, time.Duration(objective)),
			Channel: name, Set: channel.Set, Built: &built, Objective: time.Duration(objective).String(),
		}
		if err := e.tell(ctx, "channel "+name, event); err != nil {
			return err
		}
	}
	return nil
}

// tell records an event, if people want to be told of such.
func (e *Engine) tell(ctx context.Context, subject string, event notify.Event) error {
	if len(e.Config.Notify.Command) == 0 || !slices.Contains(e.Config.Notify.Events, event.Event) {
		return nil
	}
	event.Version, event.At, event.Owner = 1, e.Now().UTC(), e.Config.Owner
	body, err := event.Encode()
	if err != nil {
		return fmt.Errorf("event %s: %w", event.ID, err)
	}
	_, err = e.Ledger.AddNotice(ctx, ledger.Notice{ID: event.ID, Event: event.Event, Subject: subject, Created: event.At, Body: body})
	return err
}

func runOf(r ledger.Run) *notify.Run {
	return &notify.Run{ID: r.ID, Commit: r.Commit, Verdict: r.Verdict.String(), Reason: bounded(r.Reason), Ended: r.Finished}
}

func bounded(text string) string {
	if len(text) <= eventTextBytes {
		return text
	}
	return strings.ToValidUTF8(text[:eventTextBytes], "") + " …"
}

// A notice is tried so often, with pauses that grow; then it is given up.
var retries = []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute}

// Deliver sends the notices that are due, one after the other, each once. A try that fails is repeated
// later, a few times. It gives how many it tried.
func (e *Engine) Deliver(ctx context.Context) (int, error) {
	if len(e.Config.Notify.Command) == 0 {
		return 0, nil
	}
	for tried := 0; ; tried++ {
		now := e.Now()
		n, err := e.Ledger.TakeNotice(ctx, now, now.Add(retries[0]+e.Config.Notify.Timeout))
		if errors.Is(err, ledger.ErrNotFound) {
			return tried, nil
		}
		if err != nil {
			return tried, err
		}
		if n.Tries > len(retries)+1 { // each try ended this process
			if err := e.Ledger.EndNotice(ctx, n.ID, ledger.NoticeFailed, time.Time{}, "no try came to its end"); err != nil {
				return tried, err
			}
			continue
		}
		sent := notify.Send(ctx, e.Config.Notify.Command, n.Body, e.Config.Notify.Timeout)
		if sent != nil && ctx.Err() != nil { // this process ends: the next one tries again
			return tried, nil
		}
		state, next, said := ledger.NoticeSent, time.Time{}, ""
		if sent != nil {
			state, said = ledger.NoticeFailed, sent.Error()
			if n.Tries <= len(retries) {
				state, next = ledger.NoticePending, e.Now().Add(retries[n.Tries-1])
			}
			e.Log.Error("tell people of an event", "event", n.ID, "try", n.Tries, "state", state, "err", sent)
		}
		if err := e.Ledger.EndNotice(ctx, n.ID, state, next, said); err != nil {
			return tried, err
		}
	}
}
