package environment

import (
	"context"
	"fmt"
	"io"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/mask"
	"github.com/hallmark-ci/hallmark/internal/remote"
)

// What is read of an environment's servers comes to the rest of Hallmark by sessions, by consoles and in errors, and
// nothing else but this package holds the environment's secrets. So it is masked here, once, and results, reports,
// records, notices and logs cannot hold a secret. (A screenshot is a picture, in which nothing can be found.)

// mostHeard bounds what is looked at of a console, in bytes from its end.
const mostHeard = 4 << 20

// mask is made of the secrets that the environment has at this moment: new code may bring more.
func (e *Environment) mask() *mask.Mask {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.keys.secrets) + 1; e.masked == nil || e.maskedOf != n { // they are added, and never changed
		all := []string{e.keys.seed}
		for _, s := range e.keys.secrets {
			all = append(all, s)
		}
		e.masked, e.maskedOf = mask.New(all...), n
	}
	return e.masked
}

// console is what a server says while booting, without the environment's secrets. It is the only place that reads
// one. If it is longer than mostHeard, the beginning is missing, and the text says so.
func (e *Environment) console(ctx context.Context, id cloud.ServerID) ([]byte, error) {
	said, err := e.site.Provider.Console(ctx, id)
	if over := len(said) - mostHeard; over > 0 {
		said = append(fmt.Appendf(nil, "… %d bytes before this are left out\n", over), said[over:]...)
	}
	return e.mask().Bytes(said), e.discreet(err)
}

// discreet gives an error whose text has no secret in it. Causes and types are found in it as before.
func (e *Environment) discreet(err error) error {
	if err == nil {
		return nil
	}
	said := err.Error()
	if masked := e.mask().String(said); masked != said {
		return &discreetError{masked, err}
	}
	return err
}

type discreetError struct {
	said string
	err  error
}

func (e *discreetError) Error() string { return e.said }
func (e *discreetError) Unwrap() error { return e.err }

// discreetSession masks what commands say: what is kept of it, what is passed on as it comes, and errors.
type discreetSession struct {
	remote.Session
	env *Environment
}

// Run implements remote.Session.
func (s discreetSession) Run(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	m := s.env.mask()
	var onward *mask.Writer
	if cmd.Output != nil {
		onward = m.Writer(cmd.Output)
		cmd.Output = onward
	}
	r, err := s.Session.Run(ctx, cmd)
	r.Stdout, r.Stderr = m.Bytes(r.Stdout), m.Bytes(r.Stderr)
	if onward != nil && err == nil {
		err = onward.Flush()
	} else if onward != nil {
		_ = onward.Flush() // the command's own error is the one to tell
	}
	return r, s.env.discreet(err)
}

// Put implements remote.Session.
func (s discreetSession) Put(ctx context.Context, path string, content io.Reader, mode uint32, sudo bool) error {
	return s.env.discreet(s.Session.Put(ctx, path, content, mode, sudo))
}
