package incus_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// byHand does what a crash, or a person, may have done, again if Incus is disturbed.
func byHand(t *testing.T, args ...string) {
	t.Helper()
	for {
		out, err := exec.CommandContext(t.Context(), "incus", args...).CombinedOutput()
		if err == nil {
			return
		}
		if !incusd.Disturbed(errors.New(string(out))) {
			t.Fatalf("incus %v: %s", args, out)
		}
	}
}

// TestHalfNetwork: whatever part of a network is missing, it is listed as ours, made whole by
// creating it again, and removed.
func TestHalfNetwork(t *testing.T) {
	t.Parallel()
	p, me := provider(t), owner(t)
	t.Cleanup(func() { clear(t, p, me) })
	spec := cloud.NetworkSpec{Name: me + "-half", Tags: cloud.Tags{Owner: me}}
	bridge := incus.BridgeName(spec.Name)
	for _, missing := range []struct {
		what string
		take [][]string
	}{
		{"the bridge", [][]string{{"network", "delete", bridge}}},
		{"bridge and ACL", [][]string{{"network", "delete", bridge}, {"network", "acl", "delete", bridge}}},
		{"the project", [][]string{{"project", "delete", spec.Name}}},
		{"project and bridge", [][]string{{"project", "delete", spec.Name}, {"network", "delete", bridge}}},
	} {
		t.Run("without "+missing.what, func(t *testing.T) {
			network(t, p, spec)
			for _, args := range missing.take {
				byHand(t, args...)
			}
			owned, err := p.Owned(t.Context(), me)
			must(t, err)
			if len(owned) != 1 || owned[0].Kind != cloud.KindNetwork || owned[0].Name != spec.Name {
				t.Errorf("owned: %+v, want the network once", owned)
			}
			whole := network(t, p, spec)
			_, err = p.CreateVolume(t.Context(), cloud.VolumeSpec{Name: "data", Network: whole.ID, SizeMiB: 16, Tags: spec.Tags})
			must(t, err)
			must(t, p.DeleteVolume(t.Context(), cloud.VolumeID(string(whole.ID)+"/data")))
			for _, args := range missing.take {
				byHand(t, args...)
			}
			must(t, p.DeleteNetwork(t.Context(), whole.ID))
			if owned, err = p.Owned(t.Context(), me); err != nil || len(owned) > 0 {
				t.Errorf("left over: %+v, %v", owned, err)
			}
		})
	}
}

// TestPassingInterfaces: interfaces of others that come and go disturb nobody.
func TestPassingInterfaces(t *testing.T) {
	t.Parallel()
	p, me := provider(t), owner(t)
	t.Cleanup(func() { clear(t, p, me) })
	cloudtest.PassingInterfaces(t)
	for i := range 3 {
		n := network(t, p, cloud.NetworkSpec{Name: fmt.Sprintf("%s-pass%d", me, i), Tags: cloud.Tags{Owner: me}})
		must(t, p.DeleteNetwork(t.Context(), n.ID))
	}
}

// TestForeignProject: what is not ours is neither adopted nor removed.
func TestForeignProject(t *testing.T) {
	t.Parallel()
	p, me := provider(t), owner(t)
	name := me + "-foreign"
	byHand(t, "project", "create", name)
	_, err := p.CreateNetwork(t.Context(), cloud.NetworkSpec{Name: name, Tags: cloud.Tags{Owner: me}})
	if cloud.CodeOf(err) != cloud.CodeConflict {
		t.Errorf("create: %v, want a conflict", err)
	}
	if err := p.DeleteNetwork(t.Context(), cloud.NetworkID(name)); cloud.CodeOf(err) != cloud.CodeConflict {
		t.Errorf("delete: %v, want a conflict", err)
	}
	byHand(t, "project", "delete", name)
}

