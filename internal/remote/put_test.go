package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func TestPut(t *testing.T) {
	_, s := newSession(t, nil)
	for _, test := range []struct {
		name, file, content string
		mode                uint32
		sudo                bool
	}{
		{"plain", "a", "hello\n", 0o644, false},
		{"empty", "b", "", 0o600, false},
		{"as root", "c", "secret::x: y\n", 0o600, true},
		{"binary and large", "d", strings.Repeat("\x00\xff\n0\n", 600<<10), 0o755, false},
		{"a name that wants quoting", "it's a $(file) -n*", "x", 0o640, false},
		{"a name like an option", "-rf", "x", 0o640, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, test.file)
			if err := s.Put(t.Context(), file, strings.NewReader(test.content), test.mode, test.sudo); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(file)
			if err != nil || string(got) != test.content {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if info, _ := os.Stat(file); info.Mode().Perm() != os.FileMode(test.mode) {
				t.Errorf("mode %v", info.Mode())
			}
			alone(t, dir)
		})
	}
}

// alone checks that nothing but one file is left in dir.
func alone(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// A file is replaced by all of the new content or not at all.
func TestPutThatIsCutOff(t *testing.T) {
	for _, test := range []struct {
		name  string
		end   func(*sshd) error
		cause verdict.Cause
	}{
		{"the content fails", func(*sshd) error { return io.ErrUnexpectedEOF }, verdict.Unexplained},
		{"the connection breaks", func(web *sshd) error { web.drop(); return io.EOF }, verdict.Transport},
	} {
		t.Run(test.name, func(t *testing.T) {
			web, s := newSession(t, nil)
			dir := t.TempDir()
			file := filepath.Join(dir, "conf")
			if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			content := io.MultiReader(bytes.NewReader(make([]byte, 2*frameSize)), readerFunc(func() error { return test.end(web) }))
			err := s.Put(t.Context(), file, content, 0o644, false)
			wantCause(t, err, test.cause)
			web.stop() // and wait for its commands
			if got, err := os.ReadFile(file); string(got) != "old" {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			alone(t, dir)
		})
	}
}

// A put that is ended at any of its steps leaves nothing, also if that step does not mind a signal.
func TestPutThatIsCutOffAtAStep(t *testing.T) {
	for _, tool := range []string{"cat", "chmod", "sync", "mv"} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			web, s := newSession(t, nil)
			tools, dir := t.TempDir(), t.TempDir()
			slow := fmt.Sprintf("#!/bin/bash\ntrap '' TERM\ntouch %s/begun\nsleep 1\nexec /usr/bin/%s \"$@\"\n", tools, tool)
			if err := os.WriteFile(filepath.Join(tools, tool), []byte(slow), 0o755); err != nil {
				t.Fatal(err)
			}
			web.set(func(b *behaviour) { b.path = tools + ":" + b.path })
			var dropped sync.WaitGroup
			dropped.Go(func() {
				for t.Context().Err() == nil {
					if _, err := os.Stat(filepath.Join(tools, "begun")); err == nil {
						web.drop()
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
			err := s.Put(t.Context(), filepath.Join(dir, "conf"), strings.NewReader("new"), 0o644, false)
			wantCause(t, err, verdict.Transport)
			dropped.Wait()
			web.stop() // and wait for its commands
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

type readerFunc func() error

func (f readerFunc) Read([]byte) (int, error) { return 0, f() }

func TestPutThatCannotBe(t *testing.T) {
	_, s := newSession(t, nil)
	dir := t.TempDir()
	for name, file := range map[string]string{
		"relative": "etc/x", "a directory by name": dir + "/", "a directory": dir, "no directory": dir + "/none/x", "nothing": "",
	} {
		err := s.Put(t.Context(), file, strings.NewReader("x"), 0o644, false)
		wantCause(t, err, verdict.Unexplained)
		if err == nil || !strings.Contains(err.Error(), "put ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Put(t.Context(), dir+"/x", strings.NewReader("x"), 0o100644, false); err == nil {
		t.Error("a mode with a file type in it was taken")
	}
}

func TestGatherPassesOnErrors(t *testing.T) {
	broken := errors.New("broken")
	g := gather{io.MultiReader(iotest.OneByteReader(strings.NewReader("abc")), iotest.ErrReader(broken))}
	p := make([]byte, 10)
	if n, err := g.Read(p); n != 3 || !errors.Is(err, broken) {
		t.Errorf("%d bytes, %v", n, err)
	}
}
