package verdict

import (
	"fmt"
	"strings"
)

// Audit is what a look at an environment found after trouble. It is about what the failure depends on:
// the server itself, its bastion and the servers that it is provisioned after.
type Audit struct {
	Done           bool     // the audit itself could be carried out
	AllRunning     bool     // the provider says that each of them runs, or was not launched yet
	ExpectedBoots  bool     // none of them is on another boot than we expect, as far as the product lets us in
	PackageSources bool     // Hallmark's own package source answers from inside
	Control        bool     // servers boot here and the network works: shown by a control server in it, or by the server itself
	Starved        bool     // the host gave work less than longer time-outs make up for, and work waits on the servers
	NoRoom         bool     // the disk under the servers is full: then anything on them may fail
	Stopped        string   // one of them that is stopped, though Hallmark did not stop it
	Lockout        Lockout  // the way in that the product closes; no leg: none was found
	Findings       []string // for people: what did not hold
}

// Clean reports whether the looks that every audit takes found nothing.
func (a Audit) Clean() bool {
	return a.Done && !a.NoRoom && a.AllRunning && a.ExpectedBoots && a.PackageSources && a.Lockout.Leg == ""
}

// look is one thing that must hold before the product is blamed.
type look uint

const (
	running look = 1 << iota // Audit.AllRunning
	boots                    // Audit.ExpectedBoots
	sources                  // Audit.PackageSources
	control                  // Audit.Control
	fed                      // not Audit.Starved
)

// holds reports whether an audit was done and found all of the looks to hold.
func (a Audit) holds(wanted look) bool {
	for l, held := range map[look]bool{
		running: a.AllRunning, boots: a.ExpectedBoots, sources: a.PackageSources, control: a.Control, fed: !a.Starved,
	} {
		if wanted&l != 0 && !held {
			return false
		}
	}
	return a.Done && !a.NoRoom
}

// fault says what a cause means.
type fault struct {
	of   party
	look look // for product: what has to hold
}

type party int

const (
	infrastructure party = iota // inconclusive: a fresh environment may cure it
	way                         // inconclusive, unless the audit finds that the product closes the way: then it is that lock-out
	product                     // failed, if what is looked at holds; else inconclusive
	certain                     // failed: no server can excuse it
	ours                        // inconclusive: never blamed on an image
)

// blame is the one table of causes. Causes are held to what they depend on and to nothing else: a
// closed package source excuses no failing test, and of a server that is locked no boot can be read, so it
// is not held to one.
var blame = map[Cause]fault{
	CloudRefused:   {of: infrastructure},
	CloudCapacity:  {of: infrastructure},
	CloudThrottled: {of: infrastructure},
	CloudLost:      {of: infrastructure},
	CloudDown:      {of: infrastructure},
	PackageSource:  {of: infrastructure},

	RemoteBastion: {of: way},
	RemoteFactor:  {of: way},
	Transport:     {of: way},

	ServerLogin:    {product, running | boots},           // sshd itself said no, on the host key that is pinned
	ServerPort:     {product, running | boots},           // recorded only after a lock-out was found
	ServerSudo:     {product, running | boots},           // sudo itself said no
	ServerBoot:     {product, running | control | fed},   // a neutral server boots at the same place
	PuppetFailed:   {product, running | boots | sources}, // Puppet installs packages
	PuppetTimeout:  {product, running | boots | sources | fed},
	TestFailed:     {product, running | boots},
	TestTimeout:    {product, running | boots | fed},
	HealthFailed:   {product, running | boots | fed},     // it had until a time-out to pass
	ProcedureFails: {product, running | boots | sources}, // a task may install packages
	ImageNotSealed: {product, running | boots | sources},

	CheckFailed: {of: certain},
	TestBroken:  {of: certain}, // it blocks, as a failure does

	ServerStopped: {of: infrastructure}, // once is bad luck
	StoppedItself: {of: ours},           // told as the product's doing; but a host can kill a server every time, too
	Unexplained:   {of: ours},
	Cancelled:     {of: ours},
}

// Infrastructure reports whether a fresh environment may cure this cause.
func (c Cause) Infrastructure() bool {
	f, known := blame[c]
	return c == Unexplained || known && (f.of == infrastructure || f.of == way)
}

// Refine gives the cause that is recorded: trouble on the way in is the lock-out that an audit found
// behind it, and what a server does that has stopped is its stop.
func Refine(cause Cause, audit Audit) Cause {
	f, known := blame[cause]
	switch {
	case !known, f.of != way && f.of != product:
	case audit.Stopped != "":
		return ServerStopped
	case f.of == way && audit.Lockout.Leg != "":
		return audit.Lockout.Leg.cause()
	}
	return cause
}

// Judge is the one judgement (DESIGN.md section 3, "Whose fault"), by the table above. No cause at all
// means passed; a cause that is not in the table is inconclusive.
func Judge(cause Cause, audit Audit) Verdict {
	if cause == None {
		return Passed
	}
	f, known := blame[Refine(cause, audit)]
	switch {
	case !known:
	case f.of == certain, f.of == product && audit.holds(f.look):
		return Failed
	}
	return Inconclusive
}

// Explain is what an audit adds to a message for people: the lock-out that it found, or what keeps the
// product from being blamed. It is "" if there is nothing to add.
func Explain(cause Cause, audit Audit) string {
	if l := audit.Lockout; l.Leg != "" && Judge(cause, audit) == Failed {
		return fmt.Sprintf("the product locks admins out at %s, leg %q: %s", l.Server, l.Leg, l.Said)
	}
	if Judge(cause, audit) == Failed {
		return ""
	}
	return strings.Join(audit.Findings, "; ")
}
