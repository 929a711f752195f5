package environment

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cost"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Up gives the steps from nothing to a working environment: every server converged and healthy, the
// admin's path to each proved, the bootstrap user and everything temporary gone.
//
// Servers of one level work at the same time although steps come one after another: all of a level
// are set to work before the first is waited for. From a base, all servers are launched at once and
// only told to provision level by level; a prebuilt server provisions itself as it boots, so it is
// launched when its level's turn has come.
func (e *Environment) Up() []Step {
	all := e.machines()
	bastion, last := all[0].Name, all[len(all)-1].Level
	base := e.Origin() == Base

	steps := []Step{e.networkStep()}
	for _, m := range all {
		for _, v := range m.Volumes {
			steps = append(steps, e.volumeStep(m.Name, v.Name))
		}
	}
	for _, m := range all {
		if base || m.Level <= 1 {
			steps = append(steps, e.launchStep(m.Name))
		}
	}
	steps = append(steps, e.admitStep(bastion))
	for level := 0; level <= last; level++ {
		now := atLevel(all, level)
		for _, m := range now {
			if !base && level > 1 {
				steps = append(steps, e.launchStep(m.Name))
			}
		}
		steps = append(steps, e.provisionSteps(now)...)
	}
	return append(steps,
		e.step("prove the admin's path to every server", e.proveAdmin),
		e.step("prove that nothing temporary is left", e.proveClosed),
		e.step("up", func(ctx context.Context) error {
			return e.move(ctx, ledger.Up)
		}))
}

// provisionSteps gives the steps from launched servers to converged and healthy ones.
func (e *Environment) provisionSteps(now []machine) []Step {
	var steps []Step
	for _, m := range now {
		steps = append(steps, e.hostKeysStep(m.Name))
		switch {
		case e.Origin() == Base:
			steps = append(steps, e.deliverBaseStep(m.Name))
		case e.bootstraps():
			steps = append(steps, e.bringStep(m.Name))
		}
	}
	for _, m := range now {
		steps = append(steps, e.convergedStep(m.Name))
	}
	for _, m := range now {
		steps = append(steps, e.healthStep(m.Name))
	}
	return steps
}

func atLevel(all []machine, level int) []machine {
	var list []machine
	for _, m := range all {
		if m.Level == level {
			list = append(list, m)
		}
	}
	return list
}

// move changes the environment's state. There is no way back from its end.
func (e *Environment) move(ctx context.Context, state string) error {
	return e.update(ctx, func(k *kept) error {
		over := k.state == ledger.Destroying || k.state == ledger.Destroyed
		switch {
		case over && state == ledger.Up:
			return ErrDestroyed
		case k.state != ledger.Destroyed:
			k.state = state
		}
		return nil
	})
}

// tags are written on everything that the environment makes.
func (e *Environment) tags(extra map[string]string) cloud.Tags {
	s := e.settings().Spec
	if extra == nil {
		extra = map[string]string{}
	}
	extra["name"], extra["origin"] = s.Name, string(s.Origin)
	return cloud.Tags{Owner: s.Owner, Run: s.Run, Environment: s.ID, Deadline: s.Deadline, Extra: extra}
}

func (e *Environment) networkStep() Step {
	return e.step("network", func(ctx context.Context) error {
		allowed, err := e.site.allowed(e.settings().Spec.Product)
		if err != nil {
			return err
		}
		var names []string
		for _, m := range e.machines() {
			names = append(names, m.Name)
		}
		if e.settings().Spec.Control != "" {
			names = append(names, controlServer) // last: the others' addresses do not depend on it
		}
		n, err := e.site.Provider.CreateNetwork(ctx, cloud.NetworkSpec{
			Name: "env-" + e.ID(), Tags: e.tags(nil), Egress: allowed, Servers: names,
		})
		if err != nil {
			return err
		}
		return e.change(ctx, func(r *record) {
			r.Network = n
			for _, m := range r.Servers {
				m.Address = n.Addresses[m.Name]
			}
		})
	})
}

func (e *Environment) volumeStep(server, name string) Step {
	return e.step("volume "+server+"/"+name, func(ctx context.Context) error {
		m := e.machine(server)
		for _, v := range m.Volumes {
			if v.Name != name || v.ID != "" {
				continue
			}
			made, err := e.site.Provider.CreateVolume(ctx, cloud.VolumeSpec{
				Name: server + "-" + name, Network: e.settings().Network.ID, SizeMiB: v.SizeMiB,
				Tags: e.tags(map[string]string{"role": m.Role}),
			})
			if err != nil {
				return err
			}
			return e.change(ctx, func(r *record) {
				m := r.find(server)
				for i := range m.Volumes {
					if m.Volumes[i].Name == name {
						m.Volumes[i].ID, m.Volumes[i].Path = made.ID, made.Path
					}
				}
				r.Uses = append(r.Uses, cost.Use{Kind: cost.Volume, Name: made.Name, GiB: gib(v.SizeMiB), From: e.site.clock().Now()})
			})
		}
		return nil
	})
}

