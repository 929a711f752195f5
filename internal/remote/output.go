package remote

import (
	"bytes"
	"io"
	"strconv"
	"sync"
)

// output takes the two streams of a command: the last bytes of each are kept, and everything is
// passed on as it comes.
type output struct {
	mu      sync.Mutex
	onward  io.Writer // nil once it failed, or nobody may be written to any more
	out     tail
	err     tail
	heading []byte // of stdout, until the mark of the guard is found
	marked  bool
	ready   chan struct{} // closed with the mark

	processGroup int
}

func newOutput(onward io.Writer, bound int) *output {
	return &output{onward: onward, out: tail{bound: bound}, err: tail{bound: bound}, ready: make(chan struct{})}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

func (o *output) stdout() io.Writer { return writerFunc(o.writeOut) }

func (o *output) stderr() io.Writer {
	return writerFunc(func(p []byte) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.keep(&o.err, p)
	})
}

// writeOut cuts off what comes before the guard's mark: login shells may be talkative.
func (o *output) writeOut(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.marked {
		o.heading = append(o.heading, p...)
		_, rest, found := bytes.Cut(o.heading, []byte(guardMark+" "))
		number, rest, whole := bytes.Cut(rest, []byte("\n"))
		if !found || !whole {
			if excess := len(o.heading) - headingBound; excess > 0 {
				o.heading = o.heading[excess:]
			}
			return
		}
		o.processGroup, _ = strconv.Atoi(string(number))
		p = rest
		o.marked, o.heading = true, nil
		close(o.ready)
	}
	o.keep(&o.out, p)
}

// headingBound is how much is kept of what a server says instead of running the guard.
const headingBound = 16 << 10

func (o *output) keep(t *tail, p []byte) {
	if len(p) == 0 {
		return
	}
	t.write(p)
	if o.onward != nil {
		if _, err := o.onward.Write(p); err != nil {
			o.onward = nil
		}
	}
}

// group gives the command's process group, if its guard ran.
func (o *output) group() (id int, started bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.processGroup, o.marked && o.processGroup > 1
}

// started reports whether the guard ran.
func (o *output) started() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.marked
}

// stop ends passing on.
func (o *output) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.onward = nil
}

func (o *output) result() Result {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := Result{Stdout: o.out.bytes(), Stderr: o.err.bytes()}
	r.Truncated = o.out.truncated() || o.err.truncated()
	if !o.marked {
		r.Stdout = bytes.Clone(o.heading)
	}
	return r
}

// tail keeps the last bound bytes that were written to it.
type tail struct {
	bound int
	data  []byte
	lost  bool
}

func (t *tail) write(p []byte) {
	if len(p) > t.bound {
		p, t.lost = p[len(p)-t.bound:], true
	}
	// Twice the bound is held, so that old bytes are moved out seldom.
	if len(t.data)+len(p) > 2*t.bound {
		keep := t.data[max(0, len(t.data)-(t.bound-len(p))):]
		t.data = append(t.data[:0], keep...)
		t.lost = true
	}
	t.data = append(t.data, p...)
}

func (t *tail) bytes() []byte {
	return bytes.Clone(t.data[max(0, len(t.data)-t.bound):])
}

func (t *tail) truncated() bool { return t.lost || len(t.data) > t.bound }
