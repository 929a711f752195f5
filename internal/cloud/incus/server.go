package incus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	client "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// serverID is "project/name/launch". The last part stands for the token: a server that is launched
// again under its old name is another one, and whoever still knows the old one can't hurt it.
func serverID(in *api.Instance) cloud.ServerID {
	sum := sha256.Sum256([]byte(in.Config[tagToken]))
	return cloud.ServerID(in.Project + "/" + in.Name + "/" + hex.EncodeToString(sum[:4]))
}

// lookup connects to the project of a server and reads the server.
func (p *Provider) lookup(ctx context.Context, id cloud.ServerID) (client.InstanceServer, *api.Instance, error) {
	lost := func(why string) error {
		return &cloud.Error{Call: "find server " + string(id), Code: cloud.CodeNotFound, Err: errors.New(why)}
	}
	project, rest, _ := strings.Cut(string(id), "/")
	name, launch, ok := strings.Cut(rest, "/")
	if !ok || project == "" || name == "" || launch == "" {
		return nil, nil, lost("no server has such an identifier")
	}
	c, err := p.connect(ctx, project)
	if err != nil {
		return nil, nil, err
	}
	in, _, err := c.GetInstance(name)
	if err != nil {
		return nil, nil, err
	}
	if serverID(in) != id {
		return nil, nil, lost("another server has its name now")
	}
	return c, in, nil
}

// Launch creates and starts a container and waits until Incus has done both, which takes less than
// a second once the image is unpacked on the pool, so that a refusal is reported here.
func (p *Provider) Launch(ctx context.Context, spec cloud.ServerSpec) (cloud.Server, error) {
	call := "launch " + spec.Name
	project := string(spec.Network)
	switch {
	case spec.Token == "":
		return cloud.Server{}, refuse(call, "no token")
	case spec.Tags.Owner == "":
		return cloud.Server{}, refuse(call, "no owner in its tags")
	case spec.Image == "":
		return cloud.Server{}, refuse(call, "no image")
	case !spec.Address.Is4():
		return cloud.Server{}, refuse(call, "no IPv4 address")
	}
	c, err := p.connect(ctx, project)
	if err != nil {
		return cloud.Server{}, fail(call, err)
	}
	if _, err = launched(c, spec); absent(err) {
		err = p.create(ctx, c, spec)
	}
	if err != nil {
		return cloud.Server{}, fail(call, err)
	}
	if err := p.completeLaunch(ctx, c, spec); err != nil {
		return cloud.Server{}, fail(call, p.recovering(ctx, c, err))
	}
	found, _, err := c.GetInstance(spec.Name)
	if err != nil {
		return cloud.Server{}, fail(call, err)
	}
	return server(found), nil
}

// create makes a container and starts it, or finds the one that an earlier call made. While Incus still
// works on such a call, whose caller went away, the container may not be listed yet: its name is busy.
func (p *Provider) create(ctx context.Context, c client.InstanceServer, spec cloud.ServerSpec) error {
	request, err := p.container(c, spec)
	if err != nil {
		return err
	}
	err = incusd.Patiently(ctx, c, spec.Name, func() error {
		op, err := c.CreateInstance(request)
		_, err = incusd.Finish(c, op, err)
		return err
	})
	if err != nil && !taken(err) {
		return discreet(p.recovering(ctx, c, err))
	}
	_, err = launched(c, spec)
	return err
}

// launched finds the server that an earlier call with the same token made.
func launched(c client.InstanceServer, spec cloud.ServerSpec) (*api.Instance, error) {
	others, err := c.GetInstances(api.InstanceTypeContainer)
	if err != nil {
		return nil, err
	}
	for i := range others {
		sameName, sameToken := others[i].Name == spec.Name, others[i].Config[tagToken] == spec.Token
		switch {
		case sameName && sameToken:
			return &others[i], nil
		case sameName:
			return nil, conflict("launch "+spec.Name, "a server of that name was launched with another token")
		case sameToken:
			return nil, conflict("launch "+spec.Name, "that token launched %s", others[i].Name)
		}
	}
	return nil, &cloud.Error{Call: "find server " + spec.Name, Code: cloud.CodeNotFound, Err: errors.New("not launched yet")}
}

// taken reports whether the instance itself was there already, rather than something it needs.
func taken(err error) bool {
	said := strings.ToLower(err.Error())
	return strings.Contains(said, "instance") && strings.Contains(said, "already exists")
}

// discreet hides what Incus says about user-data: it might quote it, and it may hold secrets.
func discreet(err error) error {
	if strings.Contains(err.Error(), "user-data") {
		return errors.New("the user-data is not what cloud-init understands")
	}
	return err
}

