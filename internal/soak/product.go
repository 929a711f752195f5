package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	product "github.com/hallmark-ci/hallmark/internal/soak/small"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Products.
const (
	small = "small"
	acme  = "acme"
)

// plant is a defect that is put into the small product, and how it shows.
type plant struct {
	name          string
	file          string
	healthy, sick string // what is replaced in the file, by what
	shows         func(ledger.Result) bool
}

// plants are what must be found under every load: a wrong answer, a daemon that takes connections and
// never answers, and a unit that is not ordered after what it needs, which shows at a boot only.
var plants = []plant{
	{
		"a failing check", "puppet/modules/small/files/store.py", `VALUE = b"42\n"`, `VALUE = b"41\n"`,
		func(r ledger.Result) bool {
			return r.Cause == verdict.TestFailed && r.Server == "store-1" && strings.Contains(r.Test, "localhost:8000")
		},
	},
	{
		"a daemon that hangs", "puppet/modules/small/files/store.py", "        self.send_response(200)", "        import time; time.sleep(86400)\n        self.send_response(200)",
		func(r ledger.Result) bool {
			return strings.Contains(r.Test, "store") && (r.Cause == verdict.HealthFailed || r.Cause == verdict.TestTimeout)
		},
	},
	{
		"a race of start order", "puppet/modules/small/templates/daemon.service.epp", "Requires=prepare.service\nAfter=prepare.service network.target", "After=network.target",
		func(r ledger.Result) bool {
			return r.Server != "bastion" && (r.Cause == verdict.TestFailed || r.Cause == verdict.HealthFailed)
		},
	},
}

// names lists the planted defects.
func names() []string {
	var all []string
	for _, p := range plants {
		all = append(all, p.name)
	}
	return all
}

// planted finds a defect, nil for none.
func planted(name string) *plant {
	for i := range plants {
		if plants[i].name == name {
			return &plants[i]
		}
	}
	return nil
}

// makeRepository makes the git repository of a product, with the run's own commit on top, so that nothing
// of an earlier run is taken for this one's.
func makeRepository(ctx context.Context, w work, source, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if w.Product == acme {
		if err := command(ctx, "", filepath.Join(source, "configs/acme/make-repository.sh"), dir); err != nil {
			return err
		}
		return commit(ctx, w, dir)
	}
	if err := product.Write(dir, filepath.Join(source, "configs/acme")); err != nil {
		return err
	}
	if p := planted(w.Plant); p != nil {
		if err := p.into(dir); err != nil {
			return err
		}
	}
	if err := command(ctx, dir, "git", "init", "-q", "-b", "main"); err != nil {
		return err
	}
	return commit(ctx, w, dir)
}

// into puts a defect into a tree of the small product.
func (p *plant) into(dir string) error {
	file := filepath.Join(dir, p.file)
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	sick := bytes.Replace(content, []byte(p.healthy), []byte(p.sick), 1)
	if bytes.Equal(sick, content) {
		return fmt.Errorf("%s: %s has no %q", p.name, p.file, p.healthy)
	}
	return os.WriteFile(file, sick, 0o644)
}

func commit(ctx context.Context, w work, dir string) error {
	if err := command(ctx, dir, "git", "add", "--all"); err != nil {
		return err
	}
	return command(ctx, dir, "git", "-c", "user.name=soak", "-c", "user.email=soak@example.org", "commit", "-q", "--allow-empty", "-m", w.String())
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
