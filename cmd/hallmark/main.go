// Command hallmark is the daemon and the command line: flags, wiring, signals and exit codes. What
// it does lives in the packages that it wires.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/report"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Exit codes (DESIGN.md section 8).
const (
	exitDone         = 0
	exitFailed       = 1
	exitUsage        = 2
	exitInconclusive = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	c := &cli{out: screenOn(os.Stdout), errOut: screenOn(os.Stderr), providers: providers}
	code := c.execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// execute does one command and gives its exit code.
func (c *cli) execute(ctx context.Context, args []string) int {
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !c.begun {
		err = usageError{err} // cobra's own words about commands, arguments and flags
	}
	if err != nil && !errors.Is(err, errSaid) {
		c.complain(err)
	}
	return exitCode(err)
}

// complain tells people an error, without codes of causes.
func (c *cli) complain(err error) {
	fmt.Fprintln(c.errOut, "hallmark:", report.Plain(err.Error()))
}

// errSaid is wrapped by errors that were shown already.
var errSaid = errors.New("said")

// verdictError ends a command whose answer was a verdict other than passed.
type verdictError struct{ verdict verdict.Verdict }

func (v verdictError) Error() string   { return v.verdict.String() }
func (v verdictError) Is(e error) bool { return e == errSaid }

// usageError is wrong use: a flag, an argument, a name that does not exist.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode is the one place where an error becomes an exit code. An error that nothing explains is
// inconclusive: it says nothing about the product.
func exitCode(err error) int {
	var judged verdictError
	var wrongUse usageError
	var wrongFile *config.Error
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &judged):
		if judged.verdict == verdict.Failed {
			return exitFailed
		}
		return exitInconclusive
	case errors.As(err, &wrongUse), errors.As(err, &wrongFile):
		return exitUsage
	case verdict.CauseOf(err) == verdict.CheckFailed:
		return exitFailed
	}
	return exitInconclusive
}
