package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// publishing makes this the only one at work on publications, in this process and others: between the
// publishing of an image and the move of the channel nobody may find that no channel holds it. The end of
// the process gives it back. Without wait release is nil if somebody else is at it.
func publishing(ctx context.Context, parts Parts, wait bool) (release func(), err error) {
	return lock(ctx, parts, parts.Config.PublishFile(), syscall.LOCK_EX, wait)
}

// copying keeps copies of images from being taken for left over until the channel has moved that they
// are made for. Many may hold it at once, for as long as copies take; who has it may go on to publishing,
// not the other way round.
func copying(ctx context.Context, parts Parts) (release func(), err error) {
	return lock(ctx, parts, parts.Config.CopyFile(), syscall.LOCK_SH, true)
}

// uncopied keeps others from copying; release is nil if somebody does.
func uncopied(ctx context.Context, parts Parts) (release func(), err error) {
	return lock(ctx, parts, parts.Config.CopyFile(), syscall.LOCK_EX, false)
}

func lock(ctx context.Context, parts Parts, name string, how int, wait bool) (release func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock publications: %w", err)
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for said := false; ; said = true {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { unlock(f) }, nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		case !wait:
			return nil, f.Close()
		case !said:
			parts.Log.Warn("another process publishes images: this one waits for it")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for others that publish: %w", ctx.Err()), f.Close())
		case <-tick.C:
		}
	}
}

// unlock does not leave it to closing the file: a child process that is just being made shares the lock
// until it runs its own program.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}
