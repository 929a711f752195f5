package ec2_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
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

func (b *bench) groups() map[string]types.SecurityGroup {
	b.Helper()
	out, err := b.api.DescribeSecurityGroups(b.Context(), &sdk.DescribeSecurityGroupsInput{
		Filters: []types.Filter{{Name: aws.String("tag-key"), Values: []string{"hallmark:owner"}}},
	})
	must(b, err)
	found := map[string]types.SecurityGroup{}
	for _, g := range out.SecurityGroups {
		for _, t := range g.Tags {
			if *t.Key == "hallmark:group" {
				found[*t.Value] = g
			}
		}
	}
	return found
}

// said writes permissions as people do.
func said(list []types.IpPermission, groups map[string]types.SecurityGroup) string {
	var all []string
	for _, p := range list {
		what := aws.ToString(p.IpProtocol)
		if p.FromPort != nil && *p.FromPort > 0 {
			what += "/" + string(rune('0'+*p.FromPort/1000)) + "…"
		}
		for _, r := range p.IpRanges {
			all = append(all, what+" "+*r.CidrIp)
		}
		for _, pair := range p.UserIdGroupPairs {
			for name, g := range groups {
				if *g.GroupId == *pair.GroupId {
					all = append(all, what+" "+name)
				}
			}
		}
	}
	return strings.Join(all, ", ")
}

func TestWhatANetworkLetsPass(t *testing.T) {
	cache := netip.MustParseAddrPort("10.90.0.1:3142")
	inBubble(t, func(c *ec2.Config) { c.Cache = cache }, func(b *bench) {
		spec := cloud.NetworkSpec{
			Name: "env-1", Tags: start, Servers: []string{"bastion", "web-1", "web-2", "db-1"},
			Egress: []cloud.Egress{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Port: 443}},
		}
		n, err := b.p.CreateNetwork(b.Context(), spec)
		must(b, err)
		if n.Cache != "http://10.90.0.1:3142" {
			b.Errorf("cache %q", n.Cache)
		}
		check := func() {
			b.Helper()
			groups := b.groups()
			inside, door := groups["servers"], groups["door"]
			for what, got := range map[string][2]string{
				"into servers":  {said(inside.IpPermissions, groups), "-1 servers"},
				"out of them":   {said(inside.IpPermissionsEgress, groups), "-1 servers, tcp/3… 10.90.0.1/32, tcp/0… 192.0.2.0/24"},
				"into the door": {said(door.IpPermissions, groups), "tcp/0… " + b.lab.Gateway().String() + "/32"},
				"out of it":     {said(door.IpPermissionsEgress, groups), ""},
			} {
				if got[0] != got[1] {
					b.Errorf("%s: %s, want %s", what, got[0], got[1])
				}
			}
		}
		check()
		zones := map[string]int{}
		for _, a := range n.Addresses {
			zones[b.zoneOf(a)]++
		}
		if len(zones) != 3 {
			b.Errorf("four servers are in %v, want all three zones", zones)
		}

		// What a person or a crash has changed is put right.
		door := b.groups()["door"]
		_, err = b.api.AuthorizeSecurityGroupIngress(b.Context(), &sdk.AuthorizeSecurityGroupIngressInput{GroupId: door.GroupId, IpPermissions: []types.IpPermission{{
			IpProtocol: aws.String("tcp"), FromPort: aws.Int32(1), ToPort: aws.Int32(65535), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}},
		}}})
		must(b, err)
		out, err := b.api.DescribeNetworkInterfaces(b.Context(), &sdk.DescribeNetworkInterfacesInput{})
		must(b, err)
		_, err = b.api.DeleteNetworkInterface(b.Context(), &sdk.DeleteNetworkInterfaceInput{NetworkInterfaceId: out.NetworkInterfaces[0].NetworkInterfaceId})
		must(b, err)
		again, err := b.p.CreateNetwork(b.Context(), spec)
		must(b, err)
		check()
		if len(again.Addresses) != 4 {
			b.Errorf("addresses %v", again.Addresses)
		}
		code(b, b.p.AllowAdmin(b.Context(), n.ID, []netip.Addr{netip.MustParseAddr("192.0.2.1")}), cloud.CodeRefused)
		other := spec
		other.Tags.Owner = "somebody-else"
		_, err = b.p.CreateNetwork(b.Context(), other)
		code(b, err, cloud.CodeConflict)
	})
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	for name, wrong := range map[string]struct {
		change func(*ec2.Config)
		code   cloud.Code
		says   string
	}{
		"no subnets":     {func(c *ec2.Config) { c.Subnets = nil }, cloud.CodeRefused, "no subnets"},
		"no such subnet": {func(c *ec2.Config) { c.Subnets = []string{"subnet-0123456789abcdef0"} }, cloud.CodeNotFound, "subnet-0123456789abcdef0"},
		"no types":       {func(c *ec2.Config) { c.Types = nil }, cloud.CodeRefused, "no instance types"},
		"no such type":   {func(c *ec2.Config) { c.Types = []string{"z1.huge"} }, cloud.CodeRefused, "z1.huge"},
		"no reach":       {func(c *ec2.Config) { c.Reach = nil }, cloud.CodeRefused, "bastion"},
		"no region":      {func(c *ec2.Config) { c.Region = "" }, cloud.CodeRefused, "no region"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(b *bench) {
				cfg := b.cfg
				wrong.change(&cfg)
				_, err := ec2.New(b.Context(), cfg)
				code(b, err, wrong.code)
				if err == nil || !strings.Contains(err.Error(), wrong.says) {
					b.Errorf("it says %v", err)
				}
			})
		})
	}
}

