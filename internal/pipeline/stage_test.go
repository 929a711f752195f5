package pipeline_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

// An error without end, of any bytes, is told as far as a ledger takes it, and what is left out is said.
func TestDetailOfAnyError(t *testing.T) {
	t.Parallel()
	got := pipeline.DetailOf(errors.New("a\x00b\xff" + strings.Repeat("ü", 1<<20)))
	if len(got) > 66_000 || !strings.HasPrefix(got, "a\ufffdb\ufffdü") || !strings.HasSuffix(got, "bytes more)") || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %.20q … %q", len(got), got, got[len(got)-30:])
	}
	if got := pipeline.DetailOf(errors.New("short")); got != "short" {
		t.Error(got)
	}
}
