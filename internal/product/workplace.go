package product

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/sandbox"
)

// checkLimits bound one command of the check stage, with room for a product's unit tests.
var checkLimits = sandbox.Limits{Memory: 2 << 30, Processes: 512, Files: 1 << 30, OpenFiles: 1024, Output: 16 << 20}

// command is a command of the check stage. It works on a copy of the product that is thrown away, in a sandbox:
// what it leaves there is neither what is tested on servers nor what the next command finds.
type command struct {
	product *Product
	env     []string // beside what every sandbox has
	timeout time.Duration
	out     io.Writer
	memory  func() memory
}

// run says how the command failed, "" if it did not; an error means that it could not be run, or that
// something else than itself ended it. All that it started ends with it, and when its time is over, of which a
// busy host's counts only what work was given.
func (c command) run(ctx context.Context, args ...string) (failed string, err error) {
	limited, cancel := host.WithTimeout(ctx, c.timeout, nil)
	defer cancel()
	limits := checkLimits
	limits.CPU = c.timeout * time.Duration(runtime.NumCPU())
	before, begin := c.memory(), time.Now()
	ended, err := sandbox.Run(limited, sandbox.Command{Args: args, Source: c.product.Dir, Env: c.env, Out: c.out, Limits: limits})
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil && limited.Err() != nil:
		return fmt.Sprintf("did not end within %s", c.timeout), nil
	case err != nil:
		return "", err
	case ended.Over != "":
		return ended.Over, nil
	case ended.Exit == 0:
		return "", nil
	}
	if short := shortage(before, c.memory(), time.Since(begin), ended.Exit == killed); short != "" {
		return "", fmt.Errorf("%s failed with exit status %d, but %s: nothing is said about the product; give this host more memory, or fewer lanes at once", args[0], ended.Exit, short)
	}
	return fmt.Sprintf("failed with exit status %d", ended.Exit), nil
}

// killed is the exit status of a command that SIGKILL ended.
const killed = 128 + 9
