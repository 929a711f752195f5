package cloudtest

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// resolveBase: the base is found by name, digest and age, or CodeNotFound says that none fits.
func (s *story) resolveBase(t *testing.T) {
	ctx := t.Context()
	base, err := s.Provider.ResolveBase(ctx, s.BaseSpec)
	must(t, err, "resolve base")
	if base.ID != s.Base.ID || base.Kind != cloud.Base || base.Digest == "" || base.Created.IsZero() {
		t.Errorf("resolved %+v, want %+v", base, s.Base)
	}

	anyDigest := s.BaseSpec
	anyDigest.Digest = ""
	if base, err = s.Provider.ResolveBase(ctx, anyDigest); err != nil || base.ID != s.Base.ID {
		t.Errorf("any digest: %q, %v; want %q", base.ID, err, s.Base.ID)
	}
	young := s.BaseSpec
	young.MaxAge = 100 * 365 * 24 * time.Hour
	if base, err = s.Provider.ResolveBase(ctx, young); err != nil || base.ID != s.Base.ID {
		t.Errorf("younger than a century: %q, %v; want %q", base.ID, err, s.Base.ID)
	}

	s.Pause(10 * time.Millisecond)
	tooOld := s.BaseSpec
	tooOld.MaxAge = time.Nanosecond
	_, err = s.Provider.ResolveBase(ctx, tooOld)
	wantCode(t, err, "resolve a base that is too old", cloud.CodeNotFound)

	otherDigest := s.BaseSpec
	otherDigest.Digest = "sha256:0000"
	_, err = s.Provider.ResolveBase(ctx, otherDigest)
	wantCode(t, err, "resolve a base of another digest", cloud.CodeNotFound)

	_, err = s.Provider.ResolveBase(ctx, cloud.BaseSpec{Name: "no-such-base"})
	wantCode(t, err, "resolve a base that is not there", cloud.CodeNotFound)
}

// importBase: imported once by name, and the newest of a family is the one that resolves.
func (s *story) importBase(t *testing.T) {
	importer := cloud.CapabilitiesOf(s.Provider).BaseImporter
	if importer == nil || s.Rootfs == "" {
		t.Skip("not a BaseImporter, or no root file system to import")
	}
	ctx := t.Context()
	prefix := s.Owner + "-family-"
	var newest cloud.Image
	var made []cloud.ImageID
	defer func() { // at once: who asks for any base meanwhile would get one that cannot be launched
		for _, id := range made {
			must(t, s.Provider.DeleteImage(ctx, id), "delete imported base")
		}
	}()
	for n := range 2 {
		spec := cloud.ImageSpec{
			Name: fmt.Sprintf("%s%d", prefix, n), Kind: cloud.Base, Tags: s.tags("base"),
			Properties: map[string]string{"n": fmt.Sprint(n)},
		}
		image, err := importer.ImportBase(ctx, spec, s.Rootfs)
		must(t, err, "import base")
		made = append(made, image.ID)
		again, err := importer.ImportBase(ctx, spec, s.Rootfs)
		must(t, err, "import base again")
		if again.ID != image.ID {
			t.Errorf("the second import of %s made another image", spec.Name)
		}
		if image.Kind != cloud.Base || image.Name != spec.Name || image.Properties["n"] != fmt.Sprint(n) {
			t.Errorf("imported %+v, want %+v", image, spec)
		}
		wantTags(t, "imported base", image.Tags, spec.Tags)
		if n == 1 && image.ID == newest.ID {
			t.Fatal("two bases share one id: the second would replace the first")
		}
		newest = image
		s.Pause(1100 * time.Millisecond) // some providers keep a creation time in seconds
	}
	got, err := s.Provider.ResolveBase(ctx, cloud.BaseSpec{Name: s.Family(prefix)})
	must(t, err, "resolve the newest of a family")
	if got.ID != newest.ID {
		t.Errorf("resolved %s, want the newest, %s", got.Name, newest.Name)
	}
}

// networks: made once by name, apart from each other, removed idempotently.
func (s *story) networks(t *testing.T) {
	ctx := t.Context()
	spec := cloud.NetworkSpec{
		Name: s.Owner + "-a", Tags: s.tags(""),
		Egress:  []cloud.Egress{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Port: 443}},
		Servers: []string{"web-1", other, never},
	}
	network, err := s.Provider.CreateNetwork(ctx, spec)
	must(t, err, "create network")
	s.network = network
	if network.Name != spec.Name || network.ID == "" {
		t.Errorf("network %+v, want name %s", network, spec.Name)
	}
	wantTags(t, "network", network.Tags, spec.Tags)
	taken := map[netip.Addr]string{network.Gateway: "the gateway"}
	for _, name := range spec.Servers {
		a := network.Addresses[name]
		if whose := taken[a]; !a.IsValid() || whose != "" || network.Prefix.IsValid() && !network.Prefix.Contains(a) {
			t.Fatalf("address %v of %s: %q has it, the range is %v", a, name, whose, network.Prefix)
		}
		taken[a] = name
	}

	again, err := s.Provider.CreateNetwork(ctx, spec)
	must(t, err, "create network again")
	if again.ID != network.ID || !maps.Equal(again.Addresses, network.Addresses) {
		t.Errorf("the second call gave another network: %+v, want %+v", again, network)
	}

	second, err := s.Provider.CreateNetwork(ctx, cloud.NetworkSpec{Name: s.Owner + "-b", Tags: s.tags(""), Servers: []string{"web-1"}})
	must(t, err, "create a second network")
	if whose := taken[second.Addresses["web-1"]]; second.ID == network.ID || whose != "" {
		t.Errorf("networks overlap: %+v and %+v", second, network)
	}
	for range 2 {
		must(t, s.Provider.DeleteNetwork(ctx, second.ID), "delete network")
	}
	wantCode(t, s.Provider.AllowAdmin(ctx, second.ID, nil), "allow admin in a network that is gone", cloud.CodeNotFound)
	gone := s.serverSpec("contract-gone", s.Base.ID)
	gone.Network, gone.Address, gone.Volumes = second.ID, second.Addresses["web-1"], nil
	_, err = s.Provider.Launch(ctx, gone)
	wantCode(t, err, "launch in a network that is gone", cloud.CodeNotFound)
}

// volumes: made once by name; removal is tried with the last chapter.
func (s *story) volumes(t *testing.T) {
	ctx := t.Context()
	volume, err := s.Provider.CreateVolume(ctx, s.volumeSpec())
	must(t, err, "create volume")
	s.volume = volume
	if volume.ID == "" || volume.Name != s.volumeSpec().Name || volume.Path == "" || volume.Attached != "" {
		t.Errorf("volume %+v: want a name, a path and no server", volume)
	}
	wantTags(t, "volume", volume.Tags, s.volumeSpec().Tags)
	again, err := s.Provider.CreateVolume(ctx, s.volumeSpec())
	must(t, err, "create volume again")
	if again.ID != volume.ID {
		t.Errorf("the second call gave another volume: %s, want %s", again.ID, volume.ID)
	}
}
