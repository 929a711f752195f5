package pipeline_test

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/sim"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

// stall is a ledger and a simulated cloud, without anything that works on runs.
type stall struct {
	t     *testing.T
	sim   *sim.Cloud
	parts pipeline.Parts
	log   bytes.Buffer
	// before is asked before every call to the cloud.
	before func(cloud.Call) error
}

func newStall(t *testing.T) *stall {
	t.Helper()
	s := &stall{t: t, sim: sim.New(sim.Options{})}
	s.parts = pipeline.Parts{Log: slog.New(slog.NewTextHandler(&s.log, nil)), Now: time.Now}
	s.parts.Config.Owner, s.parts.Config.StateDir, s.parts.Config.Provider.Kind = owner, t.TempDir(), "sim"
	s.parts.Cloud = cloud.Intercept(s.sim, func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
		if s.before != nil {
			if err := s.before(call); err != nil {
				return err
			}
		}
		return do(ctx)
	})
	var err error
	if s.parts.Ledger, err = ledger.Open(t.Context(), s.parts.Config.LedgerFile()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.parts.Ledger.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *stall) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// set records an image set that has its evidence. Its images are there.
func (s *stall) set(id string, roles ...string) {
	s.t.Helper()
	ctx, l := s.t.Context(), s.parts.Ledger
	s.must(l.CreateRun(ctx, ledger.Run{ID: id, Kind: pipeline.Nightly, Branch: "main"}))
	images := map[string]string{}
	for _, role := range roles {
		name := id + "-" + role
		made, err := s.sim.AddBase(ctx, cloud.ImageSpec{Name: name, Tags: cloud.Tags{Owner: owner, Run: id}})
		s.must(err)
		s.must(l.RecordImage(ctx, ledger.Image{ID: name, Run: id, Role: role, Branch: "main", Provider: "sim", ProviderID: string(made.ID)}))
		images[role] = name
	}
	s.must(l.RecordSet(ctx, ledger.ImageSet{ID: id, Run: id, Branch: "main", Images: images, Digest: id}))
	s.must(l.RecordEvidence(ctx, ledger.Evidence{Set: id, Run: id, Statement: []byte("{}"), UpgradedFrom: []string{"a", "b", "c"}}))
}

// image is an image of a set, as the cloud has it.
func (s *stall) image(id string) cloud.ImageID {
	s.t.Helper()
	image, err := s.parts.Ledger.Image(s.t.Context(), id)
	s.must(err)
	return cloud.ImageID(image.ProviderID)
}

func (s *stall) move(channel, set, kind string) error {
	c, err := s.parts.Ledger.Channel(s.t.Context(), channel)
	s.must(err)
	_, err = pipeline.PublishAndMove(s.t.Context(), s.parts, ledger.Move{Channel: channel, To: set, Kind: kind, Actor: "ada"}, c.Version)
	return err
}

func (s *stall) align() {
	s.t.Helper()
	s.must(pipeline.Align(s.t.Context(), s.parts))
}

// tells checks what the cloud names for a channel: "web=a-web", in the order of roles.
func (s *stall) tells(channel string, want ...string) {
	s.t.Helper()
	named, err := s.sim.Pointed(s.t.Context(), channel)
	s.must(err)
	var got []string
	for _, role := range slices.Sorted(maps.Keys(named)) {
		got = append(got, role+"="+s.names()[named[role]])
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("%s names %v, want %v", channel, got, want)
	}
}

// offers checks what is published: "a-web: development production".
func (s *stall) offers(want ...string) {
	s.t.Helper()
	published, err := s.sim.Published(s.t.Context(), owner)
	s.must(err)
	var got []string
	for id, channels := range published {
		got = append(got, s.names()[id]+": "+strings.Join(channels, " "))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		s.t.Errorf("published %v, want %v", got, want)
	}
}

func (s *stall) names() map[cloud.ImageID]string {
	images, err := s.sim.Images(s.t.Context(), cloud.Filter{Owner: owner})
	s.must(err)
	names := map[cloud.ImageID]string{}
	for _, i := range images {
		names[i.ID] = i.Name
	}
	return names
}

// publish publishes an image by another hand.
func (s *stall) publish(id string, channels ...string) {
	s.t.Helper()
	s.must(s.sim.Copy(s.t.Context(), s.image(id), channels))
	s.must(s.sim.Publish(s.t.Context(), s.image(id), channels))
}

// changes are the calls since n that change something.
func (s *stall) changes(n int) (changes []string) {
	for _, r := range s.sim.Records()[n:] {
		if r.Call.Verb == cloud.VerbPublish || r.Call.Verb == cloud.VerbPoint {
			changes = append(changes, r.Call.String())
		}
	}
	return changes
}
