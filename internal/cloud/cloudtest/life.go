package cloudtest

import (
	"bytes"
	"context"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// launch: once by token, with tags, address and volumes from the start.
func (s *story) launch(t *testing.T) {
	ctx := t.Context()
	spec := s.serverSpec("contract-1", s.Base.ID)
	server, err := s.Provider.Launch(ctx, spec)
	must(t, err, "launch")
	s.server = server
	if server.State != cloud.Pending && server.State != cloud.Running {
		t.Errorf("state after launch %s", server.State)
	}
	listed, found := s.look(t, server.ID)
	if !found {
		t.Fatal("a launched server is not listed")
	}
	for _, got := range []cloud.Server{server, listed} {
		if got.Name != spec.Name || got.Address != spec.Address || got.Image != spec.Image {
			t.Errorf("server %+v, want %s at %v from %s", got, spec.Name, spec.Address, spec.Image)
		}
		wantTags(t, "server", got.Tags, spec.Tags)
	}
	if volume := s.volumeNow(t); volume.Attached != server.ID {
		t.Errorf("volume is attached to %q, want %q", volume.Attached, server.ID)
	}

	again, err := s.Provider.Launch(ctx, spec)
	must(t, err, "launch again with the same token")
	if again.ID != server.ID {
		t.Errorf("the same token gave another server: %s, want %s", again.ID, server.ID)
	}
	second := spec
	second.Token, second.Volumes = "contract-2", nil
	_, err = s.Provider.Launch(ctx, second)
	wantCode(t, err, "launch a second server of that name", cloud.CodeConflict)
	second.Token, second.Name, second.Address = spec.Token, other, s.network.Addresses[other]
	_, err = s.Provider.Launch(ctx, second)
	wantCode(t, err, "launch another server with that token", cloud.CodeConflict)
	second.Token, second.Image = "contract-3", "no-such-image"
	_, err = s.Provider.Launch(ctx, second)
	wantCode(t, err, "launch from an image that is not there", cloud.CodeNotFound)

	for what, filter := range map[string]cloud.Filter{
		"another owner":       {Owner: s.Owner + "-other"},
		"another run":         {Owner: s.Owner, Run: "other"},
		"another environment": {Owner: s.Owner, Environment: "other"},
	} {
		list, err := s.Provider.Servers(ctx, filter)
		if err != nil || len(list) > 0 {
			t.Errorf("servers of %s: %v, %v", what, list, err)
		}
	}
	s.awaitState(t, cloud.Running, cloud.Pending)
}

// console: it holds what the server said while booting.
func (s *story) console(t *testing.T) {
	s.awaitConsole(t, s.Booted)
	if s.Boots {
		s.awaitConsole(t, "contract: volume holds ()")
	}
}

// screen: a picture of what a person in front of the server would see.
func (s *story) screen(t *testing.T) {
	camera := cloud.CapabilitiesOf(s.Provider).Screenshotter
	if camera == nil {
		t.Skip("not a Screenshotter")
	}
	picture, err := camera.Screenshot(t.Context(), s.server.ID)
	must(t, err, "take a picture of the screen")
	if !bytes.HasPrefix(picture, []byte("\xff\xd8\xff")) {
		t.Errorf("the picture of the screen is no JPEG: %.20q", picture)
	}
	_, err = camera.Screenshot(t.Context(), "no-such-server")
	wantCode(t, err, "take a picture of a server that is not there", cloud.CodeNotFound)
}

// adminWay: AllowAdmin sets the whole list, whatever was allowed before.
func (s *story) adminWay(t *testing.T) {
	ctx := t.Context()
	ours, others := s.server.Address, s.network.Addresses[other]
	for _, step := range []struct {
		what string
		list []netip.Addr
		open bool
	}{
		{"nobody", nil, false},
		{"this server", []netip.Addr{ours}, true},
		{"this server and another", []netip.Addr{ours, others}, true},
		{"only another", []netip.Addr{others}, false},
	} {
		for range 2 {
			must(t, s.Provider.AllowAdmin(ctx, s.network.ID, step.list), "allow "+step.what)
		}
		if s.Dial == nil {
			continue
		}
		target := netip.AddrPortFrom(ours, 22)
		if step.open {
			s.await(t, "the way to open with "+step.what+" allowed", func() bool { return s.dial(ctx, target) == nil })
		} else if s.dial(ctx, target) == nil {
			t.Errorf("with %s allowed, %v can be reached", step.what, target)
		}
	}
}

func (s *story) dial(ctx context.Context, target netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return s.Dial(ctx, target)
}

// refusals: what a running server does not allow.
func (s *story) refusals(t *testing.T) {
	ctx := t.Context()
	_, err := s.Provider.Capture(ctx, s.server.ID, s.imageSpec())
	wantCode(t, err, "capture a running server", cloud.CodeRefused)
	if reader := cloud.CapabilitiesOf(s.Provider).DiskReader; reader != nil {
		err := reader.ReadDisk(ctx, s.server.ID, func(context.Context, fs.FS) error { t.Error("the disk of a running server was shown"); return nil })
		wantCode(t, err, "read the disk of a running server", cloud.CodeRefused)
	}
	must(t, s.Provider.Start(ctx, s.server.ID), "start a running server")
	wantCode(t, s.Provider.DeleteVolume(ctx, s.volume.ID), "delete an attached volume", cloud.CodeRefused, cloud.CodeConflict)
	wantCode(t, s.Provider.DeleteNetwork(ctx, s.network.ID), "delete a network with servers", cloud.CodeRefused, cloud.CodeConflict)
	if _, found := s.look(t, s.server.ID); !found {
		t.Fatal("a refused removal took the server away")
	}
}

// reboot: the server comes back by itself.
func (s *story) reboot(t *testing.T) {
	must(t, s.Provider.Reboot(t.Context(), s.server.ID), "reboot")
	s.awaitState(t, cloud.Running, cloud.Pending, cloud.Stopped)
	s.awaitConsole(t, "")
}

// stopAndStart: both reach a state, and already being there is no error.
func (s *story) stopAndStart(t *testing.T) {
	ctx := t.Context()
	must(t, s.Provider.Stop(ctx, s.server.ID, false), "stop")
	s.awaitState(t, cloud.Stopped, cloud.Running, cloud.Pending)
	must(t, s.Provider.Stop(ctx, s.server.ID, false), "stop a stopped server")
	wantCode(t, s.Provider.Reboot(ctx, s.server.ID), "reboot a stopped server", cloud.CodeRefused)
	must(t, s.Provider.Start(ctx, s.server.ID), "start")
	s.awaitState(t, cloud.Running, cloud.Pending, cloud.Stopped)
	if volume := s.volumeNow(t); volume.Attached != s.server.ID {
		t.Errorf("after a stop the volume is attached to %q, want %q", volume.Attached, s.server.ID)
	}
	must(t, s.Provider.Stop(ctx, s.server.ID, true), "pull the plug")
	s.awaitState(t, cloud.Stopped, cloud.Running)
	must(t, s.Provider.Stop(ctx, s.server.ID, true), "pull the plug again")
}

// destroy: gone at once, without error when it is gone already; its volumes stay.
func (s *story) destroy(t *testing.T) {
	ctx := t.Context()
	must(t, s.Provider.Start(ctx, s.server.ID), "start before destroy")
	for range 2 {
		must(t, s.Provider.Destroy(ctx, s.server.ID), "destroy")
	}
	s.gone = s.server.ID
	if _, found := s.look(t, s.gone); found {
		t.Error("a destroyed server is still listed")
	}
	if volume := s.volumeNow(t); volume.ID != s.volume.ID || volume.Attached != "" {
		t.Errorf("after destroy the volume is %+v, want %s without a server", volume, s.volume.ID)
	}
	_, err := s.Provider.Console(ctx, s.gone)
	wantCode(t, err, "console of a server that is gone", cloud.CodeNotFound)
	_, err = s.Provider.Capture(ctx, s.gone, cloud.ImageSpec{Name: s.Owner + "-none", Kind: cloud.Prebuilt, Tags: s.tags("")})
	wantCode(t, err, "capture a server that is gone", cloud.CodeNotFound)
	for what, err := range map[string]error{
		"reboot":    s.Provider.Reboot(ctx, s.gone),
		"stop":      s.Provider.Stop(ctx, s.gone, true),
		"start":     s.Provider.Start(ctx, s.gone),
		"attach to": s.Provider.AttachVolume(ctx, s.volume.ID, s.gone),
	} {
		wantCode(t, err, what+" a server that is gone", cloud.CodeNotFound)
	}
}

// relaunch: the same name, address and volumes from the captured image, as a new server.
func (s *story) relaunch(t *testing.T) {
	server, err := s.Provider.Launch(t.Context(), s.serverSpec("contract-4", s.captured.ID))
	must(t, err, "launch from the captured image")
	if server.ID == s.gone {
		t.Error("the new server has the id of the one that is gone")
	}
	s.server = server
	s.awaitState(t, cloud.Running, cloud.Pending)
	s.awaitConsole(t, s.Booted)
	if s.Boots {
		s.awaitConsole(t, "contract: volume holds (kept)")
	}
}

// volumeNow is the volume as it is now: creation by name gives what exists.
func (s *story) volumeNow(t *testing.T) cloud.Volume {
	t.Helper()
	volume, err := s.Provider.CreateVolume(t.Context(), s.volumeSpec())
	must(t, err, "look at the volume")
	return volume
}

// awaitConsole waits until the console holds text, or anything.
func (s *story) awaitConsole(t *testing.T, text string) {
	t.Helper()
	s.await(t, "the console to say "+strings.TrimSpace(text), func() bool {
		said, err := s.Provider.Console(t.Context(), s.server.ID)
		must(t, err, "console")
		return len(said) > 0 && bytes.Contains(said, []byte(text))
	})
}
