package base

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// HostLock is the file that keeps builds on one host apart, also those of different installations.
const HostLock = "/run/hallmark/base.lock"

// lock makes this the one build; the lock goes with the process, so nothing stale can stay.
func (b Builder) lock(ctx context.Context) (release func(), err error) {
	name := b.Lock
	if name == "" {
		name = HostLock
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("lock the base build: %w", err)
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the base build: %w", err)
	}
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		switch err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return func() { _ = file.Close() }, nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("lock the base build: %w", err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for another base build: %w", context.Cause(ctx)), file.Close())
		case <-again.C:
		}
	}
}
