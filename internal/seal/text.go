package seal

import (
	"bytes"
	"encoding/base64"
	"regexp"
	"strings"
)

// longestText is how much of a text a rule of this file looks at behind its anchor, in bytes.
const longestText = 8 << 10

// rule finds a credential in text: its anchor stands somewhere in it, and pattern fits from there on.
type rule struct {
	anchors []string // of two bytes or more
	pattern *regexp.Regexp
	what    string
	remedy  string
	// fits looks closer at what the pattern matched: text[begin:end]. nil: the pattern is enough.
	fits func(f *file, text []byte, begin, end int) bool
}

const (
	noKey   = "remove it; a server makes its own keys, and gets others as a secret at stage launch"
	noToken = "remove it; give it to the server as a secret at stage launch"
)

// begins compiles a pattern that has to fit at the anchor.
func begins(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)`) }

// rules is the whole list. Key material has to follow what names it, so that code which only speaks of keys is none.
var rules = []rule{
	{
		[]string{"PRIVATE KEY"},
		begins(`PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr]|[A-Za-z-]+: [^\n\\]*(?:\n|\\n))*[A-Za-z0-9+/=]{16}`), "a private key (PEM)", noKey, afterBegin,
	},
	{[]string{"LS0tLS1CRUdJTi"}, begins(`[A-Za-z0-9+/]{48}`), "a private key (PEM in base64)", noKey, encodedKey},
	{[]string{"SSH2 ENCRYPTED PRIVATE KEY"}, begins(`SSH2 ENCRYPTED PRIVATE KEY ----\s+(?:[A-Za-z-]+: [^\n]*\n)*[A-Za-z0-9+/=]{16}`), "a private key (SSH)", noKey, nil},
	{[]string{"SSH PRIVATE KEY FILE FORMAT"}, begins(`SSH PRIVATE KEY FILE FORMAT 1\.1\n\x00`), "a private key (SSH)", noKey, atLineStart},
	{[]string{"PuTTY-User-Key-File-"}, begins(`PuTTY-User-Key-File-[0-9]:\s*\S`), "a private key (PuTTY)", noKey, nil},
	{[]string{"private-key"}, begins(`private-key\s*\(\s*\d*:?[a-z]`), "a private key (GnuPG)", noKey, ofAgent},
	{[]string{"AGE-SECRET-KEY-", "AGE-PLUGIN-"}, begins(`AGE-(?:SECRET-KEY(?:-PQ)?|PLUGIN-[A-Z0-9-]+)-1[02-9AC-HJ-NP-Z]{40}`), "a private key (age)", noKey, nil},
	{[]string{"PrivateKey", "PresharedKey", "PreSharedKey"}, begins(`P[A-Za-z]+Key\s*=\s*[A-Za-z0-9+/]{43}=`), "a private key (WireGuard)", noKey, notComment},
	{[]string{`"kty"`}, begins(`"kty"\s*:\s*"`), "a private key (JWK)", noKey, privateJWK},
	{[]string{"AKIA", "ASIA"}, begins(`A[KS]IA[A-Z2-7]{16}`), "an access key of AWS", noToken, aloneAndReal},
	{[]string{"aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "SecretAccessKey"}, begins(`\w+["']?\s*[:=]\s*["']?[A-Za-z0-9/+]{40}`), "a secret access key of AWS", noToken, aloneAndReal},
	{[]string{"AIza"}, begins(`AIza[0-9A-Za-z_-]{35}`), "an API key of Google", noToken, alone},
	{[]string{"AccountKey=", "SharedAccessKey="}, begins(`\w+=[A-Za-z0-9+/]{43,86}=`), "an access key of Azure", noToken, nil},
	{[]string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"}, begins(`gh[pousr]_[A-Za-z0-9]{36}`), "a token of GitHub", noToken, alone},
	{[]string{"github_pat_"}, begins(`github_pat_\w{22,}`), "a token of GitHub", noToken, alone},
	{[]string{"glpat-", "gldt-", "glrt-", "glptt-"}, begins(`gl[a-z]+-[\w-]{20}`), "a token of GitLab", noToken, alone},
	{[]string{"xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-"}, begins(`xox[a-z]-[0-9A-Za-z-]{20}`), "a token of Slack", noToken, alone},
	{[]string{"sk_live_", "rk_live_"}, begins(`[sr]k_live_[0-9A-Za-z]{16}`), "a key of Stripe", noToken, alone},
	{[]string{"npm_"}, begins(`npm_[A-Za-z0-9]{36}`), "a token of npm", noToken, alone},
	{[]string{"pypi-AgE"}, begins(`pypi-AgE[\w-]{40}`), "a token of PyPI", noToken, alone},
	{[]string{"dckr_pat_"}, begins(`dckr_pat_[\w-]{20}`), "a token of Docker Hub", noToken, alone},
	{[]string{"hvs.", "hvb."}, begins(`hv[sb]\.[\w-]{24}`), "a token of Vault", noToken, alone},
	{[]string{"eyJ"}, begins(`eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{16}`), "a JSON web token", noToken, alone},
	{[]string{"://"}, begins(`://[^\s/:@"'<>]{1,128}:[^\s/@"'<>]{1,256}@[A-Za-z0-9\[]`), "an address with a password in it", "write the address without it; give the password to the server at stage launch", realPassword},
	{[]string{"machine"}, begins(`machine\s+\S+\s+(?:login\s+\S+\s+|user\s+\S+\s+)?(?:account\s+\S+\s+)?password\s+[^\s$%<{[]`), "a password (netrc)", noToken, indented},
	{[]string{"_authToken", "_auth", "_password"}, begins(`_(?:authToken|auth|password)\s*=\s*["']?[A-Za-z0-9+/_=-]{8}`), "a credential of npm", noToken, ofRegistry},
	{[]string{`"auth"`}, begins(`"auth"\s*:\s*"[A-Za-z0-9+/]{6,}={0,2}"`), "a password of a container registry", noToken, encodedPassword},
	{[]string{`"identitytoken"`}, begins(`"identitytoken"\s*:\s*"[^"]{8}`), "a token of a container registry", noToken, nil},
	{[]string{"HOTP"}, begins(`HOTP(?:/[TE]\d+)?(?:/\d+)?\s+\S+\s+\S+\s+[0-9a-fA-F]{16}`), "a seed of one-time codes", noToken, notComment},
	{[]string{"secret"}, begins(`secret\s+"[A-Za-z0-9+/]{16,}={0,2}"\s*;`), "a key of a name server", noToken, notComment},
	{[]string{"key = AQ", "key: AQ"}, begins(`key[ =:]+AQ[A-Za-z0-9+/]{36,}==`), "a key of Ceph", noToken, notComment},
	{
		[]string{":$"},
		begins(`:\$(?:1|2[abxy]?|5|6|7|y|gy|apr1|argon2id?|scrypt)\$[./A-Za-z0-9$,=+-]{20}`), "a password's hash",
		"lock the account, or have the password set at stage launch", ofAccount,
	},
	{
		[]string{"ssh-rsa AAAA", "ssh-dss AAAA", "ssh-ed25519 AAAA", "ecdsa-sha2-nistp", "sk-ssh-ed25519@", "sk-ecdsa-sha2-"},
		begins(`(?:ssh-(?:rsa|dss|ed25519)|(?:sk-)?(?:ssh|ecdsa)-[a-z0-9-]+(?:@openssh\.com)?) AAAA[A-Za-z0-9+/]{40}`), "authorized keys", atLaunch, ofPeople,
	},
}

// anchors finds all anchors in one pass over the text, by their first two bytes.
type anchors struct {
	begins *[1 << 16]bool
	by     map[[2]byte][]anchor
}

type anchor struct {
	text string
	rule int
}

var allAnchors = func() anchors {
	a := anchors{begins: new([1 << 16]bool), by: map[[2]byte][]anchor{}}
	for i, r := range rules {
		for _, text := range r.anchors {
			pair := [2]byte{text[0], text[1]}
			a.begins[int(pair[0])<<8|int(pair[1])] = true
			a.by[pair] = append(a.by[pair], anchor{text, i})
		}
	}
	return a
}()

// byText adds the credentials that stand in a text.
func (f *file) byText(text []byte) {
	for i := 0; i+1 < len(text); i++ {
		if !allAnchors.begins[int(text[i])<<8|int(text[i+1])] {
			continue
		}
		for _, a := range allAnchors.by[[2]byte{text[i], text[i+1]}] {
			if len(text)-i < len(a.text) || string(text[i:i+len(a.text)]) != a.text {
				continue
			}
			r := rules[a.rule]
			at := r.pattern.FindIndex(text[i:min(len(text), i+longestText)])
			if at != nil && (r.fits == nil || r.fits(f, text, i, i+at[1])) {
				f.found(r.what, r.remedy)
			}
		}
	}
}

// before is what stands on the line before a place.
func before(text []byte, at int) []byte {
	return text[bytes.LastIndexByte(text[:at], '\n')+1 : at]
}

// notComment: the line is one that a program reads.
func notComment(_ *file, text []byte, begin, _ int) bool {
	start := bytes.TrimLeft(before(text, begin), " \t")
	return len(start) == 0 || !strings.ContainsRune("#;/*", rune(start[0]))
}

// isWord is what keys and tokens consist of.
func isWord(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b == '_'
}

// alone: it is no part of a longer word.
func alone(_ *file, text []byte, begin, _ int) bool { return begin == 0 || !isWord(text[begin-1]) }

// aloneAndReal: nor is it AWS' own example.
func aloneAndReal(f *file, text []byte, begin, end int) bool {
	return alone(f, text, begin, end) && (end == len(text) || !isWord(text[end])) && !bytes.Contains(text[begin:end], []byte("EXAMPLE"))
}

// afterBegin: a key's first line stands before it.
func afterBegin(_ *file, text []byte, begin, _ int) bool {
	start := before(text, begin)
	return bytes.LastIndex(start[max(0, len(start)-64):], []byte("-----BEGIN ")) >= 0
}

// encodedKey: what is encoded is a private key.
func encodedKey(_ *file, text []byte, begin, _ int) bool {
	clear, err := base64.StdEncoding.DecodeString(string(text[begin : begin+48]))
	return err == nil && bytes.Contains(clear, []byte("PRIVATE KEY"))
}

var secretPart = regexp.MustCompile(`"(?:d|k)"\s*:\s*"[\w-]{16}`)

// privateJWK: the key has its secret part nearby.
func privateJWK(_ *file, text []byte, begin, end int) bool {
	return secretPart.Match(text[max(0, begin-longestText/2):min(len(text), end+longestText/2)])
}

// encodedPassword: what is encoded is user:password.
func encodedPassword(_ *file, text []byte, begin, end int) bool {
	encoded := bytes.Trim(text[bytes.IndexByte(text[begin:end], ':')+begin+1:end], " \t\r\n\"")
	clear, err := base64.StdEncoding.DecodeString(string(encoded))
	user, password, both := bytes.Cut(clear, []byte(":"))
	return err == nil && both && len(user) > 0 && len(password) > 0
}

var (
	// placeholder is no password: a variable, a part that is filled in, or a word that says what belongs there.
	placeholder = regexp.MustCompile(`(?i)[$%{}()\[\]<>*|\\]|^(?:pass|password|passwd|pwd|secret|token|x+|pw)\d?$|\.\.\.`)
	// exampleHost is for documentation: RFC 2606.
	exampleHost = regexp.MustCompile(`(?i)^(?:[a-z0-9-]+\.)*(?:example(?:\.(?:com|net|org))?|test|invalid)\b|^(?:host|hostname|server|proxy|domain)\b`)
)

// realPassword: an address that a program reads, with a password that may be one.
func realPassword(f *file, text []byte, begin, end int) bool {
	if !notComment(f, text, begin, end) {
		return false
	}
	_, password, _ := strings.Cut(string(text[begin+len("://"):end-len("@h")]), ":")
	host := text[end-1 : min(len(text), end+253)]
	return !placeholder.MatchString(password) && !exampleHost.Match(host)
}

// ofAccount: an account's name is all that stands before it.
func ofAccount(_ *file, text []byte, begin, _ int) bool {
	name := before(text, begin)
	return len(name) > 0 && len(name) <= 64 && !bytes.ContainsAny(name, " \t:#\"'=$(){}<>")
}

// indented: nothing but space stands before it on its line.
func indented(_ *file, text []byte, begin, _ int) bool {
	return len(bytes.TrimSpace(before(text, begin))) == 0
}

// atLineStart: nothing at all.
func atLineStart(_ *file, text []byte, begin, _ int) bool { return len(before(text, begin)) == 0 }

// ofRegistry: a setting of npm, for all registries or for one.
func ofRegistry(_ *file, text []byte, begin, _ int) bool {
	scope := before(text, begin)
	return len(scope) == 0 || bytes.HasPrefix(scope, []byte("//")) && bytes.HasSuffix(scope, []byte(":"))
}

var agentKey = regexp.MustCompile(`^(?:Key:[ \t]*)?\((?:\d+:)?(?:protected-|shadowed-)?$`)

// ofAgent: a key as gpg-agent keeps it, in a file that begins with it or in a line of its own.
func ofAgent(_ *file, text []byte, begin, _ int) bool {
	start := before(text, begin)
	return agentKey.Match(start) && (len(start) == begin || start[0] == 'K')
}

// productCode is where the product's own code lies. A public key in it lets nobody in.
const productCode = "/opt/hallmark/product/"

// ofPeople: a list of keys, not one of hosts and their keys.
func ofPeople(f *file, text []byte, begin, end int) bool {
	return atLineStart(f, text, begin, end) && !strings.HasPrefix(f.path, productCode)
}
