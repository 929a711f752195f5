package ec2_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

var errKilled = errors.New("the process was killed")

// killAt ends the process that a context stands for right after its n-th request that changes something:
// EC2 has done it, and nobody heard.
func (b *bench) killAt(n int, kill context.CancelFunc) {
	b.wire.mu.Lock()
	defer b.wire.mu.Unlock()
	b.wire.after = func(r request) error {
		_, action, _ := strings.Cut(r.action, ":")
		if strings.HasPrefix(action, "Describe") || strings.HasPrefix(action, "Get") {
			return nil
		}
		if n--; n != 0 {
			return nil
		}
		kill()
		return errKilled
	}
}

// life is all that Hallmark does with a server of an environment and an image.
func (b *bench) life(ctx context.Context, p *ec2.Provider) error {
	n, err := p.CreateNetwork(ctx, cloud.NetworkSpec{Name: "env-1", Tags: start, Servers: []string{"bastion", "db-1"}})
	if err != nil {
		return err
	}
	spec := b.spec(n, "db-1")
	v, err := p.CreateVolume(ctx, cloud.VolumeSpec{Name: "db-1-data", Network: n.ID, SizeMiB: 64, Tags: start})
	if err != nil {
		return err
	}
	spec.Volumes = []cloud.VolumeID{v.ID}
	if _, err = p.Launch(ctx, b.spec(n, "bastion")); err != nil {
		return err
	}
	s, err := p.Launch(ctx, spec)
	if err != nil {
		return err
	}
	if err := p.AllowAdmin(ctx, n.ID, []netip.Addr{s.Address}); err != nil {
		return err
	}
	if err := p.Stop(ctx, s.ID, true); err != nil {
		return err
	}
	image, err := p.Capture(ctx, s.ID, imageSpec)
	if err != nil {
		return err
	}
	if err := p.Copy(ctx, image.ID, []string{"development"}); err != nil {
		return err
	}
	if err := p.Publish(ctx, image.ID, []string{"development"}); err != nil {
		return err
	}
	return p.Point(ctx, "development", "db", image.ID)
}

// end is the way back, as a reaper goes it.
func (b *bench) end(ctx context.Context, p *ec2.Provider) error {
	if err := p.Point(ctx, "development", "db", ""); err != nil {
		return err
	}
	left, err := p.Owned(ctx, "test")
	if err != nil {
		return err
	}
	for _, kind := range []cloud.ResourceKind{cloud.KindServer, cloud.KindVolume, cloud.KindNetwork, cloud.KindImage} {
		for _, r := range left {
			if r.Kind != kind {
				continue
			}
			if kind == cloud.KindImage && strings.Contains(r.ID, "ami-") {
				if err := p.Publish(ctx, cloud.ImageID(r.ID), nil); err != nil {
					return err
				}
			}
			if err := p.Delete(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Killed after any request that changes something, a new process finds what there is, goes on, and
// leaves neither a second of anything nor anything behind.
func TestKilledAnywhere(t *testing.T) {
	const (
		most   = 60
		moving = 18 // of the changes up to and after the launch that has to move
	)
	for name, change := range map[string]func(*ec2.Config){"on demand": encrypted, "spot": encryptedSpot} {
		for n := 1; n <= most && !t.Failed(); n++ {
			done := false
			t.Run(fmt.Sprintf("after change %d, %s", n, name), func(t *testing.T) {
				inOneBubble(t, change, func(b *bench) { done = b.survives(n, false) })
			})
			if done {
				t.Logf("%d changes, %s", n-1, name)
				break
			}
			if n == most {
				t.Errorf("there are more than %d changes", most)
			}
		}
	}
	for n := 1; n <= moving && !t.Failed(); n++ {
		t.Run(fmt.Sprintf("after change %d, zone full", n), func(t *testing.T) {
			inOneBubble(t, encrypted, func(b *bench) { b.survives(n, true) })
		})
	}
}

func encrypted(c *ec2.Config) {
	c.KMSKey = "alias/volumes"
	c.Publish = []ec2.Offer{{
		Channels: []string{"development"}, Regions: []string{elsewhere}, Accounts: []string{friend}, Keys: map[string]string{elsewhere: "alias/images"},
		DeprecateAfter: 90 * 24 * time.Hour,
	}}
}

func encryptedSpot(c *ec2.Config) { encrypted(c); onSpot(c) }

// survives reports whether there were fewer changes than n.
func (b *bench) survives(n int, full bool) bool {
	if full { // the bastion has to move
		b.script(ec2lab.Fault{Kind: ec2lab.Capacity, Times: 2})
	}
	ctx, kill := context.WithCancel(b.Context())
	defer kill()
	b.killAt(n, kill)
	err := b.life(ctx, b.p)
	if err == nil {
		err = b.end(ctx, b.p)
	}
	died := ctx.Err() != nil
	if !died && err != nil {
		b.Fatal(err)
	}
	b.killAt(-1, nil)
	next, err := ec2.New(b.Context(), b.cfg)
	must(b, err)
	if died {
		must(b, b.life(b.Context(), next))
		servers, err := next.Servers(b.Context(), cloud.Filter{Owner: "test"})
		must(b, err)
		images, err := next.Images(b.Context(), cloud.Filter{Owner: "test"})
		must(b, err)
		if len(servers) != 2 || len(images) != 1 {
			b.Errorf("%d servers, %d images: %v %v", len(servers), len(images), servers, images)
		}
		must(b, b.end(b.Context(), next))
	}
	b.empty()
	return !died
}

// empty checks by the API alone that nothing is left in either region, with tags or without.
func (b *bench) empty() {
	b.Helper()
	time.Sleep(time.Minute) // the bubble's
	for _, region := range []string{region, elsewhere} {
		requests, err := b.api.DescribeSpotInstanceRequests(b.Context(), &sdk.DescribeSpotInstanceRequestsInput{Filters: []types.Filter{{
			Name: aws.String("state"), Values: []string{"open", "active", "disabled"},
		}}}, in(region))
		must(b, err)
		instances, err := b.api.DescribeInstances(b.Context(), &sdk.DescribeInstancesInput{Filters: []types.Filter{{
			Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped", "shutting-down"},
		}}}, in(region))
		must(b, err)
		volumes, err := b.api.DescribeVolumes(b.Context(), &sdk.DescribeVolumesInput{}, in(region))
		must(b, err)
		nics, err := b.api.DescribeNetworkInterfaces(b.Context(), &sdk.DescribeNetworkInterfacesInput{}, in(region))
		must(b, err)
		groups, err := b.api.DescribeSecurityGroups(b.Context(), &sdk.DescribeSecurityGroupsInput{}, in(region))
		must(b, err)
		images, err := b.api.DescribeImages(b.Context(), &sdk.DescribeImagesInput{Owners: []string{"self"}}, in(region))
		must(b, err)
		snapshots, err := b.api.DescribeSnapshots(b.Context(), &sdk.DescribeSnapshotsInput{OwnerIds: []string{"self"}}, in(region))
		must(b, err)
		if got := []int{
			len(requests.SpotInstanceRequests) + len(instances.Reservations), len(volumes.Volumes), len(nics.NetworkInterfaces), len(groups.SecurityGroups) - 1, len(images.Images), len(snapshots.Snapshots),
		}; got[0]+got[1]+got[2]+got[3]+got[4]+got[5] != 0 {
			b.Errorf("left in %s: instances and spot requests, volumes, interfaces, groups, images, snapshots: %v", region, got)
		}
	}
}
