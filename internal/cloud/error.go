package cloud

import (
	"errors"
	"fmt"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Code says what kind of trouble a provider had, in words that fit every provider.
type Code string

// Codes. A caller branches on them with CodeOf.
const (
	CodeNotFound  Code = "not-found"
	CodeConflict  Code = "conflict"  // the name or token is taken by something different, or the thing is still used
	CodeRefused   Code = "refused"   // invalid, forbidden, wrong state, over quota
	CodeCapacity  Code = "capacity"  // no room
	CodeThrottled Code = "throttled" // too many calls
	CodeDown      Code = "down"      // no answer
)

// Error is trouble with one call to a provider. It is always infrastructure, never the product.
type Error struct {
	Call string // the call and its subject: "launch web-1"
	Code Code
	Err  error
}

// Error names the call, the code and the coded cause (see verdict.CauseOf).
func (e *Error) Error() string {
	return fmt.Sprintf("[%s] %s: %s: %v", e.cause(), e.Call, e.Code, e.Err)
}

// Unwrap gives the coded cause and the provider's own error.
func (e *Error) Unwrap() []error {
	return []error{&verdict.Error{Cause: e.cause(), Detail: e.Call + ": " + string(e.Code), Err: e.Err}, e.Err}
}

func (e *Error) cause() verdict.Cause {
	switch e.Code {
	case CodeNotFound:
		return verdict.CloudLost
	case CodeCapacity:
		return verdict.CloudCapacity
	case CodeThrottled:
		return verdict.CloudThrottled
	case CodeDown:
		return verdict.CloudDown
	}
	return verdict.CloudRefused
}

// CodeOf gives the code of a provider's error, "" for any other error.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
