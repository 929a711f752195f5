package product

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// Repository is the users' git repository, as a mirror of our own that is fetched from it: git reads somebody
// else's configuration only on the other side of the fetch. It is only read. It is safe for concurrent use. What
// a user has to put right (no repository, an unknown branch) is config.Errors.
type Repository struct {
	source config.Product
	mirror string // folder
	mu     sync.Mutex
	broken map[string]string // branches and tags of the last fetch that point to a commit that is not there: the commit
	ca     string            // certificates of authorities in tests; "" : the machine's
}

// Open fetches a repository into the mirror, a folder that is made if it is not there.
func Open(ctx context.Context, source config.Product, mirror string) (*Repository, error) {
	r := &Repository{source: source, mirror: mirror}
	if err := r.fetch(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Mirrored is Open as it was fetched last, without asking for more.
func Mirrored(source config.Product, mirror string) (*Repository, error) {
	if !present(filepath.Join(mirror, "HEAD")) {
		return nil, fmt.Errorf("mirror of %s: %w", source.Repository, fs.ErrNotExist)
	}
	return &Repository{source: source, mirror: mirror}, nil
}

func rootCause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func (r *Repository) wrong(key, problem, remedy string) error {
	return config.Errors{{File: r.source.Repository, Key: key, Problem: problem, Remedy: remedy}}
}

// command prepares git in the mirror.
func (r *Repository) command(ctx context.Context, args ...string) *exec.Cmd {
	return gitCommand(ctx, []string{"--git-dir", r.mirror}, nil, args...)
}

// git runs one command in the mirror and gives what it printed.
func (r *Repository) git(ctx context.Context, args ...string) (string, error) {
	return gitOutput(ctx, r.command(ctx, args...), args[0])
}

// Branches lists the branches that have commits, by name. Like every question about branches it fetches first.
func (r *Repository) Branches(ctx context.Context) ([]string, error) {
	if err := r.fetch(ctx); err != nil {
		return nil, err
	}
	return r.branches(ctx)
}

func (r *Repository) branches(ctx context.Context) ([]string, error) {
	out, err := r.git(ctx, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads")
	if err != nil {
		return nil, err
	}
	all := strings.Fields(out)
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.broken {
		if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok && !slices.Contains(all, branch) {
			all = append(all, branch)
		}
	}
	slices.Sort(all)
	return all, nil
}

// Head gives the newest commit of a branch, as its full id. The name is that of the branch itself:
// what git would take beside it (main~1, heads/main, a pattern) is unknown here.
func (r *Repository) Head(ctx context.Context, branch string) (string, error) {
	if err := r.fetch(ctx); err != nil {
		return "", err
	}
	r.mu.Lock()
	gone, broken := r.broken["refs/heads/"+branch]
	r.mu.Unlock()
	if broken {
		return "", fmt.Errorf("branch %s of %s points to commit %s, which is not there: see `git fsck`, or wait until it was fetched", branch, r.source.Repository, gone)
	}
	commit, err := r.git(ctx, "show-ref", "--verify", "--hash", "refs/heads/"+branch)
	var failed *gitError
	if err == nil || !errors.As(err, &failed) {
		return commit, err
	}
	branches, err := r.branches(ctx)
	if err != nil {
		return "", err
	}
	key := "branch " + branch
	if len(branches) == 0 {
		return "", r.wrong(key, "has no commits", "commit the product to it first")
	}
	return "", r.wrong(key, "does not exist", config.Hint(branch, branches))
}

// Commit gives the full id of a commit that is named by a branch, a tag or an abbreviated id.
func (r *Repository) Commit(ctx context.Context, name string) (string, error) {
	if !IsCommitID(name) || !r.has(ctx, name) {
		if err := r.fetch(ctx); err != nil {
			return "", err
		}
	}
	commit, err := r.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	if failed := (*gitError)(nil); errors.As(err, &failed) && failed.exit == missing {
		return "", r.wrong("commit "+name, "does not exist", "give a branch, a tag or a commit's id")
	}
	if err == nil && !IsCommitID(commit) {
		return "", fmt.Errorf("git rev-parse says that %q is commit %q", name, commit)
	}
	return commit, err
}

// has reports whether a commit is in the mirror.
func (r *Repository) has(ctx context.Context, commit string) bool {
	_, err := r.git(ctx, "cat-file", "-e", commit+"^{commit}")
	return err == nil
}

var commitID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// IsCommitID reports whether text is a commit's full id, and no abbreviation or name of one.
func IsCommitID(text string) bool { return commitID.MatchString(text) }

// Contains reports whether a commit is newer or the other one itself: whether it has the other in its
// history. Both are full ids. A commit that is no longer in the repository is in no history.
func (r *Repository) Contains(ctx context.Context, newer, older string) (bool, error) {
	for _, commit := range []string{newer, older} {
		_, err := r.git(ctx, "cat-file", "-e", commit+"^{commit}")
		if failed := (*gitError)(nil); errors.As(err, &failed) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	_, err := r.git(ctx, "merge-base", "--is-ancestor", older, newer)
	if failed := (*gitError)(nil); errors.As(err, &failed) && failed.exit == missing {
		return false, nil
	}
	return err == nil, err
}

// OnBranch reports whether a commit, given by its full id, is on a branch: its head or in its history.
func (r *Repository) OnBranch(ctx context.Context, commit, branch string) (bool, error) {
	head, err := r.Head(ctx, branch)
	if err != nil {
		return false, err
	}
	return r.Contains(ctx, head, commit)
}

// Change is one commit, as far as people ask what changed.
type Change struct {
	Commit  string    `json:"commit"`
	Author  string    `json:"author"`
	At      time.Time `json:"at"`
	Subject string    `json:"subject"`
}

// Log gives the commits that are in to and not in from, newest first, at most limit. An empty from
// means all of to's history.
func (r *Repository) Log(ctx context.Context, from, to string, limit int) ([]Change, error) {
	span := to
	if from != "" {
		span = from + ".." + to
	}
	out, err := r.git(ctx, "log", "--no-show-signature", fmt.Sprintf("--max-count=%d", limit), "--format=%H%x1f%an%x1f%aI%x1f%s", "--end-of-options", span, "--")
	if err != nil || out == "" {
		return nil, err
	}
	var changes []Change
	for line := range strings.SplitSeq(out, "\n") {
		f := strings.SplitN(line, "\x1f", 4)
		if len(f) != 4 {
			return nil, fmt.Errorf("git log printed %q", line)
		}
		at, err := time.Parse(time.RFC3339, f[2])
		if err != nil {
			return nil, fmt.Errorf("git log: %w", err)
		}
		changes = append(changes, Change{Commit: f[0], Author: f[1], At: at.UTC(), Subject: f[3]})
	}
	return changes, nil
}

// LiveReleases lists the branches that match the glob (path.Match) and are not retired, the lowest
// version first: release/1.9 before release/1.10.
func (r *Repository) LiveReleases(ctx context.Context, glob string, retired []string) ([]string, error) {
	branches, err := r.Branches(ctx)
	if err != nil {
		return nil, err
	}
	return liveReleases(branches, glob, retired)
}

// present reports whether something is at path.
func present(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// beside makes a temporary directory on the same file system as path.
func beside(path string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(filepath.Dir(path), ".new-")
}