// TestNetworksAtOnce: two processes that create networks at the same time pick different ranges.
func TestNetworksAtOnce(t *testing.T) {
	t.Parallel()
	me := owner(t)
	one, two := provider(t), provider(t)
	t.Cleanup(func() { clear(t, one, me) })
	networks := make([]cloud.Network, 6)
	var group errgroup.Group
	for i := range networks {
		p := []*incus.Provider{one, two}[i%2]
		group.Go(func() (err error) {
			networks[i], err = p.CreateNetwork(t.Context(), cloud.NetworkSpec{
				Name: fmt.Sprintf("%s-%d", me, i/2), Tags: cloud.Tags{Owner: me},
			})
			return err
		})
	}
	must(t, group.Wait())
	for i, n := range networks {
		for j, other := range networks[:i] {
			same := i/2 == j/2
			if same != (n.Prefix == other.Prefix) || !same && n.Prefix.Overlaps(other.Prefix) {
				t.Errorf("%s has %v, %s has %v", n.Name, n.Prefix, other.Name, other.Prefix)
			}
		}
	}
}

// TestWaitsEnd: a call whose context ends returns at once, and the next process adopts what Incus
// made of it meanwhile.
func TestWaitsEnd(t *testing.T) {
	t.Parallel()
	p, me := provider(t), owner(t)
	image := base(t, p)
	t.Cleanup(func() { clear(t, p, me) })
	tags := cloud.Tags{Owner: me}
	n := network(t, p, cloud.NetworkSpec{Name: me + "-wait", Tags: tags})
	spec := cloud.ServerSpec{Name: "web-1", Network: n.ID, Image: image.ID, Address: nth(n, 10), Token: "once", Tags: tags}

	interrupted(t, "launch", func(ctx context.Context) error {
		_, err := p.Launch(ctx, spec)
		return err
	})
	server, err := p.Launch(t.Context(), spec)
	must(t, err)
	servers, err := p.Servers(t.Context(), cloud.Filter{Owner: me})
	must(t, err)
	if len(servers) != 1 || servers[0].ID != server.ID || servers[0].State != cloud.Running {
		t.Errorf("servers %+v, want %s once, running", servers, server.ID)
	}

	must(t, p.Stop(t.Context(), server.ID, true))
	capture := cloud.ImageSpec{Name: me + "-image", Kind: cloud.Prebuilt, Tags: tags}
	interrupted(t, "capture", func(ctx context.Context) error {
		_, err := p.Capture(ctx, server.ID, capture)
		return err
	})
	captured, err := p.Capture(t.Context(), server.ID, capture)
	must(t, err)
	owned, err := p.Owned(t.Context(), me)
	must(t, err)
	for _, r := range owned {
		if r.Kind == cloud.KindImage && r.ID != string(captured.ID) {
			t.Errorf("a second image was made: %s", r.ID)
		}
	}

	interrupted(t, "destroy", func(ctx context.Context) error { return p.Destroy(ctx, server.ID) })
	must(t, p.Destroy(t.Context(), server.ID))
	if servers, err = p.Servers(t.Context(), cloud.Filter{Owner: me}); err != nil || len(servers) > 0 {
		t.Errorf("servers after destroy: %+v, %v", servers, err)
	}
}

// interrupted ends a call soon after it has begun.
func interrupted(t *testing.T, what string, call func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := call(ctx)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("%s went on for %v after its context ended", what, took)
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v, want the context's error", what, err)
	}
}

// TestImportWithoutName: an upload whose process died before it named the image is found again.
func TestImportWithoutName(t *testing.T) {
	t.Parallel()
	p, me := provider(t), owner(t)
	t.Cleanup(func() { clear(t, p, me) })
	spec := cloud.ImageSpec{Name: me + "-base", Kind: cloud.Base, Tags: cloud.Tags{Owner: me, Deadline: time.Now().Add(time.Hour)}}
	tarball := rootfs(t)
	image, err := p.ImportBase(t.Context(), spec, tarball)
	must(t, err)
	byHand(t, "image", "alias", "delete", spec.Name)
	if images, err := p.Images(t.Context(), cloud.Filter{Owner: me}); err != nil || len(images) > 0 {
		t.Errorf("an image without its name is offered: %+v, %v", images, err)
	}
	if owned, err := p.Owned(t.Context(), me); err != nil || len(owned) != 1 {
		t.Errorf("owned: %+v, %v; want the image without its name", owned, err)
	}
	again, err := p.ImportBase(t.Context(), spec, tarball)
	must(t, err)
	if again.ID != image.ID || again.Name != spec.Name {
		t.Errorf("imported %+v, want %s again", again, image.ID)
	}
}
