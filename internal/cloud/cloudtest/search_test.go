package cloudtest

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Every spelling of a secret is found, wherever it lies in a file, and nothing else is.
func TestSearch(t *testing.T) {
	const secret, other = "Zk3vQ9xTgB7wPnR2mLdE", "0123456789abcdefghij"
	pressed := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write([]byte(text))
		must(t, err, "compress")
		must(t, w.Close(), "compress")
		return b.String()
	}
	long := strings.Repeat("x", 1<<20-7) // the secret lies over the end of a piece
	now := time.Now()
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"plain":             {"a: " + secret + "\n", true},
		"alone":             {secret, true},
		"far in":            {long + secret, true},
		"very far in":       {long + long + long + secret + long, true},
		"base64":            {base64.StdEncoding.EncodeToString([]byte("a" + secret + "b")), true},
		"base64, shifted":   {base64.StdEncoding.EncodeToString([]byte("ab" + secret + "b")), true},
		"base64, unshifted": {base64.StdEncoding.EncodeToString([]byte(secret)), true},
		"hexadecimal":       {hex.EncodeToString([]byte(secret)), true},
		"compressed":        {pressed("a: " + secret), true},
		"hardly compressed": {"\x1f\x8b nothing " + secret, true},
		"another":           {"a: " + other, false},
		"empty":             {"", false},
		"a part":            {secret[1:] + secret[:19], false},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "below", "file")
		must(t, os.MkdirAll(filepath.Dir(file), 0o700), "make a folder")
		must(t, os.WriteFile(file, []byte(c.text), 0o600), "write")
		must(t, os.Symlink("nowhere", filepath.Join(dir, "link")), "link")
		found, err := Search([]string{"another one of these", secret}, Place{Path: dir})
		if err != nil || (len(found) > 0) != c.want || c.want && !slices.Equal(found, []string{file + " holds secret 1"}) {
			t.Errorf("%s: %v, %v", name, found, err)
		}
		for what, place := range map[string]Place{"left out": {Path: dir, But: []string{filepath.Dir(file)}}, "unchanged": {Path: dir, Since: now.Add(time.Hour)}, "gone": {Path: dir + "/none"}} {
			if found, err := Search([]string{secret}, place); err != nil || len(found) > 0 {
				t.Errorf("%s, %s: %v, %v", name, what, found, err)
			}
		}
	}
	if _, err := Search([]string{"short"}); err == nil {
		t.Error("a secret that may stand anywhere is looked for")
	}
}
