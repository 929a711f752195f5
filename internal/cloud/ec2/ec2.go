// Package ec2 is the cloud.Provider of one AWS account and region. It owns the mapping from cloud's
// nouns to EC2's and keeps no state of its own: everything is found again by tag, so a restarted
// process finds all that an earlier one made, and nothing without Hallmark's tags is ever changed.
//
//	cloud.Network   two security groups and a network interface per server. The interfaces outlive
//	                their instances, and the addresses with them (docs/decisions/0006). All servers
//	                are in the group "servers", which lets them talk to each other, to the package
//	                cache and to the allow-list; those that Hallmark may reach are in "door" as well.
//	cloud.Server    an instance on the interface of its name
//	cloud.Volume    an EBS volume in the zone of the server that its name begins with
//	cloud.Image     an AMI with its snapshots, also in the regions that it was published to
//	a pool          a target group of a load balancer; a group: an Auto Scaling group (cloud.Balancer)
//
// There is no EC2 key pair: whom a server lets in, its user-data says.
//
// EC2 bounds the length of tags and user-data, and lets nobody see at once what was just made; what
// this package does about it is said where it does it. docs/ec2.md has what the account must bring.
package ec2

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elasticloadbalancing "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
)

var (
	_ cloud.Provider  = (*Provider)(nil)
	_ cloud.Publisher = (*Provider)(nil)
	_ cloud.Balancer  = (*Provider)(nil)
)

// Config says which account and region, and what of it may be used. Region, Subnets, Types and Reach
// have no defaults.
type Config struct {
	Region      string
	Regions     []string                // where images are published beside Region
	Role        string                  // ARN of a role to assume; "": none
	Endpoint    string                  // of a laboratory; "": AWS
	Credentials aws.CredentialsProvider // nil: the SDK's default chain
	HTTP        aws.HTTPClient          // nil: the SDK's own

	Subnets []string       // of one VPC, one or more per zone
	Reach   []netip.Prefix // from where bastions, and servers that images are made on, may be reached
	Types   []string       // of instances, in the order in which they are tried
	Spot    bool           // launch on spare capacity
	Calls   int            // requests a second, at most; 0: as many as EC2 takes
	Cache   netip.AddrPort // the package cache or proxy as servers reach it; zero: none
	KMSKey  string         // encrypts volumes; "": the account's default key

	BaseOwner  string // whose bases are meant where a name has no owner; "": this account's
	Parameters string // SSM path under which channels point to images; "": /hallmark
	Publish    []Offer

	// Waited is told for how long a request waited for its turn, because of Calls or because EC2
	// throttles; nil: nobody is.
	Waited func(time.Duration)

	Poll   time.Duration // between two looks, at first; 0: 1 s
	Health time.Duration // how old the last look at status checks may be; 0: 30 s
	Clock  clock.Clock   // nil: the machine's
	Log    *slog.Logger  // nil: nothing is logged
}

// Provider is an EC2 region. It is safe for concurrent use and needs no closing.
type Provider struct {
	cfg     Config
	api     *ec2.Client
	regions map[string]*ec2.Client // also Region's
	params  map[string]*ssm.Client // by region
	scaling map[string]*autoscaling.Client

	balancing *elasticloadbalancing.Client

	account string
	vpc     string
	zones   []zone
	sizes   []size // of Config.Types, in their order
	roots   roots
	ills    ills
	holding gather // what still has something attached
}

// New checks the credentials, the subnets and the types, and says plainly what is wrong with them.
// Errors are *cloud.Error.
func New(ctx context.Context, cfg Config) (*Provider, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	sdk, err := cfg.sdk(ctx)
	if err != nil {
		return nil, err
	}
	who, err := sts.NewFromConfig(sdk).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, fail("check the AWS credentials", err)
	}
	p := &Provider{
		cfg: cfg, account: *who.Account,
		regions: map[string]*ec2.Client{}, params: map[string]*ssm.Client{}, scaling: map[string]*autoscaling.Client{},
		balancing: elasticloadbalancing.NewFromConfig(sdk),
	}
	for _, region := range append([]string{cfg.Region}, cfg.Regions...) {
		p.regions[region] = ec2.NewFromConfig(sdk, func(o *ec2.Options) { o.Region = region })
		p.params[region] = ssm.NewFromConfig(sdk, func(o *ssm.Options) { o.Region = region })
		p.scaling[region] = autoscaling.NewFromConfig(sdk, func(o *autoscaling.Options) { o.Region = region })
	}
	p.api = p.regions[cfg.Region]
	p.holding.ask = p.attached
	if p.vpc, p.zones, err = p.findZones(ctx); err != nil {
		return nil, err
	}
	if p.sizes, err = p.findSizes(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// complete fills in what was left out and says what is missing.
func (c *Config) complete() error {
	const call = "configure EC2"
	switch {
	case c.Region == "":
		return refuse(call, "no region is given")
	case len(c.Subnets) == 0:
		return refuse(call, "no subnets are given: servers need at least one, better one in each of several zones")
	case len(c.Types) == 0:
		return refuse(call, "no instance types are given")
	case len(c.Reach) == 0:
		return refuse(call, "nobody could reach a bastion: give the address ranges that Hallmark's host works from")
	case c.Calls < 0:
		return refuse(call, "%d requests a second: give a number above zero, or none", c.Calls)
	case slices.ContainsFunc(c.Reach, func(p netip.Prefix) bool { return !p.IsValid() }):
		return refuse(call, "an address range that may reach bastions is invalid")
	}
	if c.BaseOwner == "" {
		c.BaseOwner = "self"
	}
	if c.Parameters == "" {
		c.Parameters = "/hallmark"
	}
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	if c.Health == 0 {
		c.Health = 30 * time.Second
	}
	if c.Clock == nil {
		c.Clock = clock.Machine{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c.check(call)
}

// roots remembers the root disk of images. An image never changes it.
type roots struct {
	mu sync.Mutex
	of map[string]root
}

// root is the disk that a server of an image boots from.
type root struct {
	device string
	mib    int64
}

// rootDisk asks for an image's root disk once; CodeNotFound if there is no such image.
func (p *Provider) rootDisk(ctx context.Context, image string) (root, error) {
	p.roots.mu.Lock()
	known, ok := p.roots.of[image]
	p.roots.mu.Unlock()
	if ok {
		return known, nil
	}
	found, err := p.describeImage(ctx, p.api, image)
	if err != nil {
		return root{}, err
	}
	if found.RootDeviceType != types.DeviceTypeEbs {
		return root{}, refuse("look at image "+image, "its root is not an EBS volume: it could not be encrypted, stopped or captured")
	}
	made := root{device: aws.ToString(found.RootDeviceName)}
	for _, m := range found.BlockDeviceMappings {
		if aws.ToString(m.DeviceName) == made.device && m.Ebs != nil {
			made.mib = int64(aws.ToInt32(m.Ebs.VolumeSize)) << 10
		}
	}
	p.roots.mu.Lock()
	defer p.roots.mu.Unlock()
	if p.roots.of == nil {
		p.roots.of = map[string]root{}
	}
	p.roots.of[image] = made
	return made, nil
}
