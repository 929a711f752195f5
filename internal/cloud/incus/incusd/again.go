package incusd

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
)

const again = 100 * time.Millisecond // until something is tried again

// StatusOf is the HTTP status of the daemon's answer that an error is; 0 if it has none.
func StatusOf(err error) int {
	var said *Error
	if errors.As(err, &said) {
		return said.Status
	}
	return 0
}

// Stale reports whether something was not written because somebody else had changed it since it was read.
func Stale(err error) bool { return StatusOf(err) == http.StatusPreconditionFailed }

// Absent reports whether the thing that was asked for is not there. An operation that failed has a text and
// no status; where there is a status, the text may be about something else.
func Absent(err error) bool {
	if err == nil || errors.Is(err, ErrInterrupted) {
		return false
	}
	if status := StatusOf(err); status != 0 {
		return status == http.StatusNotFound
	}
	said := strings.ToLower(err.Error())
	return strings.Contains(said, "not found") || strings.Contains(said, "no such object")
}

// Busy reports whether an instance was refused because something else works on it at the moment, or
// just did.
func Busy(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "busy running") ||
		strings.Contains(err.Error(), "matching non-reusable operation"))
}

// Disturbed reports whether a bridge could not be set up or taken down because an interface of
// somebody else's went away at that moment: before ip(8) looked it up by its name, or between that and
// its question to the kernel.
func Disturbed(err error) bool {
	return err != nil && strings.Contains(err.Error(), "delete bridge children interfaces") &&
		(strings.Contains(err.Error(), "does not exist") || strings.Contains(err.Error(), "No such device"))
}

// Undisturbed sets up or takes down a bridge, again and again while interfaces of others disturb it:
// Incus 6.0 then walks all interfaces of the host and gives up, with nothing changed, if one of them
// goes away meanwhile, as those of servers that stop do.
func Undisturbed(ctx context.Context, do func() error) error {
	for {
		err := do()
		if !Disturbed(err) {
			return err
		}
		if err := (clock.Machine{}).Sleep(ctx, again); err != nil {
			return err
		}
	}
}

// Remove deletes something until it is gone; get looks for it. What Incus does not find need not be
// that: it looks through all that might use it, and of this some may go away at that moment.
func Remove(ctx context.Context, del, get func() error) error {
	for {
		err := del()
		if !Absent(err) {
			return err
		}
		if err := get(); Absent(err) {
			return nil
		} else if err != nil {
			return err
		}
		if err := (clock.Machine{}).Sleep(ctx, again); err != nil {
			return err
		}
	}
}

// List lists all of something, again if it does not find one of them: Incus 6.0 reads the names first, and
// an image, network or ACL may go away before it reads the thing itself. That something else is not there,
// such as the storage pool, it says in the end.
func List[T any](ctx context.Context, list func(context.Context) ([]T, error)) ([]T, error) {
	for tries := 50; ; tries-- {
		all, err := list(ctx)
		if !Absent(err) || tries == 0 {
			return all, err
		}
		if err := (clock.Machine{}).Sleep(ctx, again); err != nil {
			return nil, err
		}
	}
}

// RemoveNetwork takes a bridge down until it is gone.
func RemoveNetwork(ctx context.Context, c *Client, name string) error {
	return Remove(ctx,
		func() error { return Undisturbed(ctx, func() error { return c.DeleteNetwork(ctx, name) }) },
		func() error { return find(ctx, c, "networks", name) })
}

// RemoveProject deletes a project, which must be empty, until it is gone.
func RemoveProject(ctx context.Context, c *Client, name string) error {
	return Remove(ctx,
		func() error { return c.DeleteProject(ctx, name) },
		func() error { return find(ctx, c, "projects", name) })
}

// Patiently does something to an instance, again and again while Incus says that something else is
// done to it (an operation of ours whose caller went away, for example).
func Patiently(ctx context.Context, c *Client, instance string, do func() error) error {
	for {
		err := do()
		if !Busy(err) {
			return err
		}
		if err := Settle(ctx, c, On(instance)); err != nil {
			return err
		}
		if err := (clock.Machine{}).Sleep(ctx, again); err != nil { // a lock without an operation
			return err
		}
	}
}
