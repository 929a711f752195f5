package ec2_test

import (
	"fmt"
	"slices"
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

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl a@example.org"

// leftovers makes one of everything that can be left behind in a region, with an owner's tags: a network
// with a server that has a volume, a spot request whose server was ended by others, an image, a snapshot
// whose image is gone, a key pair.
func (b *bench) leftovers(where, owner string) {
	b.Helper()
	cfg := b.cfg
	cfg.Region, cfg.Regions, cfg.Spot, cfg.Subnets = where, nil, true, []string{b.lab.Subnet(where + "a")}
	cfg.Role = b.granted("hallmark-"+owner+"-"+where, owner, cfg)
	p, err := ec2.New(b.Context(), cfg)
	must(b, err)
	tags := cloud.Tags{Owner: owner, Run: "run", Environment: "left", Deadline: time.Now().Add(time.Hour)}
	n, err := p.CreateNetwork(b.Context(), cloud.NetworkSpec{Name: "env-" + owner, Tags: tags, Servers: []string{"web-1", "bench"}})
	must(b, err)
	v, err := p.CreateVolume(b.Context(), cloud.VolumeSpec{Name: "web-1-data", Network: n.ID, SizeMiB: 64, Tags: tags})
	must(b, err)
	base, err := p.ResolveBase(b.Context(), cloud.BaseSpec{Name: baseName})
	must(b, err)
	ids := map[string]cloud.ServerID{}
	for name, volumes := range map[string][]cloud.VolumeID{"web-1": {v.ID}, "bench": nil} {
		s, err := p.Launch(b.Context(), cloud.ServerSpec{
			Name: name, Network: n.ID, Image: base.ID, Address: n.Addresses[name], Token: owner + name, Tags: tags, Volumes: volumes,
		})
		must(b, err)
		ids[name] = s.ID
	}
	time.Sleep(time.Minute) // the bubble's
	must(b, p.Stop(b.Context(), ids["bench"], true))
	time.Sleep(time.Minute)
	for _, name := range []string{owner + "-kept", owner + "-gone"} {
		image, err := p.Capture(b.Context(), ids["bench"], cloud.ImageSpec{Name: name, Kind: cloud.Prebuilt, Tags: tags})
		must(b, err)
		if strings.HasSuffix(name, "-gone") {
			_, err = b.api.DeregisterImage(b.Context(), &sdk.DeregisterImageInput{ImageId: aws.String(string(image.ID))}, in(where))
			must(b, err)
		}
	}
	b.script(ec2lab.Fault{Kind: ec2lab.NoSpot, Times: -1})
	_, err = b.api.TerminateInstances(b.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{string(ids["bench"])}}, in(where))
	must(b, err)
	_, err = b.api.ImportKeyPair(b.Context(), &sdk.ImportKeyPairInput{
		KeyName: aws.String(owner), PublicKeyMaterial: []byte(publicKey), TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeKeyPair, Tags: []types.Tag{
				{Key: aws.String("hallmark:owner"), Value: aws.String(owner)}, {Key: aws.String("hallmark:environment"), Value: aws.String("left")},
			},
		}},
	}, in(where))
	must(b, err)
	time.Sleep(time.Minute)
}

// What carries our owner's tag and nothing that says what it is to us is the user's: what a launch template
// tagged, what outlived a fleet's server, backups that took over tags. It is neither listed nor removed.
func TestTheUsersOwnIsNotOwned(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		tags := func(kind types.ResourceType) []types.TagSpecification {
			return []types.TagSpecification{{ResourceType: kind, Tags: []types.Tag{{Key: aws.String("hallmark:owner"), Value: aws.String("test")}}}}
		}
		run, err := b.api.RunInstances(b.Context(), &sdk.RunInstancesInput{
			ImageId: aws.String(string(b.base().ID)), InstanceType: "t3.small", MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
			SubnetId: aws.String(b.lab.Subnet(region + "a")), TagSpecifications: append(tags(types.ResourceTypeInstance), tags(types.ResourceTypeVolume)...),
		})
		must(b, err)
		volume, err := b.api.CreateVolume(b.Context(), &sdk.CreateVolumeInput{
			AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(1), TagSpecifications: tags(types.ResourceTypeVolume),
		})
		must(b, err)
		_, err = b.api.ImportKeyPair(b.Context(), &sdk.ImportKeyPairInput{
			KeyName: aws.String("fleet"), PublicKeyMaterial: []byte(publicKey), TagSpecifications: tags(types.ResourceTypeKeyPair),
		})
		must(b, err)
		time.Sleep(time.Minute) // the bubble's
		_, err = b.api.CreateSnapshot(b.Context(), &sdk.CreateSnapshotInput{VolumeId: volume.VolumeId, TagSpecifications: tags(types.ResourceTypeSnapshot)})
		must(b, err)
		_, err = b.api.CreateImage(b.Context(), &sdk.CreateImageInput{
			InstanceId: run.Instances[0].InstanceId, Name: aws.String("a backup"), TagSpecifications: append(tags(types.ResourceTypeImage), tags(types.ResourceTypeSnapshot)...),
		})
		must(b, err)
		time.Sleep(10 * time.Minute)
		before := b.tagged(region, "test")
		if len(before) != 5 {
			b.Fatalf("one of each kind was to be made: %v", before)
		}
		owned, err := b.p.Owned(b.Context(), "test")
		must(b, err)
		if len(owned) != 0 {
			b.Errorf("owned: %+v", owned)
		}
	})
}

