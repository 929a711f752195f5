// Package small is the smallest product that is like others, for tests on real servers that need a product
// and not its breadth: a bastion, a daemon, and a daemon that asks the other one. Its way in (users, sshd,
// second factor) is Acme's.
package small

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed hallmark.yaml puppet suites release
var files embed.FS

// shared is what the product takes from acme, below its puppet/modules/profile: the way in.
var shared = []string{
	"manifests/base.pp", "manifests/sshd.pp", "manifests/totp.pp", "manifests/admin.pp",
	"functions/launched.pp", "templates/sshd.conf.epp", "templates/totp.epp",
}

// Write writes the product's tree to a folder, which it makes. acme is the folder configs/acme.
func Write(dir, acme string) error {
	if err := os.CopyFS(dir, files); err != nil {
		return fmt.Errorf("write the small product: %w", err)
	}
	for _, file := range shared {
		below := filepath.Join("puppet/modules/profile", file)
		content, err := os.ReadFile(filepath.Join(acme, below))
		if err != nil {
			return fmt.Errorf("write the small product: %w", err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, below)), 0o755); err != nil {
			return fmt.Errorf("write the small product: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, below), content, 0o644); err != nil {
			return fmt.Errorf("write the small product: %w", err)
		}
	}
	return nil
}
