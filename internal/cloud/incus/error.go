package incus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// fail makes a *cloud.Error of whatever an Incus call gave; nil stays nil, a *cloud.Error stays as
// it is. The end of a context is kept for errors.Is.
func fail(call string, err error) error {
	if err == nil {
		return nil
	}
	if cloud.CodeOf(err) != "" {
		return err
	}
	return &cloud.Error{Call: call, Code: classify(err), Err: err}
}

// refuse is what Incus need not even be asked.
func refuse(call, format string, args ...any) error {
	return &cloud.Error{Call: call, Code: cloud.CodeRefused, Err: fmt.Errorf(format, args...)}
}

// conflict says that a name is taken by something different.
func conflict(call, format string, args ...any) error {
	return &cloud.Error{Call: call, Code: cloud.CodeConflict, Err: fmt.Errorf(format, args...)}
}

func absent(err error) bool { return err != nil && classify(err) == cloud.CodeNotFound }

// phrases maps what failed operations say to codes: an operation has no status of its own, only a
// text. The first match wins.
var phrases = []struct {
	text string
	code cloud.Code
}{
	{"already exists", cloud.CodeConflict},
	{"already defined on another nic", cloud.CodeConflict}, // a fixed address
	{"unique constraint failed", cloud.CodeConflict},       // created twice at the same moment
	{"already in use", cloud.CodeConflict},
	{"no space left", cloud.CodeCapacity},
	{"disk quota exceeded", cloud.CodeCapacity},
	{"cannot allocate memory", cloud.CodeCapacity},
	{"too many open files", cloud.CodeCapacity},
	{"reached maximum number", cloud.CodeCapacity}, // a project's limits
	{"database is locked", cloud.CodeThrottled},
	{"busy running", cloud.CodeConflict}, // the instance is still used: incusd.Patiently waits for that
}

func classify(err error) cloud.Code {
	if code := cloud.CodeOf(err); code != "" {
		return code
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return cloud.CodeDown
	}
	switch incusd.StatusOf(err) {
	case http.StatusConflict, http.StatusPreconditionFailed:
		return cloud.CodeConflict
	case http.StatusTooManyRequests:
		return cloud.CodeThrottled
	case http.StatusInsufficientStorage:
		return cloud.CodeCapacity
	}
	if incusd.Down(err) || errors.Is(err, errYoung) {
		return cloud.CodeDown
	}
	said := strings.ToLower(err.Error())
	for _, p := range phrases {
		if strings.Contains(said, p.text) {
			return p.code
		}
	}
	if incusd.Absent(err) {
		return cloud.CodeNotFound
	}
	return cloud.CodeRefused
}

// convalescence is how long after its start Incus may refuse what it usually does: after a kill it brings
// servers back, and containers cannot be started for some seconds ("forkstart … exit status 1").
const convalescence = time.Minute

// recovering makes of a refusal an outage if Incus has only just been started.
func (p *Provider) recovering(ctx context.Context, c *incusd.Client, err error) error {
	if err == nil || ctx.Err() != nil || classify(err) != cloud.CodeRefused {
		return err
	}
	info, lost := c.Server(ctx)
	if lost != nil {
		return errors.Join(lost, err) // it is down now: the first error decides
	}
	if age, known := processAge(info.Environment.ServerPID); known && age < convalescence {
		return fmt.Errorf("%w: Incus was started %s ago: %v", errYoung, age.Round(time.Second), err) //nolint:errorlint // its code is another one now
	}
	return err
}

// errYoung says that Incus was started too short a time ago for its refusals to count.
var errYoung = errors.New("still coming up")

// processAge is how long a process of this machine has been running; it is not known of one elsewhere.
func processAge(pid int) (time.Duration, bool) {
	its, err := procfs.NewProc(pid)
	if err != nil {
		return 0, false
	}
	stat, err := its.Stat()
	if err != nil {
		return 0, false
	}
	began, err := stat.StartTime()
	if err != nil {
		return 0, false
	}
	return time.Since(time.UnixMilli(int64(began * 1000))), true
}