func TestRole(t *testing.T) {
	inBubble(t, func(c *ec2.Config) { c.Role = "arn:aws:iam::123456789012:role/hallmark" }, func(b *bench) {
		if b.wire.count("sts:AssumeRole") != 1 || b.wire.count("sts:GetCallerIdentity") != 1 {
			b.Errorf("the role was assumed %d times", b.wire.count("sts:AssumeRole"))
		}
	})
}

func TestARoleThatMayNotBeAssumed(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		cfg := b.cfg
		cfg.Role = "arn:aws:iam::123456789012:role/others"
		b.script(ec2lab.Fault{Kind: ec2lab.Refuse, Action: "AssumeRole", Code: "AccessDenied", Message: "User is not authorized to perform: sts:AssumeRole", Times: -1})
		_, err := ec2.New(b.Context(), cfg)
		code(b, err, cloud.CodeRefused)
		if err == nil || !strings.Contains(err.Error(), "do not allow sts:AssumeRole") {
			b.Errorf("it says %v", err)
		}
	})
}

func TestWhatTheCredentialsDoNotAllow(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		n := b.network("web-1")
		b.script(ec2lab.Fault{Kind: ec2lab.Refuse, Action: "RunInstances", Code: "UnauthorizedOperation",
			Message: "You are not authorized to perform this operation. Encoded authorization failure message: " + strings.Repeat("x", 2000)})
		_, err := b.p.Launch(b.Context(), b.spec(n, "web-1"))
		code(b, err, cloud.CodeRefused)
		if err == nil || !strings.Contains(err.Error(), "do not allow ec2:RunInstances") || len(err.Error()) > 400 {
			b.Errorf("it says %v", err)
		}
	})
}

func TestQuota(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		n := b.network("web-1")
		b.script(ec2lab.Fault{Kind: ec2lab.Refuse, Action: "RunInstances", Code: "VcpuLimitExceeded", Message: "You have requested more vCPU capacity than your current limit"})
		_, err := b.p.Launch(b.Context(), b.spec(n, "web-1"))
		code(b, err, cloud.CodeCapacity)
		if b.wire.count("ec2:RunInstances") != 1 {
			b.Error("a quota is the same in every zone")
		}
	})
}

