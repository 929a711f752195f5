package printable

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// evil is text that steers: a title, a cleared screen, a reset, 8-bit sequences, the carriage, writing directions,
// isolates, zero width, tags, a soft hyphen, fillers, a byte that is no UTF-8, NUL.
const evil = "\x1b]0;owned\x07\x1b[2J\x1bc\u009b2J\r\x08\u202e\u2066\u2069\u200b\u200d\u2060\ufeff\u00ad\U000e0041\u3164\u2028\x9b5m\x00"

const steering = "\x1b\x07\r\x08\x00\u009b\u202e\u2066\u2069\u200b\u200d\u2060\ufeff\u00ad\U000e0041\u3164\u2028"

func harmless(t *testing.T, text string) {
	t.Helper()
	if strings.ContainsAny(text, steering) || !utf8.ValidString(text) {
		t.Errorf("it steers: %q", text)
	}
}

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n\tgrün ✓ 日本 🎉":   "plain\n\tgrün ✓ 日本 🎉",
		evil:                     "2J\ufffd5m",
		"\x1b[31mred\x1b[0m":     "red",
		"\x1b]8;;http://x\x1b\\": "",
		"web\u200b-1":            "web-1",
		"\u0600 is a sign":       "\u0600 is a sign",
	} {
		if got := Text(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// In pieces of any size, the same comes out, and characters stay whole.
func TestWriter(t *testing.T) {
	const text = "grün ✓ 🎉 " + evil + "\nend"
	for _, size := range []int{1, 2, 3, 5, 100} {
		var b bytes.Buffer
		w := NewWriter(&b)
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			if written, err := w.Write(rest[:n]); err != nil || written != n {
				t.Fatal(written, err)
			}
			rest = rest[n:]
		}
		harmless(t, b.String())
		if got := b.String(); !strings.HasPrefix(got, "grün ✓ 🎉 ") || !strings.HasSuffix(got, "\nend") {
			t.Errorf("in pieces of %d: %q", size, got)
		}
	}
	if _, err := io.Copy(NewWriter(iotestErr{}), iotest.OneByteReader(strings.NewReader("x"))); err == nil {
		t.Error("a writer that fails is not told of")
	}
}

type iotestErr struct{}

func (iotestErr) Write([]byte) (int, error) { return 0, errors.New("full") }

// A log through a Writer has one line a record, whatever is in its values and keys.
func TestLog(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(NewWriter(&b), nil))
	log.With("with "+evil, evil).Warn("m "+evil+"\nlevel=ERROR msg=forged", "err", errors.New(evil+"\nlevel=ERROR"), evil, 1)
	harmless(t, b.String())
	if strings.Count(b.String(), "\n") != 1 {
		t.Errorf("%q", b.String())
	}
}

// Programs get what was there, in a form that steers nothing.
func TestJSON(t *testing.T) {
	var b bytes.Buffer
	in := map[string]string{"subject": strings.ToValidUTF8(evil, "?") + "<&>"}
	if err := JSON(&b, in); err != nil {
		t.Fatal(err)
	}
	harmless(t, b.String())
	var out map[string]string
	if err := json.Unmarshal(b.Bytes(), &out); err != nil || out["subject"] != in["subject"] {
		t.Errorf("%q became %q (%v)", in, out, err)
	}
}

func TestOf(t *testing.T) {
	type inner struct{ Names []string }
	type outer struct {
		Inner *inner
		Map   map[string]any
		Any   any
	}
	in := outer{&inner{[]string{evil}}, map[string]any{evil: []string{evil}}, evil}
	out := Of(in)
	text, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if harmless(t, string(text)); strings.Contains(string(text), `\u001b`) || strings.Contains(string(text), `\u0000`) {
		t.Errorf("%s", text)
	}
	if in.Inner.Names[0] != evil || in.Map[evil] == nil {
		t.Error("the value itself was changed")
	}
}

func FuzzText(f *testing.F) {
	f.Add(evil, 3)
	f.Fuzz(func(t *testing.T, text string, size int) {
		harmless(t, Text(text))
		if size < 1 {
			t.Skip()
		}
		var b bytes.Buffer
		w := NewWriter(&b)
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			_, _ = w.Write(rest[:n])
			rest = rest[n:]
		}
		harmless(t, b.String())
	})
}
