package cloudtest

import (
	"maps"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// must ends the chapter on an error.
func must(t *testing.T, err error, doing string) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", doing, err)
	}
}

// wantCode says that a call had to fail with one of these codes.
func wantCode(t *testing.T, err error, doing string, codes ...cloud.Code) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want %v", doing, codes)
		return
	}
	for _, code := range codes {
		if cloud.CodeOf(err) == code {
			return
		}
	}
	t.Errorf("%s: code %q, want %v (%v)", doing, cloud.CodeOf(err), codes, err)
}

// wantTags compares tags as a provider gives them back.
func wantTags(t *testing.T, what string, got, want cloud.Tags) {
	t.Helper()
	if got.Owner != want.Owner || got.Run != want.Run || got.Environment != want.Environment ||
		!got.Deadline.Equal(want.Deadline) || !maps.Equal(got.Extra, want.Extra) {
		t.Errorf("tags of %s: %+v, want %+v", what, got, want)
	}
}
