package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"strings"
)

// forms gives a secret as programs print it: as it is, quoted for a shell, YAML, JSON, HTML and URLs, in hexadecimal
// digits, and inside a longer text that was encoded in base64.
func forms(secret string) []string {
	all := []string{
		secret,
		strings.ReplaceAll(secret, `'`, `'\''`),
		strings.ReplaceAll(secret, `'`, `''`),
		strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(secret),
		strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(secret),
		backslashed(secret),
		jsonEscaped(secret, true), jsonEscaped(secret, false),
		html.EscapeString(secret),
		hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	for _, escaped := range []string{url.QueryEscape(secret), url.PathEscape(secret)} {
		all = append(all, escaped, lowerEscapes(escaped))
	}
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			if inside := insideBase64(alphabet, secret, before); len(inside) >= shortest {
				all = append(all, inside)
			}
		}
	}
	return all
}

// insideBase64 gives the characters that the secret alone decides, if some bytes (modulo 3) stand before it.
func insideBase64(alphabet *base64.Encoding, secret string, before int) string {
	text := alphabet.EncodeToString(append(make([]byte, before), secret...))
	from, to := (before*8+5)/6, (before+len(secret))*8/6
	return text[from:to]
}

// backslashed is a word as bash's printf %q writes it.
func backslashed(secret string) string {
	var b strings.Builder
	for i := range len(secret) {
		if strings.IndexByte(" \t!\"#$&'()*,;<=>?[\\]^`{|}~", secret[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(secret[i])
	}
	return b.String()
}

func jsonEscaped(secret string, safeForHTML bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(safeForHTML)
	if e.Encode(secret) != nil { // a string can always be encoded
		return secret
	}
	text := strings.TrimSpace(b.String())
	return text[1 : len(text)-1]
}

// lowerEscapes writes %2F as %2f.
func lowerEscapes(escaped string) string {
	b := []byte(escaped)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], bytes.ToLower(b[i+1:i+3]))
			i += 2
		}
	}
	return string(b)
}
