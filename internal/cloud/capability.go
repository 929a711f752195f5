package cloud

import (
	"context"
	"io/fs"
)

// Capabilities are what a provider can do beyond Provider; what it cannot is nil. They are asked for
// with CapabilitiesOf, never by type assertion: a decorator hides the type of what it wraps.
type Capabilities struct {
	Snapshotter   Snapshotter
	BaseImporter  BaseImporter
	Publisher     Publisher
	Screenshotter Screenshotter
	Balancer      Balancer
	DiskReader    DiskReader
	Confidant     Confidant
}

// Snapshotter can take a server back to an earlier moment.
type Snapshotter interface {
	Snapshot(ctx context.Context, id ServerID, name string) error
	Restore(ctx context.Context, id ServerID, name string) error
}

// BaseImporter takes a reference base built here.
type BaseImporter interface {
	// ImportBase uploads a root file system (tar, any compression) as a reference base, or gives
	// the one of that name.
	ImportBase(ctx context.Context, spec ImageSpec, rootfsPath string) (Image, error)
}

// DiskReader shows what is on the disk of a server that is stopped.
type DiskReader interface {
	// ReadDisk gives look the root file system of a stopped server, as it is after all that its shutdown wrote:
	// links are read and never lead out of it, volumes are not in it. CodeRefused while the server is not stopped. An
	// error of look is returned as it is. A call may be repeated, and look with it.
	ReadDisk(ctx context.Context, id ServerID, look func(ctx context.Context, disk fs.FS) error) error
}

// Publisher offers images to others than Hallmark, and tells them which one a channel holds. Where, and
// to whom, the provider's configuration says for each channel. It lists what is offered and named in few
// calls, so that whoever knows what channels hold can compare, and change what differs.
type Publisher interface {
	// Copy makes the copies of an image that these channels want, and waits for them, which may take an
	// hour. Nobody may launch them yet, and Publish leaves those alone that its channels do not want.
	// Idempotent; what was begun by a crashed process is adopted.
	Copy(ctx context.Context, id ImageID, channels []string) error
	// Publish offers an image and its copies as the channels that hold it want it, all at once, and
	// protects it from being removed; copies that were offered and none of them wants go. It takes no time, and refuses
	// (CodeRefused) while copies are lacking. With no channel it takes all of that back, and removes its
	// copies; CodeConflict says that a channel still names it, or that something still launches it.
	// Idempotent.
	Publish(ctx context.Context, id ImageID, channels []string) error
	// Revoke takes an image back for good: whoever was offered it loses it, and nobody launches it or its copies any more,
	// Hallmark included. CodeConflict says that a channel still names it; that a fleet still launches it is no reason to
	// keep it. Servers that run stay. From then on Images leaves it out, and Copy, Publish and Point refuse it
	// (CodeRefused); removing it is Publish's and DeleteImage's work. Idempotent; nothing to revoke is no error.
	Revoke(ctx context.Context, id ImageID) error
	// Published lists the images of an owner that are offered, each with the channels, sorted, for which
	// it is: none if that was not ended, or is not what the configuration says now. Copies that were made
	// and nobody wants it may list by ids of their own, without channels.
	Published(ctx context.Context, owner string) (map[ImageID][]string, error)
	// Point makes a channel name an image as its image of a role; "" makes it name none. It refuses
	// (CodeRefused) one that is not published for the channel.
	Point(ctx context.Context, channel, role string, id ImageID) error
	// Pointed gives the images that a channel names, by role. Where the regions of a provider do not
	// agree, it gives for the role what is no image's id, and tells people of it: Point again.
	Pointed(ctx context.Context, channel string) (map[string]ImageID, error)
}

// Screenshotter shows what a person in front of a server would see: where the console says nothing, the
// boot loader or the kernel may.
type Screenshotter interface {
	// Screenshot gives a picture (JPEG) of a running server's screen.
	Screenshot(ctx context.Context, id ServerID) ([]byte, error)
}

// capable is a provider that says itself what it can do: a decorator.
type capable interface {
	Provider
	capabilities() Capabilities
}

// CapabilitiesOf gives what p can do beyond Provider, through all decorators made with With.
func CapabilitiesOf(p Provider) Capabilities {
	if c, ok := p.(capable); ok {
		return c.capabilities()
	}
	var c Capabilities
	c.Snapshotter, _ = p.(Snapshotter)
	c.BaseImporter, _ = p.(BaseImporter)
	c.Publisher, _ = p.(Publisher)
	c.Screenshotter, _ = p.(Screenshotter)
	c.Balancer, _ = p.(Balancer)
	c.DiskReader, _ = p.(DiskReader)
	c.Confidant, _ = p.(Confidant)
	return c
}

