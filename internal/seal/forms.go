package seal

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"path"
	"regexp"
	"strings"
)

// byForm adds what is wrong by the form of the whole file: binary key stores, and files of which each line counts.
// content is the file's beginning, or all of it.
func (f *file) byForm(content []byte, whole bool) {
	switch {
	case bytes.HasPrefix(content, []byte("\x7fELF")):
		if coreDump(content) {
			f.found("a core dump", trace)
		}
		return
	case javaKey(content):
		f.found("a private key (Java key store)", noKey)
	case pkcs12Key(content):
		f.found("a private key (PKCS #12)", noKey)
	case whole && derKey(content):
		f.found("a private key (DER)", noKey)
	case keytab(content):
		f.found("a Kerberos key table", noKey)
	case pgpKey(content):
		f.found("a private key (OpenPGP)", noKey)
	}
	if !whole {
		return
	}
	if authenticator.Match(content) {
		f.found("a seed of one-time codes", noToken)
	}
	if pgpass(content) {
		f.found("a password (pgpass)", noToken)
	}
	if mysqlOptions(content) {
		f.found("a password (options of MySQL)", noToken)
	}
	if dir, name := path.Split(f.path); dir == "/etc/" && (strings.HasPrefix(name, "shadow") || strings.HasPrefix(name, "gshadow")) {
		if who := entersByPassword(content); who != "" {
			f.found("a password of "+who, "lock the account (passwd -l), or have the password set at stage launch")
		}
	}
	if f.path == "/var/cache/debconf/passwords.dat" && answered.Match(content) {
		f.found("a password that a package was given (debconf)", "purge it: echo PURGE | debconf-communicate PACKAGE")
	}
}

// coreDump: an ELF file of type ET_CORE, elf(5).
func coreDump(content []byte) bool {
	if len(content) < 18 {
		return false
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if content[5] == 2 {
		order = binary.BigEndian
	}
	return order.Uint16(content[16:]) == 4
}

// javaKey: a key store of Java (JKS or JCEKS) that has more than certificates. The form is that of
// sun.security.provider.JavaKeyStore.
func javaKey(content []byte) bool {
	const jks, jceks, certificate = 0xFEEDFEED, 0xCECECECE, 2
	r := reader{content}
	if magic := r.uint32(); magic != jks && magic != jceks {
		return false
	}
	version := r.uint32()
	for range min(r.uint32(), 1<<16) {
		if r.left == nil {
			return false
		}
		if tag := r.uint32(); r.left != nil && tag != certificate {
			return true
		}
		r.skip(int(r.uint16())) // alias
		r.skip(8)               // date
		if version == 2 {
			r.skip(int(r.uint16())) // type of the certificate
		}
		r.skip(int(r.uint32()))
	}
	return false
}

// reader takes big-endian numbers from the front; left is nil when there were too few bytes.
type reader struct{ left []byte }

func (r *reader) skip(n int) []byte {
	if n < 0 || n > len(r.left) {
		r.left = nil
		return make([]byte, 8)
	}
	taken := r.left[:n]
	r.left = r.left[n:]
	return taken
}

func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.skip(2)) }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.skip(4)) }

var (
	pkcs7Data   = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07}             // 1.2.840.113549.1.7
	keyBag      = []byte{0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01} // RFC 7292, appendix D
	pkcs5, pbe  = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05}, []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01}
	privateBags = []byte{1, 2} // key bag, shrouded key bag; the others hold certificates
)

// pkcs12Key: a PFX (RFC 7292) with a bag for a key. One of certificates alone is a trust store.
func pkcs12Key(content []byte) bool {
	head := content[:min(len(content), 64)]
	if len(head) == 0 || head[0] != 0x30 || !bytes.Contains(head, []byte{0x02, 0x01, 0x03}) || !bytes.Contains(head, pkcs7Data) {
		return false
	}
	for rest := content; ; {
		i := bytes.Index(rest, keyBag)
		if i < 0 || i+len(keyBag) >= len(rest) {
			return false
		}
		rest = rest[i+len(keyBag):]
		if bytes.IndexByte(privateBags, rest[0]) >= 0 {
			return true
		}
	}
}

