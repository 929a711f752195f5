// Command hallmark-probe looks at the server it runs on and says what it found, as JSON in the
// schema of package probe: goss checks, troubled log lines of this boot, units that are not well. It is one
// static binary, delivered to a server under test; it changes nothing, and of itself it opens no
// connection (a goss check may).
//
//	hallmark-probe validate --spec FILE [--vars FILE] [--stretch FACTOR]
//	hallmark-probe logs --since-boot [--rules-file FILE]
//	hallmark-probe units
//
// Exit code: 0 nothing to complain about, 1 a check, line or unit is bad, 2 wrong use or a broken
// specification (the answer's "broken" says what is wrong with it).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/hallmark-ci/hallmark/internal/probe"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const usage = `usage: hallmark-probe validate --spec FILE [--vars FILE] [--stretch FACTOR]
       hallmark-probe logs --since-boot [--rules-file FILE]
       hallmark-probe units
`

// run does one verb, writes its answer to stdout and gives the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return probe.ExitBroken
	}
	flags := flag.NewFlagSet("hallmark-probe "+args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	var do func() (answer any, code int)
	switch args[0] {
	case "validate":
		spec := flags.String("spec", "", "goss file, YAML or JSON")
		vars := flags.String("vars", "", "variables of the goss file, YAML or JSON")
		stretch := flags.Float64("stretch", 1, "how much longer everything takes here, as on a busy host: so much longer are time-outs")
		do = func() (any, int) { return validate(*spec, *vars, *stretch) }
	case "logs":
		flags.Bool("since-boot", true, "lines of this boot (there is no other choice yet)")
		rules := flags.String("rules-file", "", "JSON of probe.Rules: what the product excuses, and by what Hallmark is known")
		do = func() (any, int) { return logs(ctx, *rules) }
	case "units":
		do = func() (any, int) { return units(ctx) }
	default:
		fmt.Fprint(stderr, usage)
		return probe.ExitBroken
	}
	if err := flags.Parse(args[1:]); err != nil {
		return probe.ExitBroken
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "unexpected argument %q\n%s", flags.Arg(0), usage)
		return probe.ExitBroken
	}
	answer, code := do()
	if err := json.NewEncoder(stdout).Encode(answer); err != nil {
		fmt.Fprintln(stderr, "write the answer:", err)
		return probe.ExitBroken
	}
	return code
}
