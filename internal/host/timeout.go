package host

import (
	"context"
	"time"
)

// Pace is what work needs to know of the host that it shares; *Gauge is one.
type Pace interface {
	// Given tells how much of the time between two moments work was given.
	Given(since, until time.Time) time.Duration
	// Since tells what the host was short of, more than longer time-outs make up for.
	Since(t time.Time) Strain
	// Stretch is how much longer work takes now, from 1 to Bound.
	Stretch() float64
}

type paceKey struct{}

// WithPace lets the time-outs of work under ctx go at a host's pace.
func WithPace(ctx context.Context, p Pace) context.Context {
	if p == nil {
		return ctx
	}
	return context.WithValue(ctx, paceKey{}, p)
}

// PaceOf is the pace of work under ctx. Without one, all time that passes is given.
func PaceOf(ctx context.Context) Pace {
	if p, ok := ctx.Value(paceKey{}).(Pace); ok {
		return p
	}
	return idle{}
}

// idle is a host that has nothing else to do.
type idle struct{}

func (idle) Given(since, until time.Time) time.Duration { return until.Sub(since) }
func (idle) Since(time.Time) Strain                     { return Strain{} }
func (idle) Stretch() float64                           { return 1 }

// timeout is the cause of a context that WithTimeout ended.
type timeout struct{ cause error }

func (t timeout) Error() string   { return t.cause.Error() }
func (t timeout) Unwrap() error   { return t.cause }
func (timeout) Is(err error) bool { return err == context.DeadlineExceeded }

// WithTimeout ends ctx once work under it was given d, with that cause; nil: context.DeadlineExceeded. On a
// busy host that takes longer than d, at most Bound times as long. The context's Err is Canceled then, or
// DeadlineExceeded: TimedOut tells.
func WithTimeout(ctx context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	if cause == nil {
		cause = context.DeadlineExceeded
	}
	pace := PaceOf(ctx)
	if _, always := pace.(idle); always {
		return context.WithTimeoutCause(ctx, d, timeout{cause})
	}
	ctx, end := context.WithCancelCause(ctx)
	began := time.Now()
	var timer *time.Timer
	armed := make(chan struct{})
	timer = time.AfterFunc(d, func() {
		<-armed
		if left := d - pace.Given(began, time.Now()); left > 0 {
			timer.Reset(max(left, Every/10))
			return
		}
		end(timeout{cause})
	})
	close(armed)
	return ctx, func() {
		timer.Stop()
		end(context.Canceled)
	}
}

// TimedOut reports whether a context ended by a time-out, WithTimeout's or another.
func TimedOut(ctx context.Context) bool {
	if ctx.Err() == nil {
		return false
	}
	err := context.Cause(ctx)
	if _, ours := err.(timeout); ours { //nolint:errorlint // causes are not wrapped
		return true
	}
	return err == context.DeadlineExceeded || ctx.Err() == context.DeadlineExceeded //nolint:errorlint // as above
}