// With gives p with exactly these capabilities: a decorator that wraps a provider in a type of its own
// loses them otherwise.
func With(p Provider, c Capabilities) Provider { return extended{p, c} }

type extended struct {
	Provider
	can Capabilities
}

func (e extended) capabilities() Capabilities { return e.can }

// intercepted gives the capabilities with around about each of their calls.
func (c Capabilities) intercepted(around Around) Capabilities {
	if c.Snapshotter != nil {
		c.Snapshotter = interceptedSnapshots{c.Snapshotter, around}
	}
	if c.BaseImporter != nil {
		c.BaseImporter = interceptedImports{c.BaseImporter, around}
	}
	if c.Publisher != nil {
		c.Publisher = interceptedPublisher{c.Publisher, around}
	}
	if c.Screenshotter != nil {
		c.Screenshotter = interceptedScreenshots{c.Screenshotter, around}
	}
	if c.Balancer != nil {
		c.Balancer = interceptedBalancer{c.Balancer, around}
	}
	if c.DiskReader != nil {
		c.DiskReader = interceptedDisks{c.DiskReader, around}
	}
	return c
}

type interceptedSnapshots struct {
	p      Snapshotter
	around Around
}

func (i interceptedSnapshots) Snapshot(ctx context.Context, id ServerID, name string) error {
	return i.around(ctx, Call{VerbSnapshot, string(id)}, func(ctx context.Context) error { return i.p.Snapshot(ctx, id, name) })
}

func (i interceptedSnapshots) Restore(ctx context.Context, id ServerID, name string) error {
	return i.around(ctx, Call{VerbRestore, string(id)}, func(ctx context.Context) error { return i.p.Restore(ctx, id, name) })
}

type interceptedImports struct {
	p      BaseImporter
	around Around
}

func (i interceptedImports) ImportBase(ctx context.Context, spec ImageSpec, rootfsPath string) (Image, error) {
	return value(ctx, i.around, Call{VerbImportBase, spec.Name}, func(ctx context.Context) (Image, error) { return i.p.ImportBase(ctx, spec, rootfsPath) })
}

type interceptedPublisher struct {
	p      Publisher
	around Around
}

func (i interceptedPublisher) Copy(ctx context.Context, id ImageID, channels []string) error {
	return i.around(ctx, Call{VerbCopy, string(id)}, func(ctx context.Context) error { return i.p.Copy(ctx, id, channels) })
}

func (i interceptedPublisher) Publish(ctx context.Context, id ImageID, channels []string) error {
	return i.around(ctx, Call{VerbPublish, string(id)}, func(ctx context.Context) error { return i.p.Publish(ctx, id, channels) })
}

func (i interceptedPublisher) Revoke(ctx context.Context, id ImageID) error {
	return i.around(ctx, Call{VerbRevoke, string(id)}, func(ctx context.Context) error { return i.p.Revoke(ctx, id) })
}

func (i interceptedPublisher) Point(ctx context.Context, channel, role string, id ImageID) error {
	return i.around(ctx, Call{VerbPoint, channel + "/" + role}, func(ctx context.Context) error { return i.p.Point(ctx, channel, role, id) })
}

func (i interceptedPublisher) Published(ctx context.Context, owner string) (map[ImageID][]string, error) {
	return value(ctx, i.around, Call{VerbPublished, ""}, func(ctx context.Context) (map[ImageID][]string, error) { return i.p.Published(ctx, owner) })
}

func (i interceptedPublisher) Pointed(ctx context.Context, channel string) (map[string]ImageID, error) {
	return value(ctx, i.around, Call{VerbPointed, channel}, func(ctx context.Context) (map[string]ImageID, error) { return i.p.Pointed(ctx, channel) })
}

type interceptedScreenshots struct {
	p      Screenshotter
	around Around
}

func (i interceptedScreenshots) Screenshot(ctx context.Context, id ServerID) ([]byte, error) {
	return value(ctx, i.around, Call{VerbScreenshot, string(id)}, func(ctx context.Context) ([]byte, error) { return i.p.Screenshot(ctx, id) })
}

type interceptedDisks struct {
	p      DiskReader
	around Around
}

func (i interceptedDisks) ReadDisk(ctx context.Context, id ServerID, look func(context.Context, fs.FS) error) error {
	return i.around(ctx, Call{VerbReadDisk, string(id)}, func(ctx context.Context) error { return i.p.ReadDisk(ctx, id, look) })
}
