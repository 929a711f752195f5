package incus_test

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"
)

// rootfs writes the smallest root file system that Incus takes. Nobody starts it.
func rootfs(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rootfs.tar")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(file)
	content := []byte("contract\n")
	for _, step := range []func() error{
		func() error { return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755}) },
		func() error {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/issue", Mode: 0o644, Size: int64(len(content))})
		},
		func() error { _, err := w.Write(content); return err },
		w.Close, file.Close,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