// derKey: PKCS #1, SEC 1 or PKCS #8 without PEM around it, the latter encrypted, too.
func derKey(content []byte) bool {
	if len(content) < 32 || len(content) > 64<<10 || content[0] != 0x30 {
		return false
	}
	if _, err := x509.ParsePKCS8PrivateKey(content); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PrivateKey(content); err == nil {
		return true
	}
	if _, err := x509.ParseECPrivateKey(content); err == nil {
		return true
	}
	head := content[:24]
	return bytes.Contains(head, pkcs5) || bytes.Contains(head, pbe)
}

// keytab: the form is that of MIT Kerberos, "The Kerberos 5 keytab file format", version 2.
func keytab(content []byte) bool {
	r := reader{content}
	if r.uint16() != 0x0502 {
		return false
	}
	size := int32(r.uint32()) //nolint:gosec // negative is a hole
	components := r.uint16()
	realm := r.skip(int(r.uint16()))
	return r.left != nil && size > 0 && int(size) <= len(content) && components > 0 && components < 8 && len(realm) > 0 && isWord(realm[0])
}

// pgpKey: the first packet is a secret key (RFC 4880, 5.5.3), of a version and an algorithm that there are.
func pgpKey(content []byte) bool {
	const secretKey = 5
	var header int
	switch {
	case len(content) < 16:
		return false
	case content[0] == 0xc0|secretKey: // new form of packets
		header = 2
		if content[1] >= 192 {
			header = 3
		}
	case content[0]&0xfc == 0x80|secretKey<<2: // old form
		header = 2 + int(content[0]&3)
	default:
		return false
	}
	if header > 5 {
		return false
	}
	version, made, algorithm := content[header], binary.BigEndian.Uint32(content[header+1:]), content[header+5]
	const first, last = 631152000, 3155760000 // 1990 and 2070
	return version >= 3 && version <= 6 && made > first && made < last && bytes.IndexByte([]byte{1, 2, 3, 16, 17, 18, 19, 22, 25, 26, 27, 28}, algorithm) >= 0
}

// authenticator: the seed is the first line, and options follow, as google-authenticator(1) writes it.
var authenticator = regexp.MustCompile(`^[A-Z2-7]{16,}\n(?:" [A-Z_]+.*\n)*" (?:TOTP_AUTH|HOTP_COUNTER)`)

var pgpassLine = regexp.MustCompile(`^[^\s:#]+:(?:\d{1,5}|\*):[^\s:]+:[^\s:]+:(?:[^\s:\\]|\\.)+$`)

// pgpass: each line is host:port:database:user:password, as libpq reads it.
func pgpass(content []byte) bool {
	found := false
	for text := range bytes.Lines(content) {
		text = bytes.TrimSpace(text)
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		if !pgpassLine.Match(text) {
			return false
		}
		found = true
	}
	return found
}

var (
	mysqlGroup   = regexp.MustCompile(`^\[(?:client|mysql|mariadb|mysqldump|mysqladmin|mysqld|mariadb-client|client-mariadb|mysql_upgrade|mysqlcheck)[\w.-]*\]$`)
	anyGroup     = regexp.MustCompile(`^\[.*\]$`)
	mysqlSetting = regexp.MustCompile(`^(?:password|master[_-]password|wsrep[_-]sst[_-]auth)\s*=\s*["']?[^\s"'#]`)
)

// mysqlOptions: a password in a group of an option file that MySQL's or MariaDB's programs read.
func mysqlOptions(content []byte) bool {
	inside := false
	for text := range bytes.Lines(content) {
		text = bytes.TrimSpace(text)
		switch {
		case anyGroup.Match(text):
			inside = mysqlGroup.Match(text)
		case inside && mysqlSetting.Match(text):
			return true
		}
	}
	return false
}

// entersByPassword names an account of shadow(5) or gshadow(5) whose second field is a password, or nothing at all.
func entersByPassword(content []byte) string {
	for text := range bytes.Lines(content) {
		fields := strings.Split(strings.TrimRight(string(text), "\r\n"), ":")
		if len(fields) != 9 && len(fields) != 4 { // of gshadow, where no password is the rule
			continue
		}
		hash := fields[1]
		switch {
		case hash == "" && len(fields) == 9:
			return fields[0] + ", which is empty"
		case hash != "" && !strings.ContainsAny(hash[:1], "!*x"):
			return fields[0]
		}
	}
	return ""
}

var answered = regexp.MustCompile(`(?m)^Value:[ \t]*\S`)
