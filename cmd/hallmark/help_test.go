package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every command says what it does and shows an example that begins with its own name, and every flag
// says what it is for.
func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	every(new(cli).root(), func(cmd *cobra.Command) {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			if cmd.Short == "" {
				t.Error("says nothing in the list of commands")
			}
			for line := range strings.Lines(cmd.Example) {
				if !strings.HasPrefix(line, "  "+cmd.CommandPath()) {
					t.Errorf("the example %q is none of %s", line, cmd.CommandPath())
				}
			}
			if cmd.Example == "" {
				t.Error("has no example")
			}
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if f.Usage == "" {
					t.Errorf("--%s says nothing", f.Name)
				}
			})
			var out bytes.Buffer
			c := &cli{out: screenOn(&out), errOut: screenOn(&out)}
			if code := c.execute(t.Context(), append(strings.Fields(cmd.CommandPath())[1:], "--help")); code != exitDone {
				t.Errorf("--help: exit code %d", code)
			}
			if !strings.Contains(out.String(), cmd.Example) {
				t.Errorf("--help shows no example:\n%s", out.String())
			}
		})
	})
}

// Every command takes a number of arguments that it knows.
func TestNoCommandTakesJustAnything(t *testing.T) {
	t.Parallel()
	every(new(cli).root(), func(cmd *cobra.Command) {
		var out bytes.Buffer
		c := &cli{out: screenOn(&out), errOut: screenOn(&out)}
		code := c.execute(t.Context(), append(strings.Fields(cmd.CommandPath())[1:], "a", "b", "c", "d"))
		if code != exitUsage || out.Len() == 0 {
			t.Errorf("%s a b c d: exit code %d, want %d\n%s", cmd.CommandPath(), code, exitUsage, out.String())
		}
	})
}

// every visits a command and all below it.
func every(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		every(sub, visit)
	}
}
