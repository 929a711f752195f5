package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	attestation "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// PredicateType names the form of the evidence below. A change of its fields is a new version.
const PredicateType = "https://hallmark-ci.github.io/evidence/v1"

// manifest is what an image set consists of; its digest is the subject of the evidence.
type manifest struct {
	Branch string                   `json:"branch"`
	Commit string                   `json:"commit"`
	Base   string                   `json:"base"`
	Images map[string]manifestImage `json:"images"` // by role
}

type manifestImage struct {
	Provider   string `json:"provider"`
	ProviderID string `json:"provider_id"`
	Digest     string `json:"digest"`
}

// Manifest is the canonical JSON of an image set (keys sorted, no spaces) and its sha256.
func Manifest(branch, commit string, images []ledger.Image) (body []byte, digest string, err error) {
	m := manifest{Branch: branch, Commit: commit, Images: map[string]manifestImage{}}
	for _, image := range images {
		if m.Base == "" {
			m.Base = image.BaseDigest
		}
		if m.Base != image.BaseDigest {
			return nil, "", fmt.Errorf("image set of %s: role %s was built from base %s, others from %s", commit, image.Role, image.BaseDigest, m.Base)
		}
		m.Images[image.Role] = manifestImage{Provider: image.Provider, ProviderID: image.ProviderID, Digest: image.Digest}
	}
	if body, err = json.Marshal(m); err != nil {
		return nil, "", fmt.Errorf("manifest: %w", err)
	}
	sum := sha256.Sum256(body)
	return body, hex.EncodeToString(sum[:]), nil
}

// Statement is the in-toto Statement v1 for one image set: its subject is the digest of the set's
// manifest, its predicate the run, the gate's decision, what servers were launched from, and every result
// that it rests on.
// See https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md.
func Statement(set ledger.ImageSet, body []byte, run ledger.Run, decision Decision, launches []ledger.LaunchedFrom, results []ledger.Result, now time.Time) ([]byte, error) {
	predicate := map[string]any{
		"run": run.ID, "kind": run.Kind, "branch": run.Branch, "commit": run.Commit, "base": run.Base,
		"actor": run.Actor, "started": run.Started, "judged": now.UTC(), "manifest": json.RawMessage(body),
		"decision": decision, "launches": launches, "results": evidenceResults(results),
	}
	raw, err := json.Marshal(predicate)
	if err != nil {
		return nil, fmt.Errorf("evidence of %s: %w", set.ID, err)
	}
	fields := &structpb.Struct{}
	if err := protojson.Unmarshal(raw, fields); err != nil {
		return nil, fmt.Errorf("evidence of %s: %w", set.ID, err)
	}
	statement := &attestation.Statement{
		Type:          attestation.StatementTypeUri,
		Subject:       []*attestation.ResourceDescriptor{{Name: set.ID, Digest: map[string]string{"sha256": set.Digest}}},
		PredicateType: PredicateType,
		Predicate:     fields,
	}
	if err := statement.Validate(); err != nil {
		return nil, fmt.Errorf("evidence of %s: %w", set.ID, err)
	}
	return protojson.Marshal(statement)
}

// evidenceResults keeps what was decided on, without the lines that the ledger has.
func evidenceResults(results []ledger.Result) []map[string]any {
	var list []map[string]any
	for _, r := range results {
		entry := map[string]any{
			"scenario": r.Scenario, "origin": r.Origin, "phase": r.Phase, "tier": r.Tier,
			"suite": r.Suite, "test": r.Test, "server": r.Server, "attempt": r.Attempt, "outcome": r.Outcome,
		}
		if r.Ticket != "" {
			entry["ticket"] = r.Ticket
		}
		list = append(list, entry)
	}
	return list
}
