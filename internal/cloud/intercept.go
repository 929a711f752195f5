package cloud

import (
	"context"
	"net/netip"
)

// Verb names one method of a provider, for decorators, records of calls and scripted faults.
type Verb string

// The verbs, in the order of Provider, then those of the capabilities.
const (
	VerbResolveBase   Verb = "resolve-base"
	VerbCreateNetwork Verb = "create-network"
	VerbAllowAdmin    Verb = "allow-admin"
	VerbDeleteNetwork Verb = "delete-network"
	VerbLaunch        Verb = "launch"
	VerbServers       Verb = "servers"
	VerbReboot        Verb = "reboot"
	VerbStop          Verb = "stop"
	VerbStart         Verb = "start"
	VerbDestroy       Verb = "destroy"
	VerbConsole       Verb = "console"
	VerbCapture       Verb = "capture"
	VerbImages        Verb = "images"
	VerbDeleteImage   Verb = "delete-image"
	VerbCreateVolume  Verb = "create-volume"
	VerbAttachVolume  Verb = "attach-volume"
	VerbDetachVolume  Verb = "detach-volume"
	VerbDeleteVolume  Verb = "delete-volume"
	VerbOwned         Verb = "owned"
	VerbDelete        Verb = "delete"
	VerbSnapshot      Verb = "snapshot"
	VerbRestore       Verb = "restore"
	VerbImportBase    Verb = "import-base"
	VerbCopy          Verb = "copy"
	VerbPublish       Verb = "publish"
	VerbRevoke        Verb = "revoke"
	VerbPublished     Verb = "published"
	VerbPoint         Verb = "point"
	VerbPointed       Verb = "pointed"
	VerbScreenshot    Verb = "screenshot"
	VerbReadDisk      Verb = "read-disk"
	VerbLeave         Verb = "leave"
	VerbJoin          Verb = "join"
	VerbRoll          Verb = "roll"
	VerbRolled        Verb = "rolled"
	VerbUnroll        Verb = "unroll"
)

// Verbs is the whole list.
func Verbs() []Verb {
	return []Verb{
		VerbResolveBase, VerbCreateNetwork, VerbAllowAdmin, VerbDeleteNetwork, VerbLaunch, VerbServers, VerbReboot,
		VerbStop, VerbStart, VerbDestroy, VerbConsole, VerbCapture, VerbImages, VerbDeleteImage, VerbCreateVolume,
		VerbAttachVolume, VerbDetachVolume, VerbDeleteVolume, VerbOwned, VerbDelete, VerbSnapshot, VerbRestore,
		VerbImportBase, VerbCopy, VerbPublish, VerbRevoke, VerbPublished, VerbPoint, VerbPointed, VerbScreenshot, VerbReadDisk,
		VerbLeave, VerbJoin, VerbRoll, VerbRolled, VerbUnroll,
	}
}

// Call is one call to a provider as a decorator sees it. It never holds user-data.
type Call struct {
	Verb    Verb
	Subject string // the name where the call gives one, else the id; "" for lists
}

// String is "launch web-1", as Error.Call has it.
func (c Call) String() string {
	if c.Subject == "" {
		return string(c.Verb)
	}
	return string(c.Verb) + " " + c.Subject
}

// Around is what a decorator does around every call: it calls do once, several times or not at all.
type Around func(ctx context.Context, call Call, do func(context.Context) error) error

// Intercept gives p with around about each of its calls, those of its capabilities too.
func Intercept(p Provider, around Around) Provider {
	return With(intercepted{p, around}, CapabilitiesOf(p).intercepted(around))
}

// value runs a call that gives something.
func value[T any](ctx context.Context, around Around, call Call, do func(context.Context) (T, error)) (T, error) {
	var got T
	err := around(ctx, call, func(ctx context.Context) (err error) {
		got, err = do(ctx)
		return err
	})
	return got, err
}

type intercepted struct {
	p      Provider
	around Around
}

func (i intercepted) ResolveBase(ctx context.Context, spec BaseSpec) (Image, error) {
	return value(ctx, i.around, Call{VerbResolveBase, spec.Name}, func(ctx context.Context) (Image, error) { return i.p.ResolveBase(ctx, spec) })
}

func (i intercepted) CreateNetwork(ctx context.Context, spec NetworkSpec) (Network, error) {
	return value(ctx, i.around, Call{VerbCreateNetwork, spec.Name}, func(ctx context.Context) (Network, error) { return i.p.CreateNetwork(ctx, spec) })
}

