package environment

import (
	"context"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Take gives the step that makes code the environment's own: Deliver and Relaunch use it from now on,
// its health checks hold, and secrets that it newly names are generated. Servers change only by
// Deliver or Relaunch. Servers keep the layout they were launched with, so every role must live on.
// images replaces the images by role; nil keeps them.
func (e *Environment) Take(code Code, images map[string]cloud.ImageID) Step {
	return e.step("take code "+short(code.Commit), func(ctx context.Context) error {
		for _, m := range e.machines() {
			if _, ok := code.Product.Roles[m.Role]; !ok {
				return verdict.Errorf(verdict.ProcedureFails, m.Name, "commit %s has no role %s any more", short(code.Commit), m.Role)
			}
		}
		return e.update(ctx, func(k *kept) error {
			if k.state == ledger.Destroyed {
				return ErrDestroyed
			}
			k.rec.Spec.Product, k.rec.Spec.Commit, k.rec.Spec.Archive = code.Product, code.Commit, code.Archive
			if images != nil {
				k.rec.Spec.Images = images
			}
			return k.keys.complete(code.Product)
		})
	})
}

// Deliver gives the step that brings the environment's code, with its settings, facts and secrets, to
// a server as an admin. The server does not run it yet: see Provision.
func (e *Environment) Deliver(server string) Step {
	return e.step("deliver code to "+server, func(ctx context.Context) error {
		session, err := e.Session(ctx, server)
		if err != nil {
			return err
		}
		if err := e.sendCode(ctx, session, server, puppet.UnpackScript); err != nil {
			return err
		}
		commit := e.Code().Commit
		if err := e.alter(ctx, server, func(m *machine) {
			m.Ready = m.Ready && m.Commit == commit
			m.Commit = commit
		}); err != nil {
			return err
		}
		launch, err := e.launch(e.machine(server))
		if err != nil {
			return err
		}
		launch.Bootstrap = nil
		files, err := launch.Files()
		if err != nil {
			return err
		}
		return e.putFiles(ctx, session, files)
	})
}

// Provision gives the steps that start the unit on a server with the code that was delivered, and
// wait until it has converged. A Puppet failure names the resource.
func (e *Environment) Provision(server string) []Step {
	return []Step{
		e.step("start provisioning "+server, func(ctx context.Context) error {
			session, err := e.Session(ctx, server)
			if err != nil {
				return err
			}
			return shell(ctx, session, server, puppet.StartScript(e.machine(server).Commit), time.Minute)
		}),
		e.convergedStep(server),
	}
}

func short(commit string) string { return commit[:min(len(commit), 10)] }
