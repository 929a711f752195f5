package product

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// ProcedureFile says how a release is rolled out; it lies beside the code that it releases.
const ProcedureFile = "release/procedure.yaml"

// Procedure is how servers of an earlier release are brought to this one.
type Procedure struct {
	Steps []Step // in this order, every role of the topology once
	Tasks []Task // after all steps, in this order
	Notes string // for people
}

// Step upgrades the servers of one role.
type Step struct {
	Role   string
	Batch  int     // servers at once, 0: all of the role; each batch must be healthy before the next begins
	Health *Health // asked of every server of the role, of those on the old release too; nil: none
}

// Task is one thing to do when every server has the new code.
type Task struct {
	Name    string
	Role    string
	Once    bool   // on the first server of the role only
	Command string // for bash, as root
	Timeout time.Duration
}

type procedureFile struct {
	Version int             `key:"version,required"`
	Steps   []procedureStep `key:"steps,required"`
	Tasks   []procedureTask `key:"tasks"`
	Notes   string          `key:"notes"`

	roles map[string]Role
}

type procedureStep struct {
	Role   string      `key:"role,required"`
	Batch  batch       `key:"batch"`
	Health *fileHealth `key:"health"`
}

type procedureTask struct {
	Name    string        `key:"name,required"`
	Role    string        `key:"role,required"`
	Once    bool          `key:"once"`
	Command string        `key:"command,required"`
	Timeout time.Duration `key:"timeout"`
}

// batch is a number of servers, or all of them (0).
type batch int

// UnmarshalText reads a number from 1, or the word all.
func (b *batch) UnmarshalText(text []byte) error {
	if string(text) == "all" {
		*b = 0
		return nil
	}
	n, err := strconv.ParseUint(string(text), 10, 16)
	if err != nil || n == 0 {
		return errors.New("is no number of servers: write 1 or more, or all")
	}
	*b = batch(n)
	return nil
}

func (s *procedureStep) Default() { s.Batch = 1 }
func (t *procedureTask) Default() { t.Timeout = 5 * time.Minute }

func (t *procedureTask) Check(at config.Place) {
	filled(at, "name", t.Name)
	filled(at, "command", t.Command)
	positive(at, "timeout", t.Timeout)
}

// Check holds the procedure against the roles of hallmark.yaml.
func (f *procedureFile) Check(at config.Place) {
	if f.Version != 1 {
		at.Problem("version", fmt.Sprintf("is %d", f.Version), "this Hallmark reads version 1")
	}
	unique(at, "steps", f.Steps, func(s procedureStep) string { return s.Role })
	unique(at, "tasks", f.Tasks, func(t procedureTask) string { return t.Name })
	names := sortedNames(f.roles)
	upgraded := map[string]bool{}
	known := func(key, role string) {
		if _, ok := f.roles[role]; !ok {
			at.Problem(key, fmt.Sprintf("role %q is not in %s", role, File), config.Hint(role, names))
		}
	}
	for i, s := range f.Steps {
		upgraded[s.Role] = true
		known(fmt.Sprintf("steps[%d].role", i), s.Role)
	}
	for i, t := range f.Tasks {
		known(fmt.Sprintf("tasks[%d].role", i), t.Role)
	}
	for _, name := range names {
		if !upgraded[name] {
			at.Problem("steps", fmt.Sprintf("role %s is not in it, so its servers would stay on the old release", name), "add it where its turn is")
		}
	}
}

// decodeProcedure reads release/procedure.yaml for p.
func decodeProcedure(data []byte, p *Product) (Procedure, error) {
	f := procedureFile{roles: p.Roles}
	if err := config.Decode(ProcedureFile, data, &f); err != nil {
		return Procedure{}, err
	}
	procedure := Procedure{Notes: f.Notes}
	for _, s := range f.Steps {
		step := Step{Role: s.Role, Batch: int(s.Batch), Health: s.Health.health()}
		procedure.Steps = append(procedure.Steps, p.complete(step))
	}
	for _, t := range f.Tasks {
		procedure.Tasks = append(procedure.Tasks, Task(t))
	}
	return procedure, nil
}

// usualProcedure holds without a file: the order of provisioning, one server after another.
func (p *Product) usualProcedure() Procedure {
	var procedure Procedure
	for _, g := range p.Topology {
		procedure.Steps = append(procedure.Steps, p.complete(Step{Role: g.Role, Batch: 1}))
	}
	return procedure
}

// complete gives a step that names no health check its role's.
func (p *Product) complete(s Step) Step {
	if s.Health == nil {
		s.Health = p.Roles[s.Role].Health
	}
	return s
}
