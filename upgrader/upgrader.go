// Package upgrader brings running servers to new code the way the product says: its procedure, role
// after role, rolling inside a role, then the post-release tasks. It owns the order and the rules of
// a rolling change. What a server does to itself is the environment's, what is tested afterwards the
// verifier's.
package upgrader

import (
	"context"
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
	// Check waits until a health check passes on a server; if it does not, the cause is HealthFailed.
	Check(ctx context.Context, server string, check product.Health) error
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
	size := s.Batch
	if size == 0 {
		size = len(servers)
	}
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
// breaks its peers must not be followed by another.
func healthy(fleet Fleet, s product.Step, batch string) environment.Step {
	return environment.Step{Name: "every " + s.Role + " is healthy after " + batch, Do: func(ctx context.Context) error {
		if s.Health == nil {
			return nil
		}
		for _, server := range fleet.ByRole(s.Role) {
			if err := fleet.Check(ctx, server.Name, *s.Health); err != nil {
				return err
			}
		}
		return nil
	}}
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
		text = "… " + strings.ToValidUTF8(text[len(text)-most:], "")
	}
	return text
}
