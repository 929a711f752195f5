package product

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hallmark-ci/hallmark/internal/atomicfile"
	"github.com/hallmark-ci/hallmark/internal/host"
)

// fetchTimeout is for one fetch; the first one of a large repository over a slow line is the longest.
const fetchTimeout = 30 * time.Minute

// fetched are the branches and tags of a repository, under their own names.
var fetched = []string{"+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"}

// fetch brings the mirror up to date: what the users' repository has, by its own git on its own side. Of a
// repository on this machine that side runs as its owner.
func (r *Repository) fetch(ctx context.Context) error {
	ctx, cancel := host.WithTimeout(ctx, fetchTimeout, nil)
	defer cancel()
	other, err := r.otherSide()
	if err != nil {
		return err
	}
	release, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := r.init(ctx); err != nil {
		return err
	}
	broken := map[string]string{}
	for {
		err := r.fetchBut(ctx, other, broken)
		failed := (*gitError)(nil)
		if errors.As(err, &failed) {
			more, unknown := r.brokenRefs(ctx, other, failed.said, broken)
			switch {
			case unknown != nil:
				return unknown
			case more:
				continue
			}
			return r.unfetched(failed.said)
		}
		if err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.broken = broken
		return nil
	}
}

// fetchBut fetches all but some branches and tags.
func (r *Repository) fetchBut(ctx context.Context, other []string, but map[string]string) error {
	var refs []string
	for name := range but {
		refs = append(refs, "^"+name)
	}
	args := slices.Concat(r.transport(), []string{"fetch", "--quiet", "--prune", "--force", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"},
		other, []string{"--", r.source.Repository}, fetched, refs)
	cmd := r.command(ctx, args...)
	cmd.Env = append(cmd.Env, r.access()...)
	_, err := gitOutput(ctx, cmd, "fetch")
	return err
}

// notThere is what the other side says of a branch that points to a commit that it does not have.
var notThere = regexp.MustCompile(`not our ref ([0-9a-f]{40,64})`)

// brokenRefs adds the branches and tags because of which a fetch was refused: one of them costs the others
// nothing. It reports whether there are more of them than before.
func (r *Repository) brokenRefs(ctx context.Context, other []string, said string, broken map[string]string) (more bool, err error) {
	m := notThere.FindStringSubmatch(said)
	if m == nil {
		return false, nil
	}
	cmd := r.command(ctx, slices.Concat(r.transport(), []string{"ls-remote", "--quiet", "--refs", "--heads", "--tags"}, other, []string{"--", r.source.Repository})...)
	cmd.Env = append(cmd.Env, r.access()...)
	all, err := gitOutput(ctx, cmd, "ls-remote")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(all) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if _, known := broken[name]; id == m[1] && !known {
			broken[name], more = id, true
		}
	}
	return more, nil
}

// unfetched says what to do about a fetch that git refused.
func (r *Repository) unfetched(said string) error {
	local := !r.source.Remote()
	switch {
	case local && strings.Contains(said, "does not appear to be a git repository"):
		return r.wrong("", "is no git repository", "give the directory of one, or make it one with `git init` and a commit")
	case local && strings.Contains(said, "dubious ownership"):
		return r.wrong("", "belongs to more than one user, and git may run what each of them wrote there", "give all of it to one: chown -R USER "+r.source.Repository)
	case strings.Contains(said, r.mirror+"/") || strings.Contains(said, "No space left"):
		return fmt.Errorf("fetch %s into %s: %s (the mirror can be removed: it is made anew)", r.source.Repository, r.mirror, said)
	case local:
		return r.wrong("", "cannot be read: "+said, "see `git fsck` there")
	}
	return r.wrong("", "cannot be fetched: "+said, "look at product.repository and the keys for it (ssh-key, ssh-agent, known-hosts, credentials); `git ls-remote` with them should answer")
}

