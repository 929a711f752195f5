package base

import (
	"strings"
	"testing"
)

func TestParseStatus(t *testing.T) {
	got, err := parseStatus(strings.NewReader(`Package: adduser
Status: install ok installed
Version: 3.134
Description: add users
 Version: 9 is only text

Package: gone
Status: deinstall ok config-files
Version: 1

Package: last
Status: hold ok installed
Version: 2:1.0-1`))
	if err != nil || len(got) != 2 || got["adduser"] != "3.134" || got["last"] != "2:1.0-1" {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add("Package: a\nStatus: install ok installed\nVersion: 1\n\n")
	f.Add("Package: \nStatus: x\n\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseStatus(strings.NewReader(text))
		if err == nil && got[""] != "" {
			t.Errorf("a package without a name: %v", got)
		}
	})
}

func TestTail(t *testing.T) {
	said := &tail{keep: 2}
	for _, part := range []string{"I: one\nI: t", "wo\n", "E: thr", "ee\n"} {
		_, _ = said.Write([]byte(part))
	}
	if got := said.errors(); got != "E: three" {
		t.Errorf("errors %q", got)
	}
	if len(said.lines) != 2 || string(said.lines[0]) != "I: two\n" {
		t.Errorf("kept %q", said.lines)
	}
}
