package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// Names, reasons and subjects that others wrote do not steer the terminal, by whichever way they leave.
func TestOutputDoesNotSteerTheTerminal(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2Jtext\r\u009b5m\u202e"
	for name, write := range map[string]func(*cli){
		"table":    func(c *cli) { _ = c.show(nil, []string{"id", "reason"}, [][]string{{"r1", "one\n" + evil + "\ttwo"}}) },
		"sentence": func(c *cli) { c.say("%s was cancelled: %s\n", evil, "text") },
		"error":    func(c *cli) { c.complain(errors.New(evil)) },
		"json":     func(c *cli) { c.format = "json"; _ = c.show(map[string]string{"reason": evil}, nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			write(&cli{out: &b, errOut: &b})
			if strings.ContainsAny(b.String(), "\x1b\x07\r\u009b\u202e") || !strings.Contains(b.String(), "text") {
				t.Errorf("printed %q", b.String())
			}
		})
	}
}