func TestWhatALaunchAsksFor(t *testing.T) {
	inBubble(t, func(c *ec2.Config) { c.KMSKey = "alias/volumes" }, func(b *bench) {
		n := b.network("web-1")
		spec := b.spec(n, "web-1")
		spec.Tags.Deadline = time.Now().Add(time.Hour)
		spec.MemoryMiB = 3000
		spec.UserData = "#cloud-config\n" + strings.Repeat("# a long line that can be compressed\n", 1000)
		made, err := b.p.Launch(b.Context(), spec)
		must(b, err)
		if made.Type != "m7i.large" || made.RootMiB < 1024 || time.Since(made.Launched) > time.Minute {
			b.Errorf("launched %+v", made)
		}
		again, err := b.p.Launch(b.Context(), spec)
		must(b, err)
		if again.ID != made.ID || again.RootMiB != made.RootMiB || !again.Launched.Equal(made.Launched) {
			b.Errorf("adopted %+v, launched %+v", again, made)
		}
		form := b.wire.all("ec2:RunInstances")[0].form
		for key, want := range map[string]string{
			"InstanceType": "m7i.large", "MetadataOptions.HttpTokens": "required", "MetadataOptions.HttpPutResponseHopLimit": "1",
			"BlockDeviceMapping.1.Ebs.Encrypted": "true", "BlockDeviceMapping.1.Ebs.KmsKeyId": "alias/volumes",
			"InstanceInitiatedShutdownBehavior": "terminate", "NetworkInterface.1.DeleteOnTermination": "false", "KeyName": "",
			"TagSpecification.1.ResourceType": "instance", "TagSpecification.2.ResourceType": "volume",
		} {
			if form.Get(key) != want {
				b.Errorf("%s is %q, want %q", key, form.Get(key), want)
			}
		}
		raw, err := base64.StdEncoding.DecodeString(form.Get("UserData"))
		must(b, err)
		packed, err := gzip.NewReader(bytes.NewReader(raw))
		must(b, err)
		if text, err := io.ReadAll(packed); err != nil || string(text) != spec.UserData {
			b.Errorf("user-data did not arrive: %v", err)
		}

		spec.Token, spec.Name = "token-2", "web-2"
		spec.UserData = noise(40_000)
		_, err = b.p.Launch(b.Context(), spec)
		code(b, err, cloud.CodeRefused)
		if err == nil || !strings.Contains(err.Error(), "16384") || strings.Contains(err.Error(), spec.UserData[:20]) {
			b.Errorf("it says %v", err)
		}
		spec.UserData, spec.CPUs = "", 64
		_, err = b.p.Launch(b.Context(), spec)
		code(b, err, cloud.CodeRefused)
	})
}

// noise cannot be compressed much.
func noise(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(' ' + r.IntN(95))
	}
	return string(b)
}

// What has no deadline, as a fleet, is stopped when it is shut down from within, not ended.
func TestNoDeadlineNoEnd(t *testing.T) {
	for _, spot := range []bool{false, true} {
		inOneBubble(t, func(c *ec2.Config) { c.Spot = spot }, func(b *bench) {
			spec := b.spec(b.network("web-1"), "web-1")
			spec.Tags.Deadline = time.Time{}
			_, err := b.p.Launch(b.Context(), spec)
			must(b, err)
			for key, values := range b.wire.all("ec2:RunInstances")[0].form {
				if strings.Contains(key, "ShutdownBehavior") || strings.Contains(key, "ValidUntil") || strings.Contains(values[0], "deadline") {
					b.Errorf("spot %v: %s is %s", spot, key, values)
				}
			}
		})
	}
}

func TestConsoleAndScreen(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		s, err := b.p.Launch(b.Context(), b.spec(b.network("web-1"), "web-1"))
		must(b, err)
		b.await(s.ID, cloud.Running)
		b.script(ec2lab.Fault{Kind: ec2lab.Refuse, Action: "GetConsoleOutput", Code: "UnsupportedOperation", Message: "This instance type does not support retrieving the latest console logs."})
		said, err := b.p.Console(b.Context(), s.ID) // the older text then
		must(b, err)
		picture, err := cloud.CapabilitiesOf(b.p).Screenshotter.Screenshot(b.Context(), s.ID)
		must(b, err)
		if len(said) == 0 || len(picture) == 0 {
			b.Errorf("console %q, picture of %d bytes", said, len(picture))
		}
	})
}

func TestPages(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		var names []string
		for i := range 12 {
			names = append(names, fmt.Sprintf("web-%d", i))
		}
		n := b.network(names...)
		for _, name := range names {
			_, err := b.p.Launch(b.Context(), b.spec(n, name))
			must(b, err)
		}
		b.wire.forget()
		b.wire.page = "5"
		list, err := b.p.Servers(b.Context(), cloud.Filter{Owner: "test"})
		must(b, err)
		if got := b.wire.count("ec2:DescribeInstances"); len(list) != 12 || got != 3 {
			b.Errorf("%d servers on %d pages", len(list), got)
		}
	})
}
