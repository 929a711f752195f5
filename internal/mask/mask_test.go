package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const plain = "Zk3vQ9sLm2TxPw7RbYc4Nd8HgJf6Ae1U"

// odd has what quoting and encoding change.
const odd = `p'a"s s$w\o/r+d&<é>`

// wrapped breaks text like base64(1).
func wrapped(text string, columns int) string {
	var lines []string
	for len(text) > columns {
		lines, text = append(lines, text[:columns]), text[columns:]
	}
	return strings.Join(append(lines, text), "\n") + "\n"
}

func quotedByBash(t *testing.T, text string) string {
	out, err := exec.CommandContext(t.Context(), "bash", "-c", `printf '%q' "$1"`, "-", text).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// A secret is found in every form in which programs print it, and the text around it stays.
func TestForms(t *testing.T) {
	long := func(secret string, before int) string {
		return "user=" + strings.Repeat("x", before) + "\npassword=" + secret + "\nhost=db-1\n"
	}
	for _, secret := range []string{plain, odd, "8letters"} {
		encodedJSON, _ := json.Marshal(map[string]string{"password": secret})
		written, _ := yaml.Marshal(map[string]string{"password": secret})
		cases := map[string]string{
			"as it is": "before " + secret + " after",
			"JSON":     string(encodedJSON),
			"YAML":     string(written),
			"query":    "https://h/?p=" + url.QueryEscape(secret) + "&q=1",
			"path":     "https://h/" + url.PathEscape(secret),
			"lower":    strings.ToLower("https://h/?p=") + lowerEscapes(url.QueryEscape(secret)),
			"shell":    "mysql -p'" + strings.ReplaceAll(secret, `'`, `'\''`) + "' shop",
			"hex":      hex.EncodeToString([]byte(secret)),
		}
		if secret != odd { // bash has other forms for other alphabets, such as $'…'
			cases["bash"] = "+ mysql -p" + quotedByBash(t, secret)
			cases["broken"] = "before " + secret[:5] + "\r\n    " + secret[5:] + " after"
		}
		for before := range 3 {
			cases[fmt.Sprintf("base64 %d", before)] = base64.StdEncoding.EncodeToString([]byte(long(secret, before)))
			cases[fmt.Sprintf("base64 of URLs %d", before)] = base64.URLEncoding.EncodeToString([]byte(long(secret, before)))
			for columns := 20; columns < 30; columns++ {
				text := wrapped(base64.StdEncoding.EncodeToString([]byte(long(secret, before))), columns)
				cases[fmt.Sprintf("base64 %d in %d columns", before, columns)] = text
				said, _ := json.Marshal(map[string]string{"found": text})
				cases[fmt.Sprintf("base64 %d in %d columns in JSON", before, columns)] = string(said)
			}
		}
		m := New("other", secret, "")
		for name, text := range cases {
			got := m.String(text)
			if strings.Count(got, Mark) != 1 {
				t.Errorf("%s of %q: %q became %q", name, secret, text, got)
			}
			head, tail, _ := strings.Cut(got, Mark)
			if !strings.HasPrefix(text, head) || !strings.HasSuffix(text, tail) {
				t.Errorf("%s of %q: what is around it changed: %q became %q", name, secret, text, got)
			}
			for i := range text { // in two pieces, wherever they meet
				var b bytes.Buffer
				w := m.Writer(&b)
				for _, piece := range []string{text[:i], text[i:]} {
					if _, err := w.Write([]byte(piece)); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Flush(); err != nil || b.String() != got {
					t.Fatalf("%s of %q, broken at %d: %q, %v; in one piece %q", name, secret, i, b.String(), err, got)
				}
			}
		}
	}
}

// Text that begins or ends in the midst of a secret gives no part of it away that is worth anything.
func TestCut(t *testing.T) {
	m := New(plain)
	for n := shortest; n < len(plain); n++ {
		if got := m.String(plain[n-1:] + " is the password"); len(plain)-n+1 >= shortest && got != Mark+" is the password" {
			t.Errorf("%q", got)
		}
		if got := m.String("the password is " + plain[:n]); got != "the password is "+Mark {
			t.Errorf("%q", got)
		}
	}
}

// What only looks like a secret stays: other text, the beginning of one, and what is too short to be one.
func TestOtherText(t *testing.T) {
	for _, text := range []string{
		"", "nothing", plain[:20] + " " + plain[20:], strings.ToLower(plain), plain[:31] + "Y and more", "a user and a pass\n\n\n",
	} {
		if got := New(plain, "pass", "user", " ").String(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := New().String(plain); got != plain {
		t.Error(got)
	}
	if got := (*Mask)(nil).Bytes([]byte(plain)); string(got) != plain {
		t.Error(got)
	}
}

// A masked document still parses, and is what it was but for the secret.
func TestDocumentsStillParse(t *testing.T) {
	m := New(plain)
	var said struct{ Message string }
	if err := yaml.Unmarshal([]byte(m.String("message: "+plain+"\n")), &said); err != nil || said.Message != Mark {
		t.Errorf("%+v, %v", said, err)
	}
	if err := json.Unmarshal([]byte(m.String(`{"Message": "`+plain+`"}`)), &said); err != nil || said.Message != Mark {
		t.Errorf("%+v, %v", said, err)
	}
}

func FuzzWriterIsBytes(f *testing.F) {
	f.Add("before "+plain+" after", 9)
	f.Add(plain[:10]+"\n\n  "+plain[10:]+plain[:8], 12)
	m := New(plain, odd)
	f.Fuzz(func(t *testing.T, text string, size int) {
		if size < 1 || len(text) > 10_000 {
			t.Skip()
		}
		if strings.Contains(m.String(text), plain) || strings.Contains(m.String(text), odd) {
			t.Fatalf("%q", m.String(text))
		}
		var b bytes.Buffer
		w := m.Writer(&b)
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Flush(); err != nil || strings.Contains(b.String(), plain) || strings.Contains(b.String(), odd) {
			t.Fatalf("%q, %v", b.String(), err)
		}
	})
}