// otherSide gives fetch's arguments for the other side of a repository on this machine.
func (r *Repository) otherSide() ([]string, error) {
	if r.source.Remote() {
		return nil, nil
	}
	path := r.source.Repository
	o, err := ownerOf(path)
	switch {
	case err != nil:
		return nil, r.wrong("", "cannot be read: "+rootCause(err).Error(), "give the directory of a git repository")
	case o.us():
		return nil, nil
	case os.Geteuid() != 0:
		return nil, r.wrong("", "belongs to "+o.name+", and git may run what its owner wrote there", "run hallmark as "+o.name+" or as root, or give its address, as ssh://host"+path)
	}
	groups := "--clear-groups"
	if o.known {
		groups = "--init-groups"
	}
	return []string{"--upload-pack", fmt.Sprintf("setpriv --reuid %d --regid %d %s --no-new-privs git-upload-pack", o.uid, o.gid, groups)}, nil
}

// access is what the environment says of the way to a repository elsewhere: ssh with the key, the agent and the
// known hosts of the configuration, and nothing of the account's own.
func (r *Repository) access() []string {
	if !r.source.Remote() {
		return nil
	}
	ssh := []string{"ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15",
		"-o", "GlobalKnownHostsFile=/dev/null", "-o", quoted(`UserKnownHostsFile="` + or(r.source.KnownHosts, "/dev/null") + `"`), "-o", "PermitLocalCommand=no", "-o", "ForwardAgent=no"}
	if r.source.SSHKey != "" {
		ssh = append(ssh, "-i", quoted(r.source.SSHKey), "-o", "IdentitiesOnly=yes")
	} else {
		ssh = append(ssh, "-o", "IdentityFile=none")
	}
	env := []string{"GIT_SSH_COMMAND=" + strings.Join(ssh, " "), "GIT_SSH_VARIANT=ssh"}
	if r.source.SSHAgent != "" {
		env = append(env, "SSH_AUTH_SOCK="+r.source.SSHAgent)
	}
	return env
}

// transport are git's settings for https: a connection that stands still is given up, and the credentials are
// those of the configuration's file. git reads it anew for each fetch.
func (r *Repository) transport() []string {
	settings := []string{"-c", "http.lowSpeedLimit=100", "-c", "http.lowSpeedTime=60", "-c", "http.followRedirects=false"}
	if r.source.Credentials != "" {
		settings = append(settings, "-c", "credential.helper=store --file="+quoted(r.source.Credentials))
	}
	if r.ca != "" {
		settings = append(settings, "-c", "http.sslCAInfo="+r.ca)
	}
	return settings
}

// quoted is a text as one word of a shell: git gives these commands to one.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func or(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}

// init makes the mirror if there is none, without hooks, and removes the locks that a git of ours left when it
// was killed: we hold the lock for all of it.
func (r *Repository) init(ctx context.Context) error {
	if !present(filepath.Join(r.mirror, "HEAD")) {
		fresh, err := beside(r.mirror)
		if err != nil {
			return fmt.Errorf("make the mirror: %w", err)
		}
		defer os.RemoveAll(fresh)
		if _, err := gitOutput(ctx, gitCommand(ctx, nil, nil, "init", "--quiet", "--bare", "--template=", "--initial-branch=main", fresh), "init"); err != nil {
			return fmt.Errorf("make the mirror: %w", err)
		}
		if err := os.RemoveAll(r.mirror); err != nil { // half of one
			return fmt.Errorf("make the mirror: %w", err)
		}
		return atomicfile.Rename(fresh, r.mirror)
	}
	return filepath.WalkDir(r.mirror, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && e.Name() == "objects":
			return fs.SkipDir
		case !e.IsDir() && strings.HasSuffix(e.Name(), ".lock"):
			return os.Remove(name)
		}
		return nil
	})
}

// lock makes this the one fetch into the mirror, over all processes; it goes with the process.
func (r *Repository) lock(ctx context.Context) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(r.mirror), 0o700); err != nil {
		return nil, fmt.Errorf("make the mirror: %w", err)
	}
	file, err := os.OpenFile(r.mirror+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the mirror: %w", err)
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		switch err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return func() { _ = file.Close() }, nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, errors.Join(fmt.Errorf("lock the mirror: %w", err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for another fetch: %w", context.Cause(ctx)), file.Close())
		case <-again.C:
		}
	}
}
