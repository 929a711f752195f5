package environment

import (
	"errors"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// What a wait met last is told with the time-out: the cause is found in the first line, which is stored.
func TestTimeoutTellsWhatWasMetLast(t *testing.T) {
	t.Parallel()
	err := timedOut(verdict.Errorf(verdict.CloudDown, "web-1", "no answer"))
	first, _, _ := strings.Cut(err.Error(), "\n")
	if !errors.Is(err, errTimeout) || verdict.CauseOf(errors.New(first)) != verdict.CloudDown || verdict.CauseOf(err) != verdict.CloudDown {
		t.Errorf("%v", err)
	}
	if err := timedOut(nil); !errors.Is(err, errTimeout) {
		t.Errorf("%v", err)
	}
}
