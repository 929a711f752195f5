package ledger

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/crypto/nacl/secretbox"

	"github.com/hallmark-ci/hallmark/internal/atomicfile"
)

const (
	keyBytes   = 32
	nonceBytes = 24
)

// keyFile holds the key of sealed columns. It lies beside the database and not in it, so a copy of
// the database alone gives no secret away.
type keyFile struct{ path string }

// load gives the key, and makes it if make is set and there is none.
func (k keyFile) load(mayMake bool) (key [keyBytes]byte, err error) {
	unlock, err := lockFile(k.path + ".lock")
	if err != nil {
		return key, err
	}
	defer unlock()
	raw, err := os.ReadFile(k.path)
	switch {
	case err == nil && len(raw) == keyBytes:
		copy(key[:], raw)
		return key, nil
	case err == nil:
		return key, fmt.Errorf("%s holds %d bytes, not %d: restore it from a backup", k.path, len(raw), keyBytes)
	case errors.Is(err, fs.ErrNotExist) && mayMake:
		return k.create()
	case errors.Is(err, fs.ErrNotExist):
		return key, fmt.Errorf("%s is missing: without it what was sealed cannot be read", k.path)
	}
	return key, err
}

// create writes a new key.
func (k keyFile) create() (key [keyBytes]byte, err error) {
	if _, err := rand.Read(key[:]); err != nil {
		return key, err
	}
	return key, atomicfile.Write(k.path, key[:], 0o600)
}

// seal encrypts for one subject: what was sealed for another cannot be opened in its place.
func (k keyFile) seal(subject string, plain []byte) ([]byte, error) {
	if len(plain) == 0 {
		return []byte{}, nil
	}
	master, err := k.load(true)
	if err != nil {
		return nil, err
	}
	var nonce [nonceBytes]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	key := keyFor(master, subject)
	return secretbox.Seal(nonce[:], plain, &nonce, &key), nil
}

// open decrypts what seal gave for the same subject.
func (k keyFile) open(subject string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	if len(sealed) < nonceBytes {
		return nil, errors.New("sealed column is too short")
	}
	master, err := k.load(false)
	if err != nil {
		return nil, err
	}
	key, nonce := keyFor(master, subject), [nonceBytes]byte(sealed)
	plain, ok := secretbox.Open(nil, sealed[nonceBytes:], &nonce, &key)
	if !ok {
		return nil, fmt.Errorf("sealed column does not open with %s: it belongs to another key", k.path)
	}
	return plain, nil
}

func keyFor(master [keyBytes]byte, subject string) (key [keyBytes]byte) {
	mac := hmac.New(sha256.New, master[:])
	mac.Write([]byte(subject))
	mac.Sum(key[:0])
	return key
}
