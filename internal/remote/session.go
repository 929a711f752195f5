package remote

import (
	"context"
	"io"
	"time"
)

// Command is one command for a server's shell.
type Command struct {
	Line    string        // what bash gets
	Sudo    bool          // run as root by sudo -n -- bash -s
	Stdin   io.Reader     // may be nil
	Output  io.Writer     // gets stdout and stderr as they come; may be nil
	Timeout time.Duration // 0: only the context's. The remote process is ended with it
	Bound   int           // bytes kept of each stream in Result, the last ones; 0: 1 MiB
}

// Result of a command that ran. A non-zero exit is a Result, not an error.
type Result struct {
	Exit      int
	Stdout    []byte
	Stderr    []byte
	Truncated bool
	Duration  time.Duration
}

// Session is one admin on one server. An error is a *verdict.Error whose cause names the leg that
// broke: bastion, second factor, server login, sudo or transport.
type Session interface {
	Run(ctx context.Context, cmd Command) (Result, error)
	// Put writes a file, as root if sudo, with the given mode, atomically.
	Put(ctx context.Context, path string, content io.Reader, mode uint32, sudo bool) error
	Close() error
}
