package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// The live tree moves the cursor, and nothing else on its screen does.
func TestTreeDoesNotSteer(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2Jtext\r\u202e\u200b\nforged"
	var b bytes.Buffer
	tree := &tree{out: &b, columns: 100, rows: 30}
	for range 2 {
		tree.update(night(going(evil, 1, evil)))
	}
	if got := strings.ReplaceAll(b.String(), "\x1b[1A\x1b[J", ""); strings.ContainsAny(got, "\x1b\x07\r\u202e\u200b") || strings.Contains(got, "\nforged") || strings.Count(got, "text") < 2 {
		t.Errorf("%q", got)
	}
}

// Names, reasons and subjects that others wrote do not steer the terminal, by whichever way they leave.
func TestOutputDoesNotSteerTheTerminal(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2Jtext\r\u009b5m\u202e\u2066\u200b\U000e0041"
	for _, stream := range []func(*cli) io.Writer{func(c *cli) io.Writer { return c.out }, func(c *cli) io.Writer { return c.errOut }} {
		var b bytes.Buffer
		fmt.Fprint(stream(&cli{out: screenOn(&b), errOut: screenOn(&b)}), evil)
		if b.String() != "text5m" {
			t.Errorf("written as it is: %q", b.String())
		}
	}
	for name, write := range map[string]func(*cli){
		"table": func(c *cli) {
			_ = c.show(nil, []string{"id", "reason"}, [][]string{{"r1\nforged", "one\nforged\n" + evil + "\ttwo"}})
		},
		"sentence": func(c *cli) { c.say("%s was cancelled: %s\n", evil, "text") },
		"log":      func(c *cli) { c.log().Warn("m", "err", errors.New(evil+"\nlevel=ERROR"), evil, 1) },
		"lines": func(c *cli) {
			(&plain{out: c.out, notes: true, told: map[string]string{}}).update(night(going(evil+"\nforged", 1, evil+"\nforged")))
		},
		"help":  func(c *cli) { _ = c.execute(context.Background(), []string{evil}) },
		"error": func(c *cli) { c.complain(errors.New(evil)) },
		"json":  func(c *cli) { c.format = "json"; _ = c.show(map[string]string{"reason": evil}, nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			write(&cli{out: screenOn(&b), errOut: screenOn(&b)})
			if strings.ContainsAny(b.String(), "\x1b\x07\r\u009b\u202e\u2066\u200b\U000e0041") || strings.Contains(b.String(), "\nforged") || strings.Contains(b.String(), "\nlevel=ERROR") || !strings.Contains(b.String(), "text") {
				t.Errorf("printed %q", b.String())
			}
		})
	}
}
