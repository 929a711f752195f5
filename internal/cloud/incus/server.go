package incus

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// serverID is "project/name/launch". The last part stands for the token: a server that is launched
// again under its old name is another one, and whoever still knows the old one can't hurt it.
func serverID(in incusd.Instance) cloud.ServerID {
	sum := sha256.Sum256([]byte(in.Config[tagToken]))
	return cloud.ServerID(in.Project + "/" + in.Name + "/" + hex.EncodeToString(sum[:4]))
}

// lookup connects to the project of a server and reads the server.
func (p *Provider) lookup(ctx context.Context, id cloud.ServerID) (*incusd.Client, incusd.Instance, error) {
	lost := func(why string) error {
		return &cloud.Error{Call: "find server " + string(id), Code: cloud.CodeNotFound, Err: errors.New(why)}
	}
	project, rest, _ := strings.Cut(string(id), "/")
	name, launch, ok := strings.Cut(rest, "/")
	if !ok || project == "" || name == "" || launch == "" {
		return nil, incusd.Instance{}, lost("no server has such an identifier")
	}
	c := p.connect(project)
	in, err := c.Instance(ctx, name)
	if err != nil {
		return nil, incusd.Instance{}, err
	}
	if serverID(in) != id {
		return nil, incusd.Instance{}, lost("another server has its name now")
	}
	return c, in, nil
}

// Launch creates and starts a container and waits until Incus has done both, which takes less than
// a second once the image is unpacked on the pool, so that a refusal is reported here. Private files are written
// into its root file system in between: what is in its configuration, Incus keeps in its database.
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
	for _, f := range spec.Private {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
			return cloud.Server{}, refuse(call, "%q is no path of a private file", f.Path)
		}
	}
	if err := p.holdQuotas(ctx); err != nil {
		return cloud.Server{}, err
	}
	c := p.connect(project)
	_, err := launched(ctx, c, spec)
	if absent(err) {
		err = p.create(ctx, c, spec)
	}
	if err != nil {
		return cloud.Server{}, fail(call, err)
	}
	if err := p.completeLaunch(ctx, c, spec); err != nil {
		return cloud.Server{}, fail(call, p.recovering(ctx, c, err))
	}
	found, err := c.Instance(ctx, spec.Name)
	if err != nil {
		return cloud.Server{}, fail(call, err)
	}
	return server(found), nil
}

// create makes a container and starts it, or finds the one that an earlier call made. While Incus still
// works on such a call, whose caller went away, the container may not be listed yet: its name is busy.
func (p *Provider) create(ctx context.Context, c *incusd.Client, spec cloud.ServerSpec) error {
	request, err := p.container(ctx, c, spec)
	if err != nil {
		return err
	}
	err = incusd.Patiently(ctx, c, spec.Name, func() error {
		return c.CreateInstance(ctx, request)
	})
	if incusd.NoIDs(err) {
		return &cloud.Error{Call: "launch " + spec.Name, Code: cloud.CodeCapacity, Err: fmt.Errorf(
			"%w: each server takes 65536 user and group ids of those that /etc/subuid and /etc/subgid of the Incus host give root: "+
				"end environments that nobody needs, or give root more ids there and start Incus again", err)}
	}
	if err != nil && !taken(err) {
		return discreet(p.recovering(ctx, c, err))
	}
	_, err = launched(ctx, c, spec)
	return err
}

// launched finds the server that an earlier call with the same token made.
func launched(ctx context.Context, c *incusd.Client, spec cloud.ServerSpec) (incusd.Instance, error) {
	others, err := c.Instances(ctx)
	if err != nil {
		return incusd.Instance{}, err
	}
	for i := range others {
		sameName, sameToken := others[i].Name == spec.Name, others[i].Config[tagToken] == spec.Token
		switch {
		case sameName && sameToken:
			return others[i], nil
		case sameName:
			return incusd.Instance{}, conflict("launch "+spec.Name, "a server of that name was launched with another token")
		case sameToken:
			return incusd.Instance{}, conflict("launch "+spec.Name, "that token launched %s", others[i].Name)
		}
	}
	return incusd.Instance{}, &cloud.Error{Call: "find server " + spec.Name, Code: cloud.CodeNotFound, Err: errors.New("not launched yet")}
}

