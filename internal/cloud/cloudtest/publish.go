package cloudtest

import (
	"maps"
	"slices"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// publish: offered for channels, named by them, and back again; each verb reaches a state.
func (s *story) publish(t *testing.T) {
	publisher := cloud.CapabilitiesOf(s.Provider).Publisher
	if publisher == nil {
		t.Skip("not a Publisher")
	}
	ctx, id := t.Context(), s.captured.ID
	offered := func(want ...string) {
		t.Helper()
		got, err := publisher.Published(ctx, s.Owner)
		must(t, err, "list what is published")
		channels, is := got[id]
		if is != (len(want) > 0) || !slices.Equal(channels, want) || len(got) > 1 {
			t.Errorf("published: %v, want the image for %v", got, want)
		}
	}
	named := func(channel string, want map[string]cloud.ImageID) {
		t.Helper()
		got, err := publisher.Pointed(ctx, channel)
		must(t, err, "list what is named")
		if !maps.Equal(got, want) {
			t.Errorf("channel %s names %v, want %v", channel, got, want)
		}
	}

	offered()
	named("contract-a", nil)
	wantCode(t, publisher.Point(ctx, "contract-a", "web", id), "point to what is not published", cloud.CodeRefused)
	for range 2 {
		must(t, publisher.Copy(ctx, id, []string{"contract-a"}), "copy")
	}
	wantCode(t, publisher.Copy(ctx, s.nowhere(), []string{"contract-a"}), "copy what is not there", cloud.CodeNotFound)
	wantCode(t, publisher.Point(ctx, "contract-a", "web", id), "point to what is only copied", cloud.CodeRefused)
	for range 2 {
		must(t, publisher.Publish(ctx, id, []string{"contract-a"}), "publish")
		offered("contract-a")
	}
	wantCode(t, publisher.Point(ctx, "contract-b", "web", id), "point to what is published for another channel", cloud.CodeRefused)
	must(t, publisher.Copy(ctx, id, []string{"contract-b", "contract-a"}), "copy for two channels")
	for range 2 {
		must(t, publisher.Publish(ctx, id, []string{"contract-b", "contract-a"}), "publish for two channels")
		offered("contract-a", "contract-b")
	}
	for range 2 {
		must(t, publisher.Point(ctx, "contract-b", "web", id), "point")
		named("contract-b", map[string]cloud.ImageID{"web": id})
	}
	must(t, publisher.Point(ctx, "contract-b", "db", id), "point another role")
	named("contract-b", map[string]cloud.ImageID{"web": id, "db": id})
	named("contract-a", nil)
	named("contract", nil) // part of a name is no name

	wantCode(t, s.Provider.DeleteImage(ctx, id), "delete a published image", cloud.CodeRefused)
	wantCode(t, publisher.Publish(ctx, id, nil), "take back what a channel names", cloud.CodeConflict)
	if other, err := publisher.Published(ctx, s.Owner+"-other"); err != nil || len(other) > 0 {
		t.Errorf("published by another: %v, %v", other, err)
	}
	wantCode(t, publisher.Publish(ctx, s.nowhere(), []string{"contract-a"}), "publish what is not there", cloud.CodeNotFound)
	must(t, publisher.Publish(ctx, s.nowhere(), nil), "take back what is not there")

	for range 2 {
		must(t, publisher.Point(ctx, "contract-b", "web", ""), "point to nothing")
	}
	named("contract-b", map[string]cloud.ImageID{"db": id})
	must(t, publisher.Point(ctx, "contract-b", "db", ""), "point to nothing")
	named("contract-b", nil)
	for range 2 {
		must(t, publisher.Publish(ctx, id, nil), "take back")
		offered()
	}
}

// nowhere is the id of an image that is not there: the captured one's with other digits.
func (s *story) nowhere() cloud.ImageID {
	id := []byte(s.captured.ID)
	for i := len(id) - 1; i >= len(id)-3; i-- {
		id[i] = '0' + (id[i]+1)%10
	}
	return cloud.ImageID(id)
}

// revoke: an image that nobody launches any more, and that is still there to be removed.
func (s *story) revoke(t *testing.T) {
	publisher := cloud.CapabilitiesOf(s.Provider).Publisher
	if publisher == nil {
		t.Skip("not a Publisher")
	}
	ctx, id, channels := t.Context(), s.captured.ID, []string{"contract-a"}
	must(t, publisher.Copy(ctx, id, channels), "copy")
	must(t, publisher.Publish(ctx, id, channels), "publish")
	must(t, publisher.Point(ctx, "contract-a", "web", id), "point")
	wantCode(t, publisher.Revoke(ctx, id), "revoke what a channel names", cloud.CodeConflict)
	must(t, publisher.Point(ctx, "contract-a", "web", ""), "point to nothing")
	for range 2 {
		must(t, publisher.Revoke(ctx, id), "revoke")
	}
	must(t, publisher.Revoke(ctx, s.nowhere()), "revoke what is not there")

	list, err := s.Provider.Images(ctx, cloud.Filter{Owner: s.Owner})
	must(t, err, "list images")
	if slices.ContainsFunc(list, func(i cloud.Image) bool { return i.ID == id }) {
		t.Error("a revoked image is listed as if it could be launched")
	}
	spec := s.serverSpec("contract-revoked", id)
	spec.Name, spec.Address, spec.Volumes = never, s.network.Addresses[never], nil
	_, err = s.Provider.Launch(ctx, spec)
	wantCode(t, err, "launch from a revoked image", cloud.CodeNotFound)
	wantCode(t, publisher.Copy(ctx, id, channels), "copy a revoked image", cloud.CodeRefused)
	wantCode(t, publisher.Publish(ctx, id, channels), "publish a revoked image", cloud.CodeRefused)
	wantCode(t, publisher.Point(ctx, "contract-a", "web", id), "point to a revoked image", cloud.CodeRefused)
	if _, found := s.look(t, s.server.ID); !found {
		t.Error("the server that it had launched is gone")
	}
	for range 2 {
		must(t, publisher.Publish(ctx, id, nil), "take back a revoked image")
	}
	got, err := publisher.Published(ctx, s.Owner)
	if err != nil || len(got) > 0 {
		t.Errorf("published: %v, %v", got, err)
	}
}
