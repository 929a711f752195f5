package incus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/lxc/incus/v6/shared/api"

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
	{"busy running", cloud.CodeThrottled},
}

func classify(err error) cloud.Code {
	if code := cloud.CodeOf(err); code != "" {
		return code
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return cloud.CodeDown
	}
	status, typed := api.StatusErrorMatch(err)
	switch status {
	case http.StatusConflict, http.StatusPreconditionFailed:
		return cloud.CodeConflict
	case http.StatusTooManyRequests:
		return cloud.CodeThrottled
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return cloud.CodeDown
	case http.StatusInsufficientStorage:
		return cloud.CodeCapacity
	}
	said := strings.ToLower(err.Error())
	var dial interface{ Timeout() bool } // every error of package net and net/url
	if !typed && errors.As(err, &dial) {
		return cloud.CodeDown
	}
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

// stale reports whether somebody else changed what we read and wanted to write.
func stale(err error) bool { return api.StatusErrorCheck(err, http.StatusPreconditionFailed) }
