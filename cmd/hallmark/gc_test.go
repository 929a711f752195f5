package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
)

// Gc finds what is left in every region that is configured, says what it would do, does it, and leaves
// alone what another installation made in the same account.
func TestGCInAllRegions(t *testing.T) {
	const us, home, elsewhere, print, vendor = "hallmark-0a1b2c", "eu-lab-1", "us-lab-2", "seed-fingerprint", "136693071363"
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	ctx, dir := t.Context(), t.TempDir()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "any")
	}
	lab, err := ec2lab.New(ctx, ec2lab.Config{
		Host: machines.NewMemory(print), Regions: []ec2lab.Region{{Name: home, Zones: []string{"a"}}, {Name: elsewhere, Zones: []string{"a"}}},
		Seeds: []ec2lab.Seed{{Name: "debian-12-1", Fingerprint: print, Owner: vendor}},
	})
	check(err)
	defer lab.Close(ctx)
	server := httptest.NewServer(lab.Handler())
	defer server.Close()

	reach := netip.MustParsePrefix("127.0.0.0/8")
	providers := map[string]*ec2.Provider{}
	for _, region := range []string{home, elsewhere} {
		p, err := ec2.New(ctx, ec2.Config{
			Region: region, Endpoint: server.URL, Subnets: []string{lab.Subnet(region + "a")}, Reach: []netip.Prefix{reach}, Types: []string{"t3.small"},
			Poll: 10 * time.Millisecond,
		})
		check(err)
		providers[region] = p
		for _, owner := range []string{us, "stranger"} {
			tags := cloud.Tags{Owner: owner, Run: "lost", Environment: "elost", Deadline: time.Now().Add(-time.Hour)}
			n, err := p.CreateNetwork(ctx, cloud.NetworkSpec{Name: "env-" + owner, Tags: tags, Servers: []string{"web-1"}})
			check(err)
			_, err = p.CreateVolume(ctx, cloud.VolumeSpec{Name: "web-1-data", Network: n.ID, SizeMiB: 64, Tags: tags})
			check(err)
			base, err := p.ResolveBase(ctx, cloud.BaseSpec{Name: vendor + "/debian-12-*"})
			check(err)
			s, err := p.Launch(ctx, cloud.ServerSpec{Name: "web-1", Network: n.ID, Image: base.ID, Address: n.Addresses["web-1"], Token: owner, Tags: tags})
			check(err)
			check(p.Stop(ctx, s.ID, true))
			_, err = p.Capture(ctx, s.ID, cloud.ImageSpec{Name: "lost-" + owner, Kind: cloud.Prebuilt, Tags: tags})
			check(err)
		}
	}

	repository := filepath.Join(dir, "product")
	out, err := exec.CommandContext(ctx, "git", "init", "-q", repository).CombinedOutput()
	if err != nil {
		t.Fatal(string(out))
	}
	check(os.Mkdir(filepath.Join(dir, "state"), 0o700))
	check(os.WriteFile(filepath.Join(dir, "state", "owner"), []byte(us+"\n"), 0o600))
	file := filepath.Join(dir, "hallmark.yaml")
	check(os.WriteFile(file, fmt.Appendf(nil, `state-dir: state
product: {repository: product}
base: {name: %s/debian-12-*}
provider:
  kind: ec2
  ec2: {endpoint: %q, region: %s, regions: [%s], subnets: [%s], reach: [%s], types: [t3.small]}
`, vendor, server.URL, home, elsewhere, lab.Subnet(home+"a"), reach), 0o600))
	gc := func(args ...string) []string {
		t.Helper()
		var out bytes.Buffer
		c := &cli{out: screenOn(&out), errOut: screenOn(os.Stderr), providers: map[string]provider{"ec2": {open: onEC2}}}
		if code := c.execute(ctx, append([]string{"gc", "-o", "json", "-c", file}, args...)); code != exitDone {
			t.Fatalf("gc %v ends with %d: %s", args, code, out.String())
		}
		var found []pipeline.Leftover
		check(json.Unmarshal(out.Bytes(), &found))
		var told []string
		for _, l := range found {
			if l.Why == "" || l.Tags.Owner != us {
				t.Errorf("%+v", l)
			}
			where := home
			if region, _, there := strings.Cut(l.ID, "/"); there {
				where = region
			}
			told = append(told, string(l.Kind)+" in "+where)
		}
		slices.Sort(told)
		return told
	}
	var want []string
	for _, kind := range []string{"image", "network", "server", "volume"} {
		want = append(want, kind+" in "+home, kind+" in "+elsewhere)
	}
	for range 2 { // a dry run changes nothing
		if got := gc("--dry-run"); !slices.Equal(got, want) {
			t.Errorf("gc found %v, want %v", got, want)
		}
	}
	if gc(); !slices.Equal(gc("--dry-run"), want) { // it knows nothing of all that, so it stays
		t.Errorf("gc deleted what the ledger does not know: %v are left", gc("--dry-run"))
	}
	gc("--yes")
	if got := gc(); len(got) > 0 {
		t.Errorf("left after gc: %v", got)
	}
	for region, p := range providers {
		if theirs, err := p.Owned(ctx, "stranger"); err != nil || len(theirs) != 4 {
			t.Errorf("a stranger's in %s: %v, %v", region, theirs, err)
		}
	}
}