// completeLaunch starts a server that was created but never started: the one who launched it died
// in between. A server that somebody stopped later stays stopped. One that cannot be started was perhaps
// left half made by an Incus that was killed: nothing has ever run in it, so it is made anew, once.
func (p *Provider) completeLaunch(ctx context.Context, c client.InstanceServer, spec cloud.ServerSpec) error {
	if err := incusd.Settle(c, incusd.On(spec.Name)); err != nil {
		return err
	}
	found, _, err := c.GetInstance(spec.Name)
	if err != nil || !neverStarted(found) {
		return err
	}
	start := api.InstanceStatePut{Action: "start", Timeout: -1}
	if err = p.switchTo(ctx, c, spec.Name, start); err == nil || classify(err) != cloud.CodeRefused {
		return err
	}
	p.cfg.Log.Warn("a server that was created and never started is made anew", "server", spec.Name, "err", err)
	op, removed := c.DeleteInstance(spec.Name)
	if _, removed = incusd.Finish(c, op, removed); removed != nil && !absent(removed) {
		return errors.Join(err, removed)
	}
	return p.create(ctx, c, spec)
}

func neverStarted(in *api.Instance) bool {
	return in.StatusCode == api.Stopped && (in.LastUsedAt.IsZero() || in.LastUsedAt.Unix() <= 0)
}

// container translates a specification. Root disk and network are the instance's own devices, so
// that there is no profile to keep.
func (p *Provider) container(c client.InstanceServer, spec cloud.ServerSpec) (api.InstancesPost, error) {
	config := api.ConfigMap(label(map[string]string{tagToken: spec.Token}, spec.Tags))
	config["security.guestapi"] = "false" // a server has no business with its host
	if spec.UserData != "" {
		config["cloud-init.user-data"] = spec.UserData
	}
	if spec.CPUs > 0 {
		config["limits.cpu"] = strconv.Itoa(spec.CPUs)
	}
	if spec.MemoryMiB > 0 {
		config["limits.memory"] = strconv.Itoa(spec.MemoryMiB) + "MiB"
	}
	devices := api.DevicesMap{
		"root": {"type": "disk", "path": "/", "pool": p.cfg.Pool},
		"eth0": {
			"type": "nic", "name": "eth0", "network": bridgeName(string(spec.Network)),
			"ipv4.address": spec.Address.String(), "hwaddr": hardwareAddress(spec.Address),
		},
	}
	if _, _, err := c.GetImage(string(spec.Image)); err != nil { // Incus itself would not say what is missing
		return api.InstancesPost{}, err
	}
	for _, id := range spec.Volumes {
		volume, err := p.volume(c, id)
		if err != nil {
			return api.InstancesPost{}, err
		}
		if volume.Attached != "" {
			return api.InstancesPost{}, conflict("launch "+spec.Name, "volume %s is attached to %s", id, volume.Attached)
		}
		devices[deviceName(volume.Name)] = p.volumeDevice(volume.Name)
	}
	return api.InstancesPost{
		Name: spec.Name, Type: api.InstanceTypeContainer, Start: true,
		Source:      api.InstanceSource{Type: "image", Fingerprint: string(spec.Image)},
		InstancePut: api.InstancePut{Config: config, Devices: devices, Profiles: []string{}},
	}, nil
}

// Servers asks once for all projects.
func (p *Provider) Servers(ctx context.Context, filter cloud.Filter) ([]cloud.Server, error) {
	c, err := p.connect(ctx, "")
	if err != nil {
		return nil, fail("list servers", err)
	}
	all, err := c.GetInstancesAllProjects(api.InstanceTypeContainer)
	if err != nil {
		return nil, fail("list servers", err)
	}
	servers := []cloud.Server{}
	for i := range all {
		if fits(tagsOf(all[i].Config), filter) {
			servers = append(servers, server(&all[i]))
		}
	}
	return servers, nil
}

func server(in *api.Instance) cloud.Server {
	address, _ := netip.ParseAddr(in.Devices["eth0"]["ipv4.address"]) // zero if somebody removed it
	return cloud.Server{
		ID: serverID(in), Name: in.Name, State: stateOf(in), Address: address,
		Image: cloud.ImageID(in.Config["volatile.base_image"]), Tags: tagsOf(in.Config), Launched: in.CreatedAt,
	}
}

func stateOf(in *api.Instance) cloud.State {
	switch in.StatusCode {
	case api.Running, api.Ready, api.Stopping:
		return cloud.Running
	case api.Stopped:
		if neverStarted(in) { // its creation is still going on
			return cloud.Pending
		}
		return cloud.Stopped
	case api.Starting, api.Pending:
		return cloud.Pending
	}
	return cloud.Broken
}

// hardwareAddress is made from the address, so that a server that is launched again keeps it: its
// neighbours would go on for half a minute sending to the one it had before.
func hardwareAddress(a netip.Addr) string {
	if !a.Is4() {
		return "" // Incus picks one, or refuses the address
	}
	b := a.As4()
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3]) // locally administered
}
