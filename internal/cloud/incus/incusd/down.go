package incusd

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
)

// ErrInterrupted says that an operation ended without saying how: the daemon was stopped, killed or
// started again meanwhile. What it was asked may be done, half done or not begun.
var ErrInterrupted = errors.New("the operation is forgotten: Incus went away meanwhile")

// forgotten reports whether the daemon does not know an operation that is waited for. An operation that did
// not find what it works on (an image that was deleted meanwhile) has ended: it is not forgotten.
func forgotten(err error) bool {
	if StatusOf(err) != http.StatusNotFound {
		return false
	}
	said := strings.ToLower(err.Error())
	return strings.Contains(said, "operation") || said == "not found"
}

// endings are what the daemon says, as text and without a status, of work that it gives up because it
// is being stopped.
var endings = []string{
	"shutting down",
	"operation cancelled",
	"operation canceled",
	"context canceled", // the daemon's own
	"driver: bad connection",
	"websocket: close",
}

// Down reports whether the daemon went away in the middle of a call, is about to, or is not there.
// Nothing is known then of what it was asked to do.
func Down(err error) bool {
	if err == nil {
		return false
	}
	switch StatusOf(err) {
	case 0:
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	default:
		return ending(err)
	}
	var transport interface{ Timeout() bool } // every error of packages net, net/url and syscall
	return errors.Is(err, ErrInterrupted) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &transport) || ending(err)
}

func ending(err error) bool {
	said := strings.ToLower(err.Error())
	for _, text := range endings {
		if strings.Contains(said, text) {
			return true
		}
	}
	return false
}
