package seal

import (
	"os"
	"testing"
	"testing/fstest"
)

func BenchmarkCheck(b *testing.B) {
	program, err := os.ReadFile("/proc/self/exe") // a few MB of what is on disks: code, words, zeros
	if err != nil {
		b.Fatal(err)
	}
	disk := fstest.MapFS{"opt/program": {Data: program, Mode: 0o755}}
	b.SetBytes(int64(len(program)))
	for b.Loop() {
		if _, err := Check(b.Context(), disk, []string{"a secret of the build", "another one of it"}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