// launchStep launches a server in its current life, or adopts it by its token.
func (e *Environment) launchStep(server string) Step {
	return e.step("launch "+server, func(ctx context.Context) error {
		m := e.machine(server)
		if m.ID != "" {
			return nil
		}
		launch, err := e.launch(m)
		if err != nil {
			return err
		}
		userData, err := launch.UserData()
		if err != nil {
			return err
		}
		r, role := e.settings(), e.role(m.Role)
		spec := cloud.ServerSpec{
			Name: m.Name, Network: r.Network.ID, Image: r.Spec.Images[m.Role], Address: m.Address,
			UserData: userData, Token: fmt.Sprintf("%s-%s-%d", r.Spec.ID, m.Name, m.Life),
			Tags: e.tags(map[string]string{"role": m.Role, "commit": m.Commit}),
			CPUs: role.CPUs, MemoryMiB: role.MemoryMiB, DiskMiB: role.DiskMiB, Processes: role.Processes,
		}
		for _, v := range m.Volumes {
			spec.Volumes = append(spec.Volumes, v.ID)
		}
		if e.confides() {
			if spec.Private, err = private(launch); err != nil {
				return err
			}
		}
		made, err := e.site.Provider.Launch(ctx, spec)
		if err != nil {
			return err
		}
		if err := e.moved(server, made); err != nil {
			return err
		}
		return e.change(ctx, func(r *record) {
			m := r.find(server)
			m.ID, m.Address = made.ID, made.Address
			r.began(made, role, e.site.clock().Now())
		})
	})
}

func gib(mib int64) float64 { return float64(mib) / 1024 }

// moved refuses a server that has another address than the one that was reserved, once others were
// told of that one: the whole environment has to be launched anew. See docs/decisions/0006.
func (e *Environment) moved(server string, made cloud.Server) error {
	if e.machine(server).Address == made.Address {
		return nil
	}
	for _, m := range e.machines() {
		if m.Name != server && m.ID != "" {
			return verdict.Errorf(verdict.CloudRefused, server, "there was no room for it but at %s, and %s was told otherwise", made.Address, m.Name)
		}
	}
	return nil
}

// launch is what a server is told at its launch, or at its upgrade.
func (e *Environment) launch(m machine) (puppet.Launch, error) {
	r, all := e.settings(), e.machines()
	l := puppet.Launch{
		Commit: m.Commit, Stage: r.Stage, Environment: r.Spec.ID, Server: m.Name, Role: m.Role, Address: m.Address,
		Packages: r.Spec.Product.Puppet.Packages, CacheURL: r.Network.Cache, Timeout: e.puppetTimeout(),
		OnBase: r.Spec.Origin == Base, Deadline: r.Spec.Deadline,
	}
	if e.bootstraps() {
		key, err := publicLine(e.keys.bootstrap)
		if err != nil {
			return puppet.Launch{}, err
		}
		l.Bootstrap = &puppet.Bootstrap{User: BootstrapUser, PublicKey: key}
	}
	if r.Stage == puppet.StageBake {
		return l, nil
	}
	l.Awaits = !e.confides()
	key, err := publicLine(e.keys.admin)
	if err != nil {
		return puppet.Launch{}, err
	}
	l.Admin = puppet.Admin{User: e.adminUser(), Keys: []string{key}}
	l.Bastion, l.Peers, l.Volumes, l.Secrets = all[0].Address, map[string]puppet.Peer{}, map[string]string{}, puppet.Secrets{}
	for _, other := range all {
		if other.Name != m.Name {
			l.Peers[other.Name] = puppet.Peer{Role: other.Role, Address: other.Address}
		}
	}
	for _, v := range m.Volumes {
		l.Volumes[v.Name] = v.Path
	}
	e.mu.Lock()
	for _, s := range e.rec.Spec.Product.Secrets {
		if s.For(m.Role) {
			l.Secrets[s.Name] = e.keys.secrets[s.Name]
		}
	}
	e.mu.Unlock()
	if m.Bastion {
		l.Secrets[seedSecret] = e.keys.seed
	}
	return l, nil
}

// admitStep lets this host in to one server, and to no other.
func (e *Environment) admitStep(server string) Step {
	return e.step("open the network to "+server, func(ctx context.Context) error {
		return e.admit(ctx, server)
	})
}

// hostKeysStep waits until a server has said its host keys on the console, and pins them.
func (e *Environment) hostKeysStep(server string) Step {
	return e.step("host keys of "+server, func(ctx context.Context) error {
		m := e.machine(server)
		if len(m.HostKeys) > 0 {
			return nil
		}
		var keys []string
		err := e.comingUp(ctx, server, func(ctx context.Context) (err error) {
			keys, err = e.awaitHostKeys(ctx, m)
			return err
		})
		if err != nil && e.Origin() == Base {
			return beforeProduct(server, err)
		}
		if err != nil {
			return err
		}
		return e.alter(ctx, server, func(m *machine) { m.HostKeys = keys })
	})
}

func (e *Environment) awaitHostKeys(ctx context.Context, m machine) (keys []string, err error) {
	look := e.watchState(m.Name)
	err = e.poll(ctx, e.site.Timeouts.withDefaults().Boot, func(ctx context.Context) (bool, error) {
		console, err := e.console(ctx, m.ID)
		if err != nil {
			return true, err
		}
		for _, key := range remote.ParseHostKeys(console) {
			keys = append(keys, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))
		}
		if len(keys) > 0 {
			return true, nil
		}
		if err := look(ctx); err != nil {
			return true, err
		}
		return false, verdict.Errorf(verdict.ServerBoot, m.Name, "no host keys on its console; it ends with: %s", lastLines(console, 5))
	})
	return keys, err
}

// mostQuoted is how much of one line an error quotes, in bytes.
const mostQuoted = 1000

// lastLines are the last n lines of a console that say something, in one line.
func lastLines(console []byte, n int) string {
	var lines []string
	for line := range strings.Lines(string(console)) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			if over := len(line) - mostQuoted; over > 0 {
				line = strings.ToValidUTF8(line[:mostQuoted], "") + fmt.Sprintf("… (%d bytes more)", over)
			}
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return "nothing"
	}
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}
