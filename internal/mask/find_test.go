package mask

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
)

// A Finder finds what a Mask blanks, wherever it stands, and nothing else.
func TestFinder(t *testing.T) {
	f := NewFinder("other secret", plain, odd, "short")
	around := strings.Repeat("xyz\n", 100)
	for name, text := range map[string]string{
		"as it is":    plain,
		"base64":      base64.StdEncoding.EncodeToString([]byte("password=" + plain + "\n")),
		"wrapped":     wrapped(base64.StdEncoding.EncodeToString([]byte(around+plain+around)), 76),
		"hexadecimal": hex.EncodeToString([]byte(plain)),
		"URL":         url.QueryEscape(odd),
		"broken":      plain[:1] + "\r\n  " + plain[1:],
		"broken, too": plain[:1] + `\n` + plain[1:],
	} {
		for _, whole := range []string{text, around + text, text + around, around + text + around} {
			if !f.In([]byte(whole)) {
				t.Errorf("%s: not found in %q", name, whole)
			}
			if New(plain, odd).String(whole) == whole {
				t.Errorf("%s: the mask lets it through", name)
			}
		}
		if len(text) > f.Longest() && name != "wrapped" && name != "base64" {
			t.Errorf("%s has %d bytes, more than %d", name, len(text), f.Longest())
		}
	}
	for _, text := range []string{"", "Z", plain[1:], plain[:31], around, "short"} {
		if f.In([]byte(text)) || NewFinder().In([]byte(text)) {
			t.Errorf("found in %q", text)
		}
	}
}

func BenchmarkFinder(b *testing.B) {
	f := NewFinder(plain, odd, strings.ToLower(plain), "another secret of some length", plain+plain)
	text := []byte(strings.Repeat("Some text, as files have it: key = value, /etc/path, 12345.\n", 1<<14))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if f.In(text) {
			b.Fatal("found")
		}
	}
}