// tagged counts what carries an owner's tag in a region by the API's own list of tags, ended instances and
// cancelled requests aside.
func (b *bench) tagged(where, owner string) map[string]int {
	b.Helper()
	out, err := b.api.DescribeTags(b.Context(), &sdk.DescribeTagsInput{Filters: []types.Filter{
		{Name: aws.String("key"), Values: []string{"hallmark:owner"}}, {Name: aws.String("value"), Values: []string{owner}},
	}}, in(where))
	must(b, err)
	instances, err := b.api.DescribeInstances(b.Context(), &sdk.DescribeInstancesInput{}, in(where))
	must(b, err)
	requests, err := b.api.DescribeSpotInstanceRequests(b.Context(), &sdk.DescribeSpotInstanceRequestsInput{}, in(where))
	must(b, err)
	ended := map[string]bool{}
	for _, r := range instances.Reservations {
		ended[*r.Instances[0].InstanceId] = r.Instances[0].State.Name == types.InstanceStateNameTerminated
	}
	for _, r := range requests.SpotInstanceRequests {
		ended[*r.SpotInstanceRequestId] = r.State == types.SpotInstanceStateCancelled
	}
	n := map[string]int{}
	for _, t := range out.Tags {
		if !ended[*t.ResourceId] {
			n[string(t.ResourceType)]++
		}
	}
	return n
}

// Everything of ours is found in every region and can be removed in the order of its kinds; nothing of a
// stranger's is touched, and nothing of a person's who has no tags.
func TestLeftoversOfAllRegions(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		regions := []string{region, elsewhere}
		for _, where := range regions {
			b.leftovers(where, "test")
			b.leftovers(where, "stranger")
			_, err := b.api.ImportKeyPair(b.Context(), &sdk.ImportKeyPairInput{KeyName: aws.String("a-person"), PublicKeyMaterial: []byte(publicKey)}, in(where))
			must(b, err)
		}
		before := fmt.Sprint(b.tagged(region, "stranger"), b.tagged(elsewhere, "stranger"))
		if n := b.tagged(elsewhere, "test"); len(n) != 8 {
			b.Fatalf("one of each kind was to be made: %v", n)
		}
		owned, err := b.p.Owned(b.Context(), "test")
		must(b, err)
		var got []string
		for _, r := range owned {
			got = append(got, fmt.Sprintf("%s %s in %v", r.Kind, r.Name, strings.HasPrefix(r.ID, elsewhere+"/")))
			if r.Tags.Owner != "test" {
				b.Errorf("%+v", r)
			}
		}
		var want []string
		for _, what := range []string{
			"server web-1", "server bench", "volume web-1-data", "network env-test", "image test-kept", "snapshot test-gone", "key test",
		} {
			want = append(want, what+" in false", what+" in true")
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			b.Errorf("owned:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		b.clear() // in the order of the kinds
		time.Sleep(time.Minute)
		for _, where := range regions {
			if n := b.tagged(where, "test"); len(n) != 0 {
				b.Errorf("left in %s: %v", where, n)
			}
			keys, err := b.api.DescribeKeyPairs(b.Context(), &sdk.DescribeKeyPairsInput{KeyNames: []string{"a-person"}}, in(where))
			if err != nil || len(keys.KeyPairs) != 1 {
				b.Errorf("a person's key in %s: %v", where, err)
			}
		}
		if after := fmt.Sprint(b.tagged(region, "stranger"), b.tagged(elsewhere, "stranger")); after != before {
			b.Errorf("the stranger had %v, has %v", before, after)
		}
		theirs, err := b.p.Owned(b.Context(), "stranger")
		must(b, err)
		if len(theirs) != len(want) {
			b.Errorf("the stranger's: %v", theirs)
		}
		cfg := b.cfg
		cfg.Role = b.granted("hallmark-stranger", "stranger", cfg)
		stranger, err := ec2.New(b.Context(), cfg)
		must(b, err)
		for _, kind := range cloud.Kinds() {
			for _, r := range theirs {
				if r.Kind == kind {
					code(b, b.p.Delete(b.Context(), r), cloud.CodeRefused)
					must(b, stranger.Delete(b.Context(), r))
				}
			}
		}
	})
}

// What lost its tags between the look and the removal is not ours any more.
func TestNothingWithoutOurTagIsRemoved(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.leftovers(elsewhere, "test")
		owned, err := b.p.Owned(b.Context(), "test")
		must(b, err)
		var ids []string
		for _, r := range owned {
			if _, id, _ := strings.Cut(r.ID, "/"); r.Kind != cloud.KindNetwork {
				ids = append(ids, id)
			}
		}
		tag := []types.Tag{{Key: aws.String("hallmark:owner"), Value: aws.String("test")}}
		_, err = b.api.DeleteTags(b.Context(), &sdk.DeleteTagsInput{Resources: ids, Tags: tag}, in(elsewhere))
		must(b, err)
		for _, r := range owned {
			if r.Kind != cloud.KindNetwork {
				code(b, b.p.Delete(b.Context(), r), cloud.CodeConflict)
			}
		}
		_, err = b.api.CreateTags(b.Context(), &sdk.CreateTagsInput{Resources: ids, Tags: tag}, in(elsewhere))
		must(b, err)
		code(b, b.p.Delete(b.Context(), cloud.Resource{Kind: cloud.KindServer, ID: "eu-nowhere-1/i-1"}), cloud.CodeRefused)
	})
}
