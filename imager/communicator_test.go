package imager

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/hallmark-ci/hallmark/internal/remote"
)

func TestCommunicator(t *testing.T) {
	dir := t.TempDir()
	c := NewCommunicator(t.Context(), localSession{})

	var out bytes.Buffer
	cmd := &packersdk.RemoteCmd{Command: "cat; exit 3", Stdin: strings.NewReader("hello"), Stdout: &out}
	if err := c.Start(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	if code := cmd.Wait(); code != 3 || out.String() != "hello" {
		t.Errorf("exit %d, said %q", code, out.String())
	}

	file := filepath.Join(dir, "it's a file")
	if err := c.Upload(file, strings.NewReader("content"), nil); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := c.Download(file, &got); err != nil || got.String() != "content" {
		t.Errorf("downloaded %q, %v", got.String(), err)
	}
	if err := c.Download(filepath.Join(dir, "nothing"), &got); err == nil {
		t.Error("download of what is not there gave no error")
	}
}

func TestCommunicatorFolders(t *testing.T) {
	src, remoteDir, back := t.TempDir(), t.TempDir(), t.TempDir()
	for name, content := range map[string]string{"a": "1", "sub/b": "2", "skip/c": "3"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(src, name), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	c := NewCommunicator(t.Context(), localSession{})
	if err := c.UploadDir(remoteDir, src, []string{"skip"}); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(remoteDir, filepath.Base(src))
	if err := c.UploadDir(remoteDir, src+"/", []string{"skip/"}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{there, remoteDir} {
		if body, err := os.ReadFile(filepath.Join(dir, "sub/b")); err != nil || string(body) != "2" {
			t.Errorf("%s: %q, %v", dir, body, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "skip")); err == nil {
			t.Errorf("%s: what was excluded is there", dir)
		}
	}
	if target, err := os.Readlink(filepath.Join(there, "link")); err != nil || target != "a" {
		t.Errorf("link to %q, %v", target, err)
	}
	if err := c.DownloadDir(there, back, []string{"b"}); err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(filepath.Join(back, "a")); err != nil || string(body) != "1" {
		t.Errorf("downloaded %q, %v", body, err)
	}
	if _, err := os.Stat(filepath.Join(back, "sub/b")); err == nil {
		t.Error("what was excluded came back")
	}
	if err := c.DownloadDir(filepath.Join(there, "nothing"), back, nil); err == nil {
		t.Error("download of a folder that is not there gave no error")
	}
}

// What a machine sends stays in the folder it is meant for.
func TestDownloadDirKeepsInside(t *testing.T) {
	dir := t.TempDir()
	evil := filepath.Join(dir, "evil.tar")
	line := "cd " + dir + " && mkdir in && echo x >outside && cd in && tar -P -cf " + evil + " ../outside"
	if result, err := (localSession{}).Run(t.Context(), remote.Command{Line: line}); err != nil || result.Exit != 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	file, err := os.Open(evil)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	into := filepath.Join(dir, "deep", "into")
	if err := os.MkdirAll(into, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unpack(file, into); err == nil {
		t.Error("a file outside was accepted")
	}
	if _, err := os.Stat(filepath.Join(dir, "deep", "outside")); err == nil {
		t.Error("a file was written outside")
	}
}
