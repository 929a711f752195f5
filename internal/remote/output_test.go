package remote

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestTailKeepsTheLastBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		kept := tail{bound: 1 + random.IntN(40)}
		var all []byte
		for range random.IntN(30) {
			p := bytes.Repeat([]byte{byte('a' + random.IntN(26))}, random.IntN(60))
			all = append(all, p...)
			kept.write(p)
		}
		want := all[max(0, len(all)-kept.bound):]
		if got := kept.bytes(); !bytes.Equal(got, want) {
			t.Fatalf("bound %d: kept %q, want %q", kept.bound, got, want)
		}
		if kept.truncated() != (len(all) > kept.bound) {
			t.Fatalf("bound %d of %d bytes: truncated is %v", kept.bound, len(all), kept.truncated())
		}
		if len(kept.data) > 2*kept.bound {
			t.Fatalf("bound %d: %d bytes are held", kept.bound, len(kept.data))
		}
	}
}

// A mark that comes in pieces, behind what a login shell had to say.
func TestOutputBeginsAfterTheMark(t *testing.T) {
	var onward strings.Builder
	o := newOutput(&onward, 100)
	for _, b := range []byte("Welcome!\n" + guardMark + " 1234\n" + "hello\n" + guardMark + "\n") {
		_, _ = o.stdout().Write([]byte{b})
	}
	_, _ = o.stderr().Write([]byte("oops\n"))
	want := "hello\n" + guardMark + "\n"
	if id, ok := o.group(); id != 1234 || !ok {
		t.Errorf("group %d", id)
	}
	if r := o.result(); string(r.Stdout) != want || string(r.Stderr) != "oops\n" || !o.started() {
		t.Errorf("stdout %q, stderr %q", r.Stdout, r.Stderr)
	}
	if onward.String() != want+"oops\n" {
		t.Errorf("passed on %q", onward.String())
	}
}

func TestOutputWithoutAMarkIsKeptForTheError(t *testing.T) {
	o := newOutput(nil, 100)
	_, _ = o.stdout().Write([]byte(strings.Repeat("x", 100<<10) + "This account is currently not available.\n"))
	r := o.result()
	if o.started() || !strings.HasSuffix(string(r.Stdout), "not available.\n") || len(r.Stdout) > headingBound {
		t.Errorf("started %v, %d bytes", o.started(), len(r.Stdout))
	}
}

type failingWriter struct{ calls int }

func (w *failingWriter) Write([]byte) (int, error) { w.calls++; return 0, errors.New("full") }

func TestOutputGoesOnWithoutAFailingWriter(t *testing.T) {
	w := &failingWriter{}
	o := newOutput(w, 100)
	_, _ = o.stdout().Write([]byte(guardMark + " 7\none\n"))
	_, _ = o.stdout().Write([]byte("two\n"))
	if r := o.result(); string(r.Stdout) != "one\ntwo\n" || w.calls != 1 {
		t.Errorf("kept %q, %d calls", r.Stdout, w.calls)
	}
}
