package pipeline

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func TestStatement(t *testing.T) {
	images := []ledger.Image{
		{Role: "web", Provider: "sim", ProviderID: "i2", Digest: "d2", BaseDigest: "b"},
		{Role: "db", Provider: "sim", ProviderID: "i1", Digest: "d1", BaseDigest: "b"},
	}
	body, digest, err := Manifest("main", "c0ffee", images)
	if err != nil {
		t.Fatal(err)
	}
	images[0], images[1] = images[1], images[0]
	if again, same, _ := Manifest("main", "c0ffee", images); !bytes.Equal(again, body) || same != digest {
		t.Error("the manifest depends on the order of images")
	}
	images[0].BaseDigest = "other"
	if _, _, err := Manifest("main", "c0ffee", images); err == nil {
		t.Error("images of two bases made one set")
	}

	set := ledger.ImageSet{ID: "set-1", Digest: digest}
	results := []ledger.Result{{ResultKey: ledger.ResultKey{Scenario: "verify", Test: "x", Attempt: 1}, Outcome: ledger.Passed}}
	launches := []ledger.LaunchedFrom{{Scenario: "verify", Origin: "prebuilt", Attempt: 1, Set: "set-1", Images: map[string]string{"web": "i2"}}}
	text, err := Statement(set, body, ledger.Run{ID: "r"}, Decision{Verdict: verdict.Passed}, launches, results, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Type          string `json:"_type"`
		PredicateType string
		Subject       []struct{ Digest map[string]string }
		Predicate     struct {
			Decision struct{ Verdict string }
			Manifest manifest
			Launches []ledger.LaunchedFrom
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Type != "https://in-toto.io/Statement/v1" || got.PredicateType != PredicateType ||
		got.Subject[0].Digest["sha256"] != digest || got.Predicate.Decision.Verdict != "passed" ||
		got.Predicate.Manifest.Images["web"].Digest != "d2" ||
		len(got.Predicate.Launches) != 1 || got.Predicate.Launches[0].Images["web"] != "i2" {
		t.Errorf("statement %s", text)
	}
}
