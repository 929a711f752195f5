package incusd

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	client "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
)

const again = 100 * time.Millisecond // until something is tried again

// Absent reports whether the thing that was asked for is not there. An operation that failed has no
// status, or that of the answer which tells so, 200, and a text; where there is a status of an error, the text
// may be about something else.
func Absent(err error) bool {
	if err == nil || errors.Is(err, ErrInterrupted) {
		return false
	}
	if status, typed := api.StatusErrorMatch(err); typed && status >= http.StatusBadRequest {
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
func List[T any](ctx context.Context, list func() ([]T, error)) ([]T, error) {
	for tries := 50; ; tries-- {
		all, err := list()
		if !Absent(err) || tries == 0 {
			return all, err
		}
		if err := (clock.Machine{}).Sleep(ctx, again); err != nil {
			return nil, err
		}
	}
}

// RemoveNetwork takes a bridge down until it is gone.
func RemoveNetwork(ctx context.Context, c client.InstanceServer, name string) error {
	return Remove(ctx,
		func() error { return Undisturbed(ctx, func() error { return c.DeleteNetwork(name) }) },
		func() error { _, _, err := c.GetNetwork(name); return err })
}

// RemoveProject deletes a project, which must be empty, until it is gone.
func RemoveProject(ctx context.Context, c client.InstanceServer, name string) error {
	return Remove(ctx,
		func() error { return c.DeleteProject(name) },
		func() error { _, _, err := c.GetProject(name); return err })
}

// Patiently does something to an instance, again and again while Incus says that something else is
// done to it (an operation of ours whose caller went away, for example).
func Patiently(ctx context.Context, c client.InstanceServer, instance string, do func() error) error {
	for {
		err := do()
		if !Busy(err) {
			return err
		}
		if err := Settle(c, On(instance)); err != nil {
			return err
		}
		if err := (clock.Machine{}).Sleep(ctx, again); err != nil { // a lock without an operation
			return err
		}
	}
}

// Settle waits until no running operation of the project that concerns the caller is left. What they
// came to is for the caller to see.
func Settle(c client.InstanceServer, concerns func(api.Operation) bool) error {
	running, err := c.GetOperations()
	if err != nil {
		return err
	}
	for _, op := range running {
		if op.StatusCode.IsFinal() || op.Class != "task" || !concerns(op) {
			continue
		}
		if _, _, err := c.GetOperationWait(op.ID, -1); err != nil && !Absent(err) {
			return err
		}
	}
	return nil
}

// On selects operations on one instance.
func On(instance string) func(api.Operation) bool {
	return func(op api.Operation) bool {
		return slices.ContainsFunc(op.Resources["instances"], func(resource string) bool {
			path, _, _ := strings.Cut(resource, "?")
			return strings.HasSuffix(path, "/instances/"+instance)
		})
	}
}
