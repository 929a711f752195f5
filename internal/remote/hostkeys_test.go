package remote

import (
	"bytes"
	"testing"

	"golang.org/x/crypto/ssh"
)

const (
	keyA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMk+pd64Dd6IND2sRkAV8VRh12eJ/skmWyJAGYrDpBNW"
	keyB = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBC1YOPL/KJiuTJwSuzn1j0ZHSL8160x1UIGXDSmM6sllzXD7HoCEGXmWcI79wlZ6gfpaTwbnycpBJ8mFHikT4fg="
)

func TestParseHostKeys(t *testing.T) {
	a, b := newSigner(t).PublicKey(), newSigner(t).PublicKey()
	line := func(k ssh.PublicKey) string { return string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(k))) }
	block := func(lines string) string { return hostKeysBegin + "\n" + lines + hostKeysEnd + "\n" }
	for _, test := range []struct {
		name, console string
		want          []ssh.PublicKey
	}{
		{"empty", "", nil},
		{"no block", "login: \n" + line(a) + "\n", nil},
		{"one block", "boot\n" + block(line(a)+" root@web-1\n"+line(b)+" root@web-1\n") + "login: ", []ssh.PublicKey{a, b}},
		{"carriage returns", "-----BEGIN SSH HOST KEY KEYS-----\r\n" + line(a) + " root@x\r\n-----END SSH HOST KEY KEYS-----\r\n", []ssh.PublicKey{a}},
		{"prefixes", "[    5.1] cloud-init[91]: " + hostKeysBegin + "\n[    5.2] cloud-init[91]: " + line(a) + " root@x\n[    5.2] cloud-init[91]: " + hostKeysEnd + "\n", []ssh.PublicKey{a}},
		{"kernel in between", block("[ 7.1] eth0: link up\n" + line(a) + "\nssh-rsa AAAAnonsense\n"), []ssh.PublicKey{a}},
		{"the last block wins", block(line(a)+"\n") + "reboot\n" + block(line(b)+"\n"), []ssh.PublicKey{b}},
		{"still being printed", block(line(a)+"\n") + hostKeysBegin + "\n" + line(b) + "\n", []ssh.PublicKey{a}},
		{"cut off, then whole", hostKeysBegin + "\n" + line(a) + "\n" + block(line(b)+"\n"), []ssh.PublicKey{b}},
		{"end before begin", hostKeysEnd + "\n" + line(a) + "\n" + hostKeysBegin + "\n", nil},
		{"twice the same", block(line(a) + "\n" + line(a) + "\n"), []ssh.PublicKey{a}},
		{"empty block", block(""), nil},
		{"fingerprints are no keys", "-----BEGIN SSH HOST KEY FINGERPRINTS-----\n256 SHA256:abc root@x (ED25519)\n-----END SSH HOST KEY FINGERPRINTS-----\n", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ParseHostKeys([]byte(test.console))
			if len(got) != len(test.want) {
				t.Fatalf("%d keys, want %d", len(got), len(test.want))
			}
			for i, k := range got {
				if !bytes.Equal(k.Marshal(), test.want[i].Marshal()) {
					t.Errorf("key %d is %s, want %s", i, fingerprint(k), fingerprint(test.want[i]))
				}
			}
		})
	}
}

func FuzzParseHostKeys(f *testing.F) {
	f.Add([]byte(hostKeysBegin + "\n" + keyA + " root@web-1\n" + keyB + "\n" + hostKeysEnd))
	f.Add([]byte(hostKeysEnd + hostKeysBegin))
	f.Add([]byte("[ 1.0] " + hostKeysBegin + "\r\nssh-rsa AAAA====\r\n" + hostKeysEnd + hostKeysBegin))
	f.Fuzz(func(t *testing.T, console []byte) {
		for _, k := range ParseHostKeys(console) {
			// Whatever is found can be pinned and asked for.
			if _, err := ssh.ParsePublicKey(k.Marshal()); err != nil {
				t.Errorf("%s: %v", k.Type(), err)
			}
			if len((account{Server: Server{HostKeys: []ssh.PublicKey{k}}}).hostKeyAlgorithms()) == 0 {
				t.Errorf("%s can't be asked for", k.Type())
			}
		}
	})
}
