package remote

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// orphanPatience is how long output is waited for after a command ended: a process that it left in
// the background may hold its output open for ever.
const orphanPatience = 2 * time.Second

// refusedError says that the server would not run any command.
type refusedError struct{ what string }

func (e *refusedError) Error() string { return "the server refuses " + e.what }

// process is a command on a server: one session channel (RFC 4254, section 6). ssh.Session is not
// used, for it waits for the output of orphans and hides when the exit status came.
type process struct {
	channel ssh.Channel
	stop    chan struct{} // closed when the guard is to end the command
	exited  chan struct{} // closed once exit and known are set
	exit    int
	known   bool // false: the channel ended without an exit status
	output  *output
	copied  sync.WaitGroup
	once    sync.Once
	halt    sync.Once
}

// startProcess opens a channel and starts line on it. If ctx ends first, what comes of it later is
// closed. It calls release once the channel is closed at both ends: until then sshd counts it.
func startProcess(ctx context.Context, l *link, line string, out *output, release func()) (*process, error) {
	type opened struct {
		p   *process
		err error
	}
	result := make(chan opened, 1)
	go func() { // ends with the server's answer, or with the connection
		p, err := openProcess(l, line, out, release)
		result <- opened{p, err}
	}()
	select {
	case o := <-result:
		return o.p, o.err
	case <-ctx.Done():
		go func() {
			if o := <-result; o.p != nil {
				o.p.close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

func openProcess(l *link, line string, out *output, release func()) (*process, error) {
	channel, requests, err := l.client.OpenChannel("session", nil)
	if err != nil {
		release()
		return nil, fmt.Errorf("open a session: %w", err)
	}
	p := &process{channel: channel, stop: make(chan struct{}), exited: make(chan struct{}), output: out}
	ok, err := channel.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
	if err == nil && !ok {
		err = &refusedError{"to execute anything"}
	}
	if err != nil {
		_ = channel.Close()
		ssh.DiscardRequests(requests)
		release()
		return nil, err
	}
	p.copied.Go(func() { _, _ = io.Copy(out.stdout(), channel) })
	p.copied.Go(func() { _, _ = io.Copy(out.stderr(), channel.Stderr()) })
	go func() { // ends with the channel
		defer release()
		p.watch(requests)
	}()
	return p, nil
}

// watch takes the exit status from the channel's requests, which end with the channel.
func (p *process) watch(requests <-chan *ssh.Request) {
	for r := range requests {
		switch r.Type {
		case "exit-status":
			var status struct{ Code uint32 }
			if ssh.Unmarshal(r.Payload, &status) == nil {
				p.finish(int(status.Code), true)
			}
		case "exit-signal":
			var signal struct {
				Name       string
				CoreDumped bool
				Message    string
				Language   string
			}
			if ssh.Unmarshal(r.Payload, &signal) == nil {
				p.finish(128+signalNumber(signal.Name), true)
			}
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	p.finish(-1, false)
}

func (p *process) finish(exit int, known bool) {
	p.once.Do(func() {
		p.exit, p.known = exit, known
		close(p.exited)
	})
}

// kill tells the guard to end the command, and reports whether it said that all is gone within d. It
// needs feed to be running.
func (p *process) kill(d time.Duration) bool {
	p.halt.Do(func() { close(p.stop) })
	limit := time.NewTimer(d)
	defer limit.Stop()
	select {
	case <-p.exited:
		return p.known
	case <-limit.C:
		return false
	}
}

// drain waits for the output of a command that has ended.
func (p *process) drain() {
	all := make(chan struct{})
	go func() {
		defer close(all)
		p.copied.Wait()
	}()
	limit := time.NewTimer(orphanPatience)
	defer limit.Stop()
	select {
	case <-all:
	case <-limit.C:
	}
}

// close ends the channel. Nothing is written to the command's Output afterwards.
func (p *process) close() {
	p.output.stop()
	_ = p.channel.Close()
}

// frameSize is the most that one frame of input carries: each costs a process on the server.
const frameSize = 1 << 20

// feed sends the guard, then input in the frames that it takes, then an empty one, and tells the guard
// to end the command if asked to. Only the guard gets the input, not what may run in its place, such
// as a login shell that refuses. It gives a failure to read; one to write is none, for the exit status
// tells how the command ended.
//
// All writing is done here, since a channel's Write and CloseWrite must not meet. If the command does
// not read and the channel is full, it stays in Write until the channel ends.
func (p *process) feed(input io.Reader) error {
	_, _ = io.WriteString(p.channel, guard)
	select {
	case <-p.output.ready:
	case <-p.stop:
		_ = p.channel.CloseWrite()
		return nil
	case <-p.exited:
		return nil
	}
	frames, failed := make(chan []byte), make(chan error, 1)
	if input == nil {
		close(frames)
	} else {
		go func() { // ends with input, or with the command
			failed <- p.read(input, frames)
			close(frames)
		}()
	}
	for {
		select {
		case <-p.exited:
			return nil
		case <-p.stop:
			_ = p.channel.CloseWrite()
			return nil
		case frame, more := <-frames:
			if more {
				_, _ = p.channel.Write(frame)
				continue
			}
			frames = nil
			if input != nil {
				if err := <-failed; err != nil {
					_ = p.channel.CloseWrite()
					return err
				}
			}
			_, _ = p.channel.Write([]byte("0\n"))
		}
	}
}

// read makes frames of input.
func (p *process) read(input io.Reader, frames chan<- []byte) error {
	buffer := make([]byte, frameSize)
	for {
		n, err := input.Read(buffer)
		if n > 0 {
			frame := append(fmt.Appendf(nil, "%d\n", n), buffer[:n]...)
			select {
			case frames <- frame:
			case <-p.stop:
				return nil
			case <-p.exited:
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// signalNumber gives Linux' number for the names of RFC 4254, section 6.10; 0 for others.
func signalNumber(name string) int {
	return map[string]int{
		"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11,
		"USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
	}[name]
}
