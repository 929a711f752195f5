package incusd

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
)

// A removal that did not find something else is done again, and one that found nothing is done.
func TestRemove(t *testing.T) {
	for name, c := range map[string]struct {
		there, misses int // it is there; how often something else is not found
		dels          int
	}{
		"at once":              {1, 0, 1},
		"is not there":         {0, 0, 1},
		"something else, once": {1, 1, 2},
		"something else":       {1, 3, 4},
	} {
		t.Run(name, func(t *testing.T) {
			lost := &Error{http.StatusNotFound, "Project not found"}
			there, misses, dels := c.there, c.misses, 0
			err := Remove(t.Context(), func() error {
				dels++
				if misses--; misses >= 0 || there == 0 {
					return lost
				}
				there = 0
				return nil
			}, func() error {
				if there == 0 {
					return lost
				}
				return nil
			})
			if err != nil || there != 0 || dels != c.dels {
				t.Errorf("%v, %d left, %d calls", err, there, dels)
			}
		})
	}
}

// A list is asked for again while one of its things is not found, and not for ever.
func TestList(t *testing.T) {
	lost := &Error{http.StatusNotFound, "Image not found"}
	for misses, want := range map[int]error{0: nil, 2: nil, 1000: lost} {
		synctest.Test(t, func(t *testing.T) {
			left := misses
			got, err := List(t.Context(), func(context.Context) ([]string, error) {
				if left--; left >= 0 {
					return nil, lost
				}
				return []string{"one"}, nil
			})
			if !errors.Is(err, want) || want == nil && len(got) != 1 {
				t.Errorf("%d misses: %v, %v", misses, got, err)
			}
		})
	}
}

// A bridge is tried again when an interface went away, in either of ip's words for it, and for nothing else.
func TestDisturbed(t *testing.T) {
	const walk = "Failed to delete bridge children interfaces: Failed to run: ip -d -j link show veth0: exit status 1 "
	for said, want := range map[string]bool{
		walk + `(Device "veth0" does not exist.)`:                                                               true,
		walk + "(RTNETLINK answers: No such device\nCannot send link get request: No such device)":              true,
		walk + "(Cannot open netlink socket: Operation not permitted)":                                          false,
		"Failed to delete bridge children interfaces: address 0.0.0.0: invalid MAC address":                     false,
		"Failed to run: ip link set dev hm1 up: exit status 1 (RTNETLINK answers: No such device)":              false,
		`Failed to run: ip link delete dev hm1: exit status 1 (Cannot find device "hm1", which does not exist)`: false,
	} {
		if got := Disturbed(errors.New(said)); got != want {
			t.Errorf("%s: %v", said, got)
		}
	}
	if Disturbed(nil) {
		t.Error("nothing disturbs what was done")
	}
}

// An operation that did not find what it works on has ended; one that the daemon does not know is forgotten.
func TestForgotten(t *testing.T) {
	for text, c := range map[string]struct {
		err  error
		want bool
	}{
		"no error":                  {nil, false},
		"an operation's end":        {&Error{Text: "Image not found"}, false},
		"the end, with a status":    {&Error{http.StatusNotFound, "Image not found"}, false},
		"the daemon was restarted":  {&Error{http.StatusNotFound, "Operation not found"}, true},
		"and says no more":          {&Error{http.StatusNotFound, "not found"}, true},
		"something else went wrong": {&Error{http.StatusInternalServerError, "Operation not found"}, false},
	} {
		if got := forgotten(c.err); got != c.want {
			t.Errorf("%s (%v): %v", text, c.err, got)
		}
	}
}