// taken reports whether the instance itself was there already, rather than something it needs.
func taken(err error) bool {
	said := strings.ToLower(err.Error())
	return strings.Contains(said, "instance") && strings.Contains(said, "already exists")
}

// discreet leaves out what Incus says about user-data: it might quote it, and it is long.
func discreet(err error) error {
	if strings.Contains(err.Error(), "user-data") {
		return errors.New("the user-data is not what cloud-init understands")
	}
	return err
}

// completeLaunch gives a server that was never started its private files and starts it. A create without such files
// has started the server already, unless the process that launched it died in between. A server that somebody
// stopped later stays stopped. One that cannot be started was perhaps left half made by an Incus that was killed:
// nothing has ever run in it, so it is made anew, once.
func (p *Provider) completeLaunch(ctx context.Context, c *incusd.Client, spec cloud.ServerSpec) error {
	if err := incusd.Settle(ctx, c, incusd.On(spec.Name)); err != nil {
		return err
	}
	found, err := c.Instance(ctx, spec.Name)
	if err != nil || !neverStarted(found) {
		return err
	}
	if err = p.begin(ctx, c, spec); err == nil || classify(err) != cloud.CodeRefused {
		return err
	}
	p.cfg.Log.Warn("a server that was created and never started is made anew", "server", spec.Name, "err", err)
	if removed := c.DeleteInstance(ctx, spec.Name); removed != nil && !absent(removed) {
		return errors.Join(err, removed)
	}
	if err := p.create(ctx, c, spec); err != nil || len(spec.Private) == 0 {
		return err
	}
	return p.begin(ctx, c, spec)
}

// begin starts a server for the first time, with its private files.
func (p *Provider) begin(ctx context.Context, c *incusd.Client, spec cloud.ServerSpec) error {
	if err := putPrivate(ctx, c, spec); err != nil {
		return err
	}
	return p.switchTo(ctx, c, spec.Name, incusd.StateChange{Action: "start"})
}

// Confidential says that private files are brought: see cloud.Confidant.
func (p *Provider) Confidential() {}

