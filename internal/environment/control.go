package environment

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// controlServer is the name of Hallmark's own server in an environment's network. It is launched from the
// reference base, by an audit that met silence, has nothing of the product on it, and goes when the audit
// ends. See docs/decisions/0011.
const controlServer = "hallmark-control"

// control is a control server that has booted and let this host in.
type control struct {
	env     *Environment
	id      cloud.ServerID
	address netip.Addr
	session remote.Session
}

// withControl launches a control server, lets use see it, and takes it away again. An error says that
// there was none, so nothing is proved.
func (e *Environment) withControl(ctx context.Context, use func(control)) error {
	e.controlling.Lock()
	defer e.controlling.Unlock()
	r := e.settings()
	address, reserved := r.Network.Addresses[controlServer]
	switch {
	case r.Spec.Control == "":
		return fmt.Errorf("there is no image for a control server")
	case !reserved:
		return fmt.Errorf("the network has no address for a control server")
	}
	c, err := e.launchControl(ctx, address)
	if c.id != "" {
		defer e.removeControl(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("control server: %w", err)
	}
	use(c)
	return nil
}

func (e *Environment) launchControl(ctx context.Context, address netip.Addr) (control, error) {
	c := control{env: e, address: address}
	if err := e.change(ctx, func(r *record) { r.Controls++ }); err != nil {
		return c, err
	}
	r := e.settings()
	key, err := publicLine(e.keys.bootstrap)
	if err != nil {
		return c, err
	}
	// Told as a server from a base is told, and never set to work: no code is delivered to it.
	userData, err := puppet.Launch{
		Commit: r.Spec.Commit, Stage: puppet.StageBake, Environment: r.Spec.ID, Server: controlServer, Role: controlServer, Address: address,
		CacheURL: r.Network.Cache, OnBase: true, Deadline: r.Spec.Deadline,
		Bootstrap: &puppet.Bootstrap{User: BootstrapUser, PublicKey: key},
	}.UserData()
	if err != nil {
		return c, err
	}
	made, err := e.site.Provider.Launch(ctx, cloud.ServerSpec{
		Name: controlServer, Network: r.Network.ID, Image: r.Spec.Control, Address: address, UserData: userData,
		Token: fmt.Sprintf("%s-%s-%d", r.Spec.ID, controlServer, r.Controls), Tags: e.tags(nil),
	})
	if err != nil {
		return c, err
	}
	c.id, c.address = made.ID, made.Address
	if err := e.change(ctx, func(r *record) {
		r.began(made, product.Role{}, e.site.clock().Now())
	}); err != nil {
		return c, err
	}
	if err := e.site.Provider.AllowAdmin(ctx, r.Network.ID, []netip.Addr{e.machines()[0].Address, c.address}); err != nil {
		return c, err
	}
	return c, e.enterControl(ctx, &c)
}

// enterControl waits until the control server lets this host in.
func (e *Environment) enterControl(ctx context.Context, c *control) error {
	server := remote.Server{Name: controlServer, Address: c.address.String() + ":22", User: BootstrapUser}
	var err error
	if server.Signer, err = signer(e.keys.bootstrap); err != nil {
		return err
	}
	return e.poll(ctx, e.site.Timeouts.withDefaults().Boot, func(ctx context.Context) (bool, error) {
		console, err := e.console(ctx, c.id)
		if err != nil {
			return true, err
		}
		if server.HostKeys = remote.ParseHostKeys(console); len(server.HostKeys) == 0 {
			return false, verdict.Errorf(verdict.Unexplained, controlServer, "no host keys on its console; it ends with: %s", lastLines(console, 3))
		}
		c.session, err = e.site.Dialer.Direct(ctx, server)
		if err == nil {
			c.session = discreetSession{c.session, e}
		}
		return err == nil, err
	})
}

// removeControl takes the control server away, also after ctx has ended. What it leaves goes with the
// environment.
func (e *Environment) removeControl(ctx context.Context, c control) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if c.session != nil {
		e.ignore(c.session.Close())
	}
	destroyed := e.site.Provider.Destroy(ctx, c.id)
	if destroyed == nil { // else it goes on to cost, until the environment's end
		destroyed = e.change(ctx, func(r *record) { r.ended(controlServer, e.site.clock().Now()) })
	}
	for what, err := range map[string]error{
		"admit the bastion alone again":               e.admit(ctx, e.machines()[0].Name),
		"destroy the control server and note its end": destroyed,
	} {
		if err != nil {
			e.site.log().Warn("the control server is left to the environment's end", "what", what, "run", e.settings().Spec.Run, "env", e.ID(), "err", e.discreet(err))
		}
	}
}

// What a knock at a port meets.
const (
	knockAnswered = "answers"
	knockRefused  = "refuses the connection"
	knockSilent   = "does not answer"
)

// knockLine knocks at a server's sshd. The first word tells what it is for, in the log of the server.
func knockLine(address netip.Addr) string {
	return fmt.Sprintf(": hallmark knocks; timeout 4 bash -c '</dev/tcp/%s/22'", address)
}

// knock says what a session's server meets at another one's sshd.
func knock(ctx context.Context, session remote.Session, address netip.Addr) (string, error) {
	r, err := session.Run(ctx, remote.Command{Line: knockLine(address), Timeout: 15 * time.Second})
	switch {
	case err != nil:
		return "", err
	case r.Exit == 0:
		return knockAnswered, nil
	case strings.Contains(strings.ToLower(string(r.Stderr)), "connection refused"):
		return knockRefused, nil
	}
	return knockSilent, nil
}

// blame finds out, from the control server and from the bastion, which server keeps a way silent.
func (c control) blame(ctx context.Context, w closedWay) (verdict.Lockout, error) {
	seen, err := knock(ctx, c.session, c.env.machine(w.server).Address)
	if err != nil {
		return verdict.Lockout{}, fmt.Errorf("knock from the control server: %w", err)
	}
	out := verdict.Lockout{Leg: w.leg, Server: w.server, Said: fmt.Sprintf("%s; %s, a neutral server in its network, answers this host, and to it %s %s",
		w.said, controlServer, w.server, seen)}
	bastion := c.env.machines()[0].Name
	if w.server == bastion {
		return out, nil
	}
	session, err := c.env.Session(ctx, bastion)
	if err != nil {
		return verdict.Lockout{}, fmt.Errorf("enter %s to knock from there: %w", bastion, err)
	}
	passes, err := knock(ctx, session, c.address)
	if err != nil {
		return verdict.Lockout{}, fmt.Errorf("knock from %s: %w", bastion, err)
	}
	out.Said += fmt.Sprintf("; to %s the control server %s", bastion, passes)
	switch {
	case passes != knockAnswered:
		out.Leg, out.Server = verdict.LegNetwork, bastion
	case seen == knockAnswered:
		out.Leg = verdict.LegNetwork
	}
	return out, nil
}
