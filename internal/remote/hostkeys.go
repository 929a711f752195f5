package remote

import (
	"bytes"
	"fmt"
	"net"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"
)

// HostKeyError says that a server showed a host key that is not pinned: another machine answers at
// that address, or the keys were made anew since they were learnt. The login went no further.
type HostKeyError struct {
	Server  string
	Address string
	Got     ssh.PublicKey // nil: it has no key of a pinned type
	Want    []ssh.PublicKey
}

// Error names the fingerprints on both sides.
func (e *HostKeyError) Error() string {
	got := "has no host key of a pinned type"
	if e.Got != nil {
		got = "shows host key " + fingerprint(e.Got)
	}
	want := make([]string, len(e.Want))
	for i, k := range e.Want {
		want[i] = fingerprint(k)
	}
	return fmt.Sprintf("host key mismatch: %s (%s) %s, pinned is %s: another machine answers, or its keys were made anew",
		e.Server, e.Address, got, strings.Join(want, ", "))
}

func fingerprint(k ssh.PublicKey) string { return k.Type() + " " + ssh.FingerprintSHA256(k) }

// pinned accepts the account's pinned host keys and no other.
func (a account) pinned(_ string, _ net.Addr, key ssh.PublicKey) error {
	for _, k := range a.HostKeys {
		if bytes.Equal(k.Marshal(), key.Marshal()) {
			return nil
		}
	}
	return &HostKeyError{Server: a.Name, Address: a.Address, Got: key, Want: a.HostKeys}
}

// hostKeyAlgorithms asks the server for a key of a type that is pinned, or it may well show another.
func (a account) hostKeyAlgorithms() []string {
	var algorithms []string
	for _, k := range a.HostKeys {
		switch k.Type() {
		case ssh.KeyAlgoRSA:
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			algorithms = append(algorithms, k.Type())
		}
	}
	return algorithms
}

const (
	hostKeysBegin = "-----BEGIN SSH HOST KEY KEYS-----"
	hostKeysEnd   = "-----END SSH HOST KEY KEYS-----"
)

var hostKeyLine = regexp.MustCompile(`(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) AAAA[A-Za-z0-9+/=]+`)

// ParseHostKeys finds the host keys that cloud-init prints on the console (cloud-init's
// write-ssh-key-fingerprints). The last complete block wins, for the keys may be made anew by a later
// boot; one that is cut off is still being printed. Lines that are no key are passed over: kernel
// messages come in between. It gives nil if there is no complete block.
func ParseHostKeys(console []byte) []ssh.PublicKey {
	end := bytes.LastIndex(console, []byte(hostKeysEnd))
	if end < 0 {
		return nil
	}
	begin := bytes.LastIndex(console[:end], []byte(hostKeysBegin))
	if begin < 0 {
		return nil
	}
	var keys []ssh.PublicKey
	seen := map[string]bool{}
	for line := range bytes.Lines(console[begin:end]) {
		found := hostKeyLine.Find(line)
		if found == nil {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(found)
		if err != nil || seen[string(key.Marshal())] {
			continue
		}
		seen[string(key.Marshal())] = true
		keys = append(keys, key)
	}
	return keys
}
