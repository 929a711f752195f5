package cloudtest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

func (s *story) imageSpec() cloud.ImageSpec {
	return cloud.ImageSpec{
		Name: s.Owner + "-web", Kind: cloud.Prebuilt, Tags: s.tags("web"),
		Properties: map[string]string{"role": "web", "parent": string(s.Base.ID)},
	}
}

// capture: an image of a stopped server, once by name, found by its tags.
func (s *story) capture(t *testing.T) {
	ctx := t.Context()
	spec := s.imageSpec()
	image, err := s.Provider.Capture(ctx, s.server.ID, spec)
	must(t, err, "capture")
	s.captured = image
	again, err := s.Provider.Capture(ctx, s.server.ID, spec)
	must(t, err, "capture again")
	if again.ID != image.ID {
		t.Errorf("the second capture made another image: %s, want %s", again.ID, image.ID)
	}
	list, err := s.Provider.Images(ctx, cloud.Filter{Owner: s.Owner, Run: "contract-run"})
	must(t, err, "list images")
	at := slices.IndexFunc(list, func(i cloud.Image) bool { return i.ID == image.ID })
	if at < 0 {
		t.Fatalf("a captured image is not listed: %+v", list)
	}
	for _, got := range []cloud.Image{image, list[at]} {
		if got.Name != spec.Name || got.Kind != cloud.Prebuilt || got.Digest == "" || got.SizeBytes <= 0 || got.Created.IsZero() {
			t.Errorf("image %+v: want name, kind, digest, size and creation time", got)
		}
		for k, v := range spec.Properties {
			if got.Properties[k] != v {
				t.Errorf("property %s: %q, want %q", k, got.Properties[k], v)
			}
		}
		wantTags(t, "image", got.Tags, spec.Tags)
	}
	list, err = s.Provider.Images(ctx, cloud.Filter{Owner: s.Owner, Run: "other"})
	if err != nil || len(list) > 0 {
		t.Errorf("images of another run: %v, %v", list, err)
	}
	// A prebuilt image is never a reference base, whatever it is called.
	_, err = s.Provider.ResolveBase(ctx, cloud.BaseSpec{Name: spec.Name})
	wantCode(t, err, "resolve a prebuilt image as a base", cloud.CodeNotFound)
}

// disk: what a stopped server has on it, and nothing of the host.
func (s *story) disk(t *testing.T) {
	ctx := t.Context()
	reader := cloud.CapabilitiesOf(s.Provider).DiskReader
	if reader == nil {
		t.Skip("not a DiskReader")
	}
	enough := errors.New("seen enough")
	err := reader.ReadDisk(ctx, s.server.ID, func(_ context.Context, disk fs.FS) error {
		release, err := fs.ReadFile(disk, "etc/os-release")
		if link, _ := fs.ReadLink(disk, "etc/os-release"); link != "" { // as Debian has it
			release, err = fs.ReadFile(disk, "usr/lib/os-release")
		}
		if err != nil || !bytes.Contains(release, []byte("ID=debian")) {
			t.Errorf("the disk's os-release: %q, %v", release, err)
		}
		if _, err := fs.Stat(disk, "../rootfs"); err == nil {
			t.Error("the disk shows what is beside it")
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Errorf("read a disk: %v, want the error of the one who looks", err)
	}
	_, err = s.Provider.Images(ctx, cloud.Filter{})
	must(t, err, "work on, after a disk was read")
}

// attach: on a running server; both verbs reach a state, and already being there is no error.
func (s *story) attach(t *testing.T) {
	ctx := t.Context()
	for range 2 {
		must(t, s.Provider.DetachVolume(ctx, s.volume.ID), "detach")
	}
	if volume := s.volumeNow(t); volume.Attached != "" {
		t.Errorf("a detached volume is attached to %q", volume.Attached)
	}
	for range 2 {
		must(t, s.Provider.AttachVolume(ctx, s.volume.ID, s.server.ID), "attach")
	}
	if volume := s.volumeNow(t); volume.Attached != s.server.ID {
		t.Errorf("volume is attached to %q, want %q", volume.Attached, s.server.ID)
	}
}

// snapshots: taken once by name, restored into a running server as often as wanted.
func (s *story) snapshots(t *testing.T) {
	snapshotter := cloud.CapabilitiesOf(s.Provider).Snapshotter
	if snapshotter == nil {
		t.Skip("not a Snapshotter")
	}
	ctx := t.Context()
	for range 2 {
		must(t, snapshotter.Snapshot(ctx, s.server.ID, "before"), "snapshot")
	}
	must(t, snapshotter.Restore(ctx, s.server.ID, "before"), "restore")
	s.awaitState(t, cloud.Running, cloud.Pending, cloud.Stopped)
	wantCode(t, snapshotter.Restore(ctx, s.server.ID, "never"), "restore what was never taken", cloud.CodeNotFound)
	wantCode(t, snapshotter.Snapshot(ctx, s.gone, "before"), "snapshot a server that is gone", cloud.CodeNotFound)
}

// cancelled: with a cancelled context every call returns at once, says so, and does nothing.
func (s *story) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	spec := s.serverSpec("contract-never", s.Base.ID)
	spec.Name, spec.Address, spec.Volumes = never, s.network.Addresses[never], nil
	began := time.Now()
	_, launch := s.Provider.Launch(ctx, spec)
	_, list := s.Provider.Servers(ctx, cloud.Filter{Owner: s.Owner})
	_, network := s.Provider.CreateNetwork(ctx, cloud.NetworkSpec{Name: s.Owner + "-never", Tags: s.tags("")})
	destroy := s.Provider.Destroy(ctx, s.server.ID)
	for what, err := range map[string]error{"launch": launch, "servers": list, "create network": network, "destroy": destroy} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v, want context.Canceled", what, err)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("four cancelled calls took %v", took)
	}
	if _, found := s.look(t, s.server.ID); !found {
		t.Error("a cancelled destroy took the server away")
	}
}