// putPrivate writes private files into the root file system of a server that was never started, by Incus' own
// access to its files. They pass through Incus' memory and are in no configuration, so in no record of it.
func putPrivate(ctx context.Context, c *incusd.Client, spec cloud.ServerSpec) error {
	made := map[string]bool{"/": true}
	for _, f := range spec.Private {
		if err := makeFolders(ctx, c, spec.Name, path.Dir(f.Path), made); err != nil {
			return err
		}
		err := incusd.Patiently(ctx, c, spec.Name, func() error {
			return c.WriteFile(ctx, spec.Name, f.Path, 0o600, strings.NewReader(string(f.Content)))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// makeFolders makes a folder, and those it lies in if it cannot be made without: each request costs time.
func makeFolders(ctx context.Context, c *incusd.Client, server, folder string, made map[string]bool) error {
	if made[folder] {
		return nil
	}
	mkdir := func() error {
		return incusd.Patiently(ctx, c, server, func() error { return c.MakeFolder(ctx, server, folder, 0o755) })
	}
	err := mkdir()
	if above := path.Dir(folder); err != nil && !made[above] {
		if err = makeFolders(ctx, c, server, above, made); err == nil {
			err = mkdir()
		}
	}
	made[folder] = err == nil
	return err
}

func neverStarted(in incusd.Instance) bool {
	return in.StatusCode == incusd.Stopped && (in.LastUsedAt.IsZero() || in.LastUsedAt.Unix() <= 0)
}

// container translates a specification. Root disk and network are the instance's own devices, so
// that there is no profile to keep.
func (p *Provider) container(ctx context.Context, c *incusd.Client, spec cloud.ServerSpec) (incusd.NewInstance, error) {
	config := label(map[string]string{tagToken: spec.Token}, spec.Tags)
	if spec.UserData != "" {
		config["cloud-init.user-data"] = spec.UserData
	}
	devices := incusd.Devices{
		"root": {"type": "disk", "path": "/", "pool": p.cfg.Pool},
		"eth0": {
			"type": "nic", "name": "eth0", "network": bridgeName(string(spec.Network)),
			"ipv4.address": spec.Address.String(), "hwaddr": hardwareAddress(spec.Address),
		},
	}
	if _, err := c.Image(ctx, string(spec.Image)); err != nil { // Incus itself would not say what is missing
		return incusd.NewInstance{}, err
	}
	for _, id := range spec.Volumes {
		volume, err := p.volume(ctx, c, id)
		if err != nil {
			return incusd.NewInstance{}, err
		}
		if volume.Attached != "" {
			return incusd.NewInstance{}, conflict("launch "+spec.Name, "volume %s is attached to %s", id, volume.Attached)
		}
		devices[deviceName(volume.Name)] = p.volumeDevice(volume.Name)
	}
	n := incusd.NewInstance{Name: spec.Name, Image: string(spec.Image), Config: config, Devices: devices, Start: len(spec.Private) == 0}
	n.Wall(p.bounds(spec))
	return n, nil
}

// bounds are what a server asks for, and the usual for the rest.
func (p *Provider) bounds(spec cloud.ServerSpec) incusd.Bounds {
	b := p.cfg.Usual
	b.CPUs = cmp.Or(spec.CPUs, b.CPUs)
	b.MemoryMiB = cmp.Or(spec.MemoryMiB, b.MemoryMiB)
	b.DiskMiB = cmp.Or(spec.DiskMiB, b.DiskMiB)
	b.Processes = cmp.Or(spec.Processes, b.Processes)
	return b
}

// Servers asks once for all projects.
func (p *Provider) Servers(ctx context.Context, filter cloud.Filter) ([]cloud.Server, error) {
	if err := p.holdQuotas(ctx); err != nil && ctx.Err() == nil {
		p.cfg.Log.Warn("servers may fill the storage pool", "err", err)
	}
	all, err := p.connect("").AllInstances(ctx)
	if err != nil {
		return nil, fail("list servers", err)
	}
	servers := []cloud.Server{}
	for i := range all {
		if fits(tagsOf(all[i].Config), filter) {
			servers = append(servers, server(all[i]))
		}
	}
	return servers, nil
}

func server(in incusd.Instance) cloud.Server {
	address, _ := netip.ParseAddr(in.Devices["eth0"]["ipv4.address"]) // zero if somebody removed it
	return cloud.Server{
		ID: serverID(in), Name: in.Name, State: stateOf(in), Address: address,
		Image: cloud.ImageID(in.Config["volatile.base_image"]), Tags: tagsOf(in.Config), Launched: in.CreatedAt,
		RootMiB: rootMiB(in),
	}
}

// rootMiB is the bound of a root disk, as Wall writes it; 0 for a server of an older Hallmark's.
func rootMiB(in incusd.Instance) int64 {
	mib, _ := strconv.ParseInt(strings.TrimSuffix(in.Devices["root"]["size"], "MiB"), 10, 64)
	return mib
}

func stateOf(in incusd.Instance) cloud.State {
	switch in.StatusCode {
	case incusd.Running, incusd.Ready, incusd.Stopping:
		return cloud.Running
	case incusd.Stopped:
		if neverStarted(in) { // its creation is still going on
			return cloud.Pending
		}
		return cloud.Stopped
	case incusd.Starting, incusd.Pending:
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
