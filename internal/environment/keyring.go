package environment

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/product"
)

// seedSecret is the reserved secret that holds the bastion's TOTP seed.
const seedSecret = "totp_seed"

// keyring holds everything of an environment that must not be read by others. It is stored sealed,
// and prints as ***.
type keyring struct {
	admin     ed25519.PrivateKey
	bootstrap ed25519.PrivateKey
	seed      string // base32
	secrets   map[string]string
}

func (keyring) String() string       { return "***" }
func (keyring) GoString() string     { return "***" }
func (keyring) LogValue() slog.Value { return slog.StringValue("***") }

// storedKeyring is the form that goes into ledger.Environment.Sealed and nowhere else.
type storedKeyring struct {
	Admin     []byte            `json:"admin"` // seed of the ed25519 key
	Bootstrap []byte            `json:"bootstrap"`
	Seed      string            `json:"seed"`
	Secrets   map[string]string `json:"secrets"`
}

func newKeyring(p *product.Product) (keyring, error) {
	k := keyring{secrets: map[string]string{}}
	var err error
	if _, k.admin, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return keyring{}, fmt.Errorf("make the admin's key: %w", err)
	}
	if _, k.bootstrap, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return keyring{}, fmt.Errorf("make the bootstrap key: %w", err)
	}
	var seed [20]byte // 160 bits, as RFC 4226 section 4 recommends
	if _, err := rand.Read(seed[:]); err != nil {
		return keyring{}, fmt.Errorf("make the TOTP seed: %w", err)
	}
	k.seed = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(seed[:])
	return k, k.complete(p)
}

// complete makes the secrets of a product that are not there yet, and keeps the others: new code may
// name new ones.
func (k *keyring) complete(p *product.Product) error {
	for _, s := range p.Secrets {
		if k.secrets[s.Name] != "" {
			continue
		}
		value, err := password(s.Length)
		if err != nil {
			return fmt.Errorf("make the secret %s: %w", s.Name, err)
		}
		k.secrets[s.Name] = value
	}
	return nil
}

// password makes n letters and digits; no other signs, for these go through many a configuration file.
func password(n int) (string, error) {
	const signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if n <= 0 {
		n = 32
	}
	var b strings.Builder
	for b.Len() < n {
		var random [64]byte
		if _, err := rand.Read(random[:]); err != nil {
			return "", err
		}
		for _, r := range random {
			// Bytes beyond a multiple of 62 would make the first signs more likely.
			if int(r) < 256-256%len(signs) && b.Len() < n {
				b.WriteByte(signs[int(r)%len(signs)])
			}
		}
	}
	return b.String(), nil
}

func (k keyring) seal() ([]byte, error) {
	if k.admin == nil {
		return nil, nil
	}
	return json.Marshal(storedKeyring{
		Admin: k.admin.Seed(), Bootstrap: k.bootstrap.Seed(), Seed: k.seed, Secrets: k.secrets,
	})
}

func openKeyring(sealed []byte) (keyring, error) {
	var s storedKeyring
	// The cause is left out: it may quote what it could not read.
	if err := json.Unmarshal(sealed, &s); err != nil || len(s.Admin) != ed25519.SeedSize || len(s.Bootstrap) != ed25519.SeedSize {
		return keyring{}, fmt.Errorf("its sealed keys cannot be read")
	}
	if s.Secrets == nil {
		s.Secrets = map[string]string{}
	}
	return keyring{
		admin: ed25519.NewKeyFromSeed(s.Admin), bootstrap: ed25519.NewKeyFromSeed(s.Bootstrap),
		seed: s.Seed, secrets: s.Secrets,
	}, nil
}

func signer(key ed25519.PrivateKey) (ssh.Signer, error) {
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, fmt.Errorf("use a generated key: %w", err)
	}
	return s, nil
}

// publicLine is a key as authorized_keys has it.
func publicLine(key ed25519.PrivateKey) (string, error) {
	s, err := signer(key)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey()))), nil
}
