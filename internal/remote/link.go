package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/host"
)

// maxSessions is how many commands run on one connection at a time. sshd allows ten (MaxSessions),
// but counts a closed one until it next tidies up, so that a new one in its place may count twice.
// Connections forwarded by a bastion are not among them.
const maxSessions = 5

// link is one authenticated connection, asked for a sign of life again and again.
type link struct {
	client *ssh.Client
	slots  chan struct{}
	done   chan struct{} // closed once the connection has ended
	wg     sync.WaitGroup
}

// dial connects from this host and logs in.
func dial(ctx context.Context, a account, o Options) (*link, error) {
	conn, err := dialNet(ctx, a.Address, o)
	if err != nil {
		return nil, &loginError{at: stageConnect, err: err}
	}
	return newLink(ctx, conn, a, o)
}

// errNoAnswer says that a connection attempt met silence, as a firewall that drops does.
var errNoAnswer = errors.New("no answer")

// connectWithin is the most that a connection attempt waits for an answer: TCP asks four times until
// then (after 0, 1, 3 and 7 s), and a kernel that is there answers even if everything else is slow.
const connectWithin = 10 * time.Second

func dialNet(ctx context.Context, address string, o Options) (net.Conn, error) {
	within := min(o.LoginTimeout, connectWithin)
	limited, cancel := host.WithTimeout(ctx, within, nil)
	defer cancel()
	conn, err := o.Dial(limited, "tcp", address)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() == nil && limited.Err() != nil:
		return nil, fmt.Errorf("%w within %v: %w", errNoAnswer, within, err)
	}
	return nil, err
}

// through connects from the far end of l and logs in there.
func (l *link) through(ctx context.Context, a account, o Options) (*link, error) {
	conn, err := l.forward(ctx, a.Address, o)
	if err != nil {
		return nil, &loginError{at: stageConnect, err: err}
	}
	return newLink(ctx, conn, a, o)
}

func (l *link) forward(ctx context.Context, address string, o Options) (net.Conn, error) {
	within := min(o.LoginTimeout, connectWithin)
	limited, cancel := host.WithTimeout(ctx, within, nil)
	defer cancel()
	conn, err := l.client.DialContext(limited, "tcp", address)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() == nil && limited.Err() != nil:
		return nil, fmt.Errorf("%w within %v", errNoAnswer, within)
	}
	return nil, err
}

func newLink(ctx context.Context, conn net.Conn, a account, o Options) (*link, error) {
	client, err := login(ctx, conn, a, o)
	if err != nil {
		return nil, err
	}
	l := &link{client: client, slots: make(chan struct{}, maxSessions), done: make(chan struct{})}
	l.wg.Go(func() {
		defer close(l.done)
		_ = client.Wait() // why it ended is told by whatever was under way
	})
	l.wg.Go(func() { l.keepAlive(o.KeepAlive, o.Patience) })
	return l, nil
}

// keepAlive ends the connection once a question stays unanswered for patience: a peer that vanished
// without a word would otherwise be waited for without end.
func (l *link) keepAlive(every, patience time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		hangUp := time.AfterFunc(patience, func() { _ = l.client.Close() })
		_, _, err := l.client.SendRequest("keepalive@openssh.com", true, nil)
		hangUp.Stop()
		if err != nil {
			_ = l.client.Close()
			return
		}
	}
}

func (l *link) alive() bool {
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

// answers reports whether the far end gives a sign of life within d.
func (l *link) answers(d time.Duration) bool {
	answer := make(chan bool, 1)
	go func() { // ends with the answer, or with the connection
		_, _, err := l.client.SendRequest("keepalive@openssh.com", true, nil)
		answer <- err == nil
	}()
	limit := time.NewTimer(d)
	defer limit.Stop()
	select {
	case ok := <-answer:
		return ok
	case <-limit.C:
		return false
	}
}

// Close ends the connection and waits for what worked on it; not without end, though: behind a
// bastion that is itself mute, it all ends only when the bastion's connection does.
func (l *link) Close() error {
	err := l.client.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.wg.Wait()
	}()
	limit := time.NewTimer(5 * time.Second)
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
