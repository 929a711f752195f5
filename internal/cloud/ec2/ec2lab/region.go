package ec2lab

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// region holds all that the API knows of one region. Maps are by id.
type region struct {
	name      string
	vpc       vpc
	subnets   []*subnet
	instances map[string]*instance
	images    map[string]*image
	snapshots map[string]*snapshot
	volumes   map[string]*volume
	groups    map[string]*group
	nics      map[string]*nic
	keys      map[string]*keyPair
	templates map[string]*template
	spots     map[string]*spotRequest
	tags      map[string]tagSet // by resource
	params    map[string]*param // SSM, by name
	tokens    map[string]token  // by action and client token
	pools     map[string]*targetGroup
	scaling   map[string]*scalingGroup // by name
}

type vpc struct {
	id   string
	cidr netip.Prefix
}

type subnet struct {
	id, zone, zoneID string
	cidr             netip.Prefix
}

func (l *Lab) newRegion(i int, cfg Region) *region {
	r := &region{
		name: cfg.Name, instances: map[string]*instance{}, images: map[string]*image{}, snapshots: map[string]*snapshot{},
		volumes: map[string]*volume{}, groups: map[string]*group{}, nics: map[string]*nic{}, keys: map[string]*keyPair{},
		templates: map[string]*template{}, spots: map[string]*spotRequest{}, tags: map[string]tagSet{}, params: map[string]*param{}, tokens: map[string]token{},
		pools: map[string]*targetGroup{}, scaling: map[string]*scalingGroup{},
	}
	r.vpc = vpc{id: l.fixedID("vpc-", cfg.Name), cidr: part(l.cfg.CIDR, 18, i)}
	for n, letter := range cfg.Zones {
		zone := cfg.Name + letter
		r.subnets = append(r.subnets, &subnet{
			id: l.fixedID("subnet-", zone), zone: zone, zoneID: fmt.Sprintf("lab%d-az%d", i+1, n+1),
			cidr: part(r.vpc.cidr, 22, n),
		})
	}
	g := &group{name: "default", description: "default VPC security group"}
	g.identity = l.identify("sg-")
	g.in = []rule{{id: l.newID("sgr-"), protocol: "-1", from: -1, to: -1, group: g.id}}
	g.out = []rule{l.openEgress()}
	r.groups[g.id] = g
	for _, s := range l.cfg.Seeds {
		l.seed(r, s)
	}
	return r
}

// part is the n-th prefix of some length within another.
func part(of netip.Prefix, bits, n int) netip.Prefix {
	first := binary.BigEndian.Uint32(of.Masked().Addr().AsSlice()) + uint32(n)<<(32-bits) //nolint:gosec // small numbers
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], first)
	return netip.PrefixFrom(netip.AddrFrom4(b), bits)
}

func (r *region) subnet(id string) (*subnet, error) {
	for _, s := range r.subnets {
		if s.id == id {
			return s, nil
		}
	}
	return nil, query.Errorf("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
}

// byZone gives the subnet of a zone, of any if zone is empty.
func (r *region) byZone(zone string) (*subnet, error) {
	for _, s := range r.subnets {
		if zone == "" || s.zone == zone {
			return s, nil
		}
	}
	return nil, query.Errorf("InvalidParameterValue", "Invalid availability zone: [%s]", zone)
}

// identity is a resource's id, and its place in the order of making.
type identity struct {
	id   string
	born int
}

func (i *identity) who() *identity { return i }

// identify makes an identity for a new resource. Called with mu held.
func (l *Lab) identify(prefix string) identity {
	id := l.newID(prefix)
	return identity{id: id, born: l.serial}
}

// resource is a pointer to something with an identity.
type resource[T any] interface {
	*T
	who() *identity
}

// find gives one resource; code says how one that is not there is refused.
func find[T any, P resource[T]](all map[string]P, id, code string) (P, error) {
	it := all[id]
	if it == nil {
		return nil, query.Errorf(code, "The ID '%s' does not exist", id)
	}
	return it, nil
}

// listed gives those asked for, or all, in the order in which they were made.
func listed[T any, P resource[T]](all map[string]P, ids []string, code string) ([]P, error) {
	list := make([]P, 0, len(all))
	for _, id := range ids {
		it, err := find[T](all, id, code)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, it) {
			list = append(list, it)
		}
	}
	if len(ids) == 0 {
		list = slices.AppendSeq(list, maps.Values(all))
	}
	slices.SortFunc(list, func(a, b P) int { return cmp.Compare(a.who().born, b.who().born) })
	return list, nil
}

// token remembers what an idempotent request asked for and made.
type token struct {
	request string // all of its parameters
	made    string // id
}