func (i intercepted) AllowAdmin(ctx context.Context, id NetworkID, addresses []netip.Addr) error {
	return i.around(ctx, Call{VerbAllowAdmin, string(id)}, func(ctx context.Context) error { return i.p.AllowAdmin(ctx, id, addresses) })
}

func (i intercepted) DeleteNetwork(ctx context.Context, id NetworkID) error {
	return i.around(ctx, Call{VerbDeleteNetwork, string(id)}, func(ctx context.Context) error { return i.p.DeleteNetwork(ctx, id) })
}

func (i intercepted) Launch(ctx context.Context, spec ServerSpec) (Server, error) {
	return value(ctx, i.around, Call{VerbLaunch, spec.Name}, func(ctx context.Context) (Server, error) { return i.p.Launch(ctx, spec) })
}

func (i intercepted) Servers(ctx context.Context, filter Filter) ([]Server, error) {
	return value(ctx, i.around, Call{VerbServers, ""}, func(ctx context.Context) ([]Server, error) { return i.p.Servers(ctx, filter) })
}

func (i intercepted) Reboot(ctx context.Context, id ServerID) error {
	return i.around(ctx, Call{VerbReboot, string(id)}, func(ctx context.Context) error { return i.p.Reboot(ctx, id) })
}

func (i intercepted) Stop(ctx context.Context, id ServerID, force bool) error {
	return i.around(ctx, Call{VerbStop, string(id)}, func(ctx context.Context) error { return i.p.Stop(ctx, id, force) })
}

func (i intercepted) Start(ctx context.Context, id ServerID) error {
	return i.around(ctx, Call{VerbStart, string(id)}, func(ctx context.Context) error { return i.p.Start(ctx, id) })
}

func (i intercepted) Destroy(ctx context.Context, id ServerID) error {
	return i.around(ctx, Call{VerbDestroy, string(id)}, func(ctx context.Context) error { return i.p.Destroy(ctx, id) })
}

func (i intercepted) Console(ctx context.Context, id ServerID) ([]byte, error) {
	return value(ctx, i.around, Call{VerbConsole, string(id)}, func(ctx context.Context) ([]byte, error) { return i.p.Console(ctx, id) })
}

func (i intercepted) Capture(ctx context.Context, id ServerID, spec ImageSpec) (Image, error) {
	return value(ctx, i.around, Call{VerbCapture, spec.Name}, func(ctx context.Context) (Image, error) { return i.p.Capture(ctx, id, spec) })
}

func (i intercepted) Images(ctx context.Context, filter Filter) ([]Image, error) {
	return value(ctx, i.around, Call{VerbImages, ""}, func(ctx context.Context) ([]Image, error) { return i.p.Images(ctx, filter) })
}

func (i intercepted) DeleteImage(ctx context.Context, id ImageID) error {
	return i.around(ctx, Call{VerbDeleteImage, string(id)}, func(ctx context.Context) error { return i.p.DeleteImage(ctx, id) })
}

func (i intercepted) CreateVolume(ctx context.Context, spec VolumeSpec) (Volume, error) {
	return value(ctx, i.around, Call{VerbCreateVolume, spec.Name}, func(ctx context.Context) (Volume, error) { return i.p.CreateVolume(ctx, spec) })
}

func (i intercepted) AttachVolume(ctx context.Context, id VolumeID, server ServerID) error {
	return i.around(ctx, Call{VerbAttachVolume, string(id)}, func(ctx context.Context) error { return i.p.AttachVolume(ctx, id, server) })
}

func (i intercepted) DetachVolume(ctx context.Context, id VolumeID) error {
	return i.around(ctx, Call{VerbDetachVolume, string(id)}, func(ctx context.Context) error { return i.p.DetachVolume(ctx, id) })
}

func (i intercepted) DeleteVolume(ctx context.Context, id VolumeID) error {
	return i.around(ctx, Call{VerbDeleteVolume, string(id)}, func(ctx context.Context) error { return i.p.DeleteVolume(ctx, id) })
}

func (i intercepted) Owned(ctx context.Context, owner string) ([]Resource, error) {
	return value(ctx, i.around, Call{VerbOwned, ""}, func(ctx context.Context) ([]Resource, error) { return i.p.Owned(ctx, owner) })
}

func (i intercepted) Delete(ctx context.Context, r Resource) error {
	return i.around(ctx, Call{VerbDelete, r.Name}, func(ctx context.Context) error { return i.p.Delete(ctx, r) })
}
