package report_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/report"
)

var update = flag.Bool("update", false, "write golden files anew")

func TestGolden(t *testing.T) {
	for name, data := range map[string]report.Data{
		"green": green(), "red": red(), "unfit": unfit(), "working": working(),
	} {
		r := report.New(data)
		for file, write := range map[string]func(*bytes.Buffer) error{
			name + ".txt":        func(b *bytes.Buffer) error { return report.Text(b, r, report.Terminal{}) },
			name + "-narrow.txt": func(b *bytes.Buffer) error { return report.Text(b, r, report.Terminal{Width: 60}) },
			name + "-color.txt":  func(b *bytes.Buffer) error { return report.Text(b, r, report.Terminal{Width: 80, Color: true}) },
			name + ".json":       func(b *bytes.Buffer) error { return report.JSON(b, r) },
			name + ".html":       func(b *bytes.Buffer) error { return report.HTML(b, r) },
		} {
			t.Run(file, func(t *testing.T) {
				var got bytes.Buffer
				if err := write(&got); err != nil {
					t.Fatal(err)
				}
				golden(t, filepath.Join("testdata", file), got.Bytes())
			})
		}
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; look at it and run with -update if it is right. Got:\n%s", path, got)
	}
}
