// Package upgrader brings running servers to new code the way the product says: its procedure, role
// after role, rolling inside a role, then the post-release tasks. It owns the order and the rules of
// a rolling change. What a server does to itself is the environment's, what is tested afterwards the
// verifier's.
package upgrader

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/product"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Fleet is the part of an environment that an upgrade needs.
type Fleet interface {
	ByRole(role string) []environment.Server
	Session(ctx context.Context, server string) (remote.Session, error)
	Take(code environment.Code, images map[string]cloud.ImageID) environment.Step
	Deliver(server string) environment.Step
	Provision(server string) []environment.Step
	Health(ctx context.Context, server string) error
}

// Plan lists the steps of an upgrade to code by the new code's own procedure. A batch of servers of
// a role gets the code and starts at once; every server of the role must then be healthy before the
// next batch begins, so a bad release stops at its first batch.
func Plan(fleet Fleet, code environment.Code) []environment.Step {
	steps := []environment.Step{fleet.Take(code, nil)}
	for _, s := range code.Product.Procedure.Steps {
		steps = append(steps, roll(fleet, s)...)
	}
	for _, t := range code.Product.Procedure.Tasks {
		steps = append(steps, task(fleet, t)...)
	}
	return steps
}

// roll upgrades one role, batch after batch.
func roll(fleet Fleet, s product.Step) []environment.Step {
	servers := fleet.ByRole(s.Role)
	size := max(1, s.Batch)
	var steps []environment.Step
	for len(servers) > 0 {
		batch := servers[:min(size, len(servers))]
		servers = servers[len(batch):]
		var waits []environment.Step
		for _, server := range batch {
			provision := fleet.Provision(server.Name)
			steps = append(steps, fleet.Deliver(server.Name), provision[0])
			waits = append(waits, provision[1:]...)
		}
		steps = append(steps, waits...)
		steps = append(steps, healthy(fleet, s, names(batch)))
	}
	return steps
}

func names(servers []environment.Server) string {
	var list []string
	for _, s := range servers {
		list = append(list, s.Name)
	}
	return strings.Join(list, ", ")
}

// healthy waits until every server of a role is healthy, the ones not yet upgraded too: a batch that
// breaks its peers must not be followed by another. The procedure's own check comes on top of the role's.
func healthy(fleet Fleet, s product.Step, batch string) environment.Step {
	return environment.Step{Name: "every " + s.Role + " is healthy after " + batch, Do: func(ctx context.Context) error {
		for _, server := range fleet.ByRole(s.Role) {
			if err := fleet.Health(ctx, server.Name); err != nil {
				return err
			}
			if s.Health == nil {
				continue
			}
			if err := passes(ctx, fleet, server.Name, *s.Health); err != nil {
				return err
			}
		}
		return nil
	}}
}

// passes runs a check on a server until it says yes or its time is over.
func passes(ctx context.Context, fleet Fleet, server string, h product.Health) error {
	session, err := fleet.Session(ctx, server)
	if err != nil {
		return err
	}
	defer session.Close()
	loop := fmt.Sprintf("timeout %d bash -c 'until %s; do sleep 1; done'", int(h.Within.Seconds()), strings.ReplaceAll(h.Command, "'", `'\''`))
	out, err := session.Run(ctx, remote.Command{Line: loop, Sudo: true, Timeout: h.Within + time.Minute})
	if err != nil {
		return err
	}
	if out.Exit != 0 {
		return verdict.Errorf(verdict.HealthFailed, server, "the procedure's check %q did not pass within %s: %s", h.Command, h.Within, end(out))
	}
	return nil
}

// task runs one post-release task. A task that a crash interrupted is run again, so tasks have to
// bear that, as the procedure's documentation says.
func task(fleet Fleet, t product.Task) []environment.Step {
	servers := fleet.ByRole(t.Role)
	if t.Once && len(servers) > 1 {
		servers = servers[:1]
	}
	var steps []environment.Step
	for _, s := range servers {
		steps = append(steps, environment.Step{Name: "post-release task " + t.Name + " on " + s.Name, Do: func(ctx context.Context) error {
			session, err := fleet.Session(ctx, s.Name)
			if err != nil {
				return err
			}
			defer session.Close()
			out, err := session.Run(ctx, remote.Command{Line: t.Command, Sudo: true, Timeout: taskTime(t)})
			if err != nil {
				return err
			}
			if out.Exit != 0 {
				return verdict.Errorf(verdict.ProcedureFails, s.Name, "post-release task %q: exit %d: %s", t.Name, out.Exit, end(out))
			}
			return nil
		}})
	}
	return steps
}

// defaultTaskTime bounds a task for which the product sets no time.
const defaultTaskTime = 10 * time.Minute

func taskTime(t product.Task) time.Duration {
	if t.Timeout > 0 {
		return t.Timeout
	}
	return defaultTaskTime
}

// end is the last of what a command said.
func end(out remote.Result) string {
	text := strings.TrimSpace(string(out.Stderr))
	if text == "" {
		text = strings.TrimSpace(string(out.Stdout))
	}
	const most = 500
	if len(text) > most {
		text = fmt.Sprintf("… %s", text[len(text)-most:])
	}
	return text
}
