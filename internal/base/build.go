package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Builder builds bases on this host. It needs root, mmdebstrap and zstd; `make host` brings them.
type Builder struct {
	Dir   string           // where it works: some 1.5 GiB while it does, nothing after
	Lock  string           // file that keeps builds apart; "": HostLock
	Cache string           // URL of a package cache to build through, "" for none; leaves no trace in the base
	Now   func() time.Time // nil: time.Now
}

// Built is a root file system that is ready for cloud.BaseImporter.
type Built struct {
	Path     string            // tarball, zstd; the caller removes it
	Recipe   string            // the recipe's digest
	Packages map[string]string // name → version
	Date     time.Time         // the moment of which its package versions are
	Took     time.Duration
}

// Build makes a root file system by the recipe, from nothing but packages. What mmdebstrap says goes
// to out, line by line. One host builds one base at a time; others wait. An error about packages that
// cannot be fetched has the cause verdict.PackageSource.
func (b Builder) Build(ctx context.Context, r Recipe, out io.Writer) (Built, error) {
	release, err := b.lock(ctx)
	if err != nil {
		return Built{}, err
	}
	defer release()
	return b.build(ctx, r, out)
}

// build is Build by whoever holds the lock.
func (b Builder) build(ctx context.Context, r Recipe, out io.Writer) (_ Built, err error) {
	built := Built{Path: filepath.Join(b.Dir, "rootfs.tar.zst"), Recipe: r.Digest(), Date: b.now().UTC().Truncate(time.Second)}
	work := filepath.Join(b.Dir, "work")
	// What a killed build left: its mounts went with its namespace, so these are only files.
	if err := errors.Join(os.RemoveAll(work), os.RemoveAll(built.Path), os.MkdirAll(filepath.Join(work, "tmp"), 0o755)); err != nil {
		return Built{}, fmt.Errorf("build a reference base: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := r.write(work); err != nil {
		return Built{}, fmt.Errorf("build a reference base: %w", err)
	}
	if err := b.mmdebstrap(ctx, r, work, built.Path, out); err != nil {
		return Built{}, errors.Join(err, os.RemoveAll(built.Path))
	}
	status, err := os.Open(filepath.Join(work, "status"))
	if err != nil {
		return Built{}, fmt.Errorf("build a reference base: %w", err)
	}
	defer status.Close()
	if built.Packages, err = parseStatus(status); err != nil {
		return Built{}, err
	}
	built.Took = b.now().Sub(built.Date)
	return built, nil
}

func (b Builder) mmdebstrap(ctx context.Context, r Recipe, work, target string, out io.Writer) error {
	args := []string{
		"--mount", "--propagation", "private", // nothing stays mounted, however this ends
		"mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar",
		"--architectures=" + r.Architecture, "--include=" + strings.Join(r.Packages, ","),
		"--customize-hook=sync-in " + filepath.Join(work, "root") + " /",
		"--customize-hook=" + filepath.Join(work, "finish.sh"),
		"--customize-hook=download /var/lib/dpkg/status " + filepath.Join(work, "status"),
	}
	if b.Cache != "" {
		args = append(args, fmt.Sprintf("--aptopt=Acquire::http::Proxy %q", b.Cache))
	}
	args = append(append(args, r.Suite, target), r.Sources...)
	said := &tail{keep: 40}
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8",
		"TMPDIR=" + filepath.Join(work, "tmp"), "ZSTD_NBTHREADS=0", "ZSTD_CLEVEL=1",
	}
	cmd.Stdout = io.MultiWriter(out, said)
	cmd.Stderr = cmd.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("build a reference base: %w", context.Cause(ctx))
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("build a reference base: %w; run `make host`", err)
	case os.Geteuid() != 0:
		return fmt.Errorf("building a reference base needs root: %w", err)
	}
	text := said.errors()
	if fetchTrouble(text) {
		return verdict.Errorf(verdict.PackageSource, "", "build a reference base: mmdebstrap: %w\n%s", err, text)
	}
	return fmt.Errorf("build a reference base: mmdebstrap: %w\n%s", err, text)
}

// write lays the recipe's files out for mmdebstrap's hooks.
func (r Recipe) write(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "finish.sh"), []byte(r.Finish), 0o755); err != nil {
		return err
	}
	for name, content := range r.Files {
		path := filepath.Join(dir, "root", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (b Builder) now() time.Time {
	if b.Now == nil {
		return time.Now()
	}
	return b.Now()
}

// fetchTrouble recognises apt's ways to say that a mirror gave no package.
func fetchTrouble(text string) bool {
	for _, sign := range []string{"Failed to fetch", "Could not connect", "Could not resolve", "Unable to connect", "Connection failed"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// tail keeps the last lines written to it.
type tail struct {
	keep  int
	lines [][]byte
}

func (t *tail) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if n := len(t.lines); n > 0 && !bytes.HasSuffix(t.lines[n-1], []byte("\n")) {
			t.lines[n-1] = append(t.lines[n-1], line...)
			continue
		}
		t.lines = append(t.lines, bytes.Clone(line))
	}
	t.lines = t.lines[max(0, len(t.lines)-t.keep):]
	return len(p), nil
}

// errors gives the lines that say what went wrong, or all if none does so.
func (t *tail) errors() string {
	var bad [][]byte
	for _, line := range t.lines {
		if bytes.HasPrefix(line, []byte("E: ")) || bytes.HasPrefix(line, []byte("Err:")) || bytes.HasPrefix(line, []byte("W: ")) {
			bad = append(bad, line)
		}
	}
	if bad == nil {
		bad = t.lines
	}
	return strings.TrimSpace(string(bytes.Join(bad, nil)))
}