// owned: everything is listed with its tags, and nothing of others.
func (s *story) owned(t *testing.T) {
	ctx := t.Context()
	list, err := s.Provider.Owned(ctx, s.Owner)
	must(t, err, "list what is owned")
	want := map[cloud.ResourceKind]struct{ id, name string }{
		cloud.KindServer:  {string(s.server.ID), s.server.Name},
		cloud.KindVolume:  {string(s.volume.ID), s.volume.Name},
		cloud.KindNetwork: {string(s.network.ID), s.network.Name},
		cloud.KindImage:   {string(s.captured.ID), s.captured.Name},
	}
	for _, r := range list {
		if r.Tags.Owner != s.Owner {
			t.Errorf("%s %s belongs to %q", r.Kind, r.Name, r.Tags.Owner)
		}
		if r.ID == want[r.Kind].id {
			if r.Name != want[r.Kind].name {
				t.Errorf("%s %s is called %q, want %q", r.Kind, r.ID, r.Name, want[r.Kind].name)
			}
			if !r.Tags.Deadline.Equal(s.deadline) || r.Tags.Environment != "contract-env" {
				t.Errorf("tags of %s %s: %+v", r.Kind, r.Name, r.Tags)
			}
			delete(want, r.Kind)
		} else if r.Kind == cloud.KindServer || r.Kind == cloud.KindVolume || r.Kind == cloud.KindNetwork {
			t.Errorf("unexpected %s %s (%s)", r.Kind, r.Name, r.ID)
		}
	}
	for kind, missing := range want {
		t.Errorf("%s %s is not listed", kind, missing.name)
	}
	list, err = s.Provider.Owned(ctx, s.Owner+"-other")
	if err != nil || len(list) > 0 {
		t.Errorf("owned by another: %v, %v", list, err)
	}
}

// removal: Delete of what Owned lists leaves nothing, and every removal may be repeated.
func (s *story) removal(t *testing.T) {
	ctx := t.Context()
	s.clear(t)
	list, err := s.Provider.Owned(ctx, s.Owner)
	must(t, err, "list what is owned")
	for _, r := range list {
		if !s.isBase(r) {
			t.Errorf("left over: %s %s", r.Kind, r.Name)
		}
	}
	for what, err := range map[string]error{
		"server":  s.Provider.Destroy(ctx, s.server.ID),
		"volume":  s.Provider.DeleteVolume(ctx, s.volume.ID),
		"network": s.Provider.DeleteNetwork(ctx, s.network.ID),
		"image":   s.Provider.DeleteImage(ctx, s.captured.ID),
		"server, as listed": s.Provider.Delete(ctx, cloud.Resource{
			Kind: cloud.KindServer, ID: string(s.server.ID), Name: s.server.Name, Tags: s.tags("web")}),
	} {
		if err != nil {
			t.Errorf("remove a %s that is gone: %v", what, err)
		}
	}
	_, err = s.Provider.Launch(ctx, s.serverSpec("contract-5", s.captured.ID))
	wantCode(t, err, "launch after everything is gone", cloud.CodeNotFound)
	wantCode(t, s.Provider.AttachVolume(ctx, s.volume.ID, s.gone), "attach a volume that is gone", cloud.CodeNotFound)
}
