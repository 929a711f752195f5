package environment

import (
	"context"
	"fmt"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
)

// A server's secrets are a file that only root can read. A provider that is a cloud.Confidant puts it there before
// the server boots. Elsewhere Hallmark brings it as the bootstrap user, whom every server of the environment then
// has at first, and the server waits for it before it runs the product's code. See docs/decisions/0004.

// confides reports whether the provider brings secrets to servers.
func (e *Environment) confides() bool {
	return cloud.CapabilitiesOf(e.site.Provider).Confidant != nil
}

// bootstraps reports whether servers have a bootstrap user until they hand over: to bring code to those from a base,
// and secrets where the provider does not.
func (e *Environment) bootstraps() bool {
	return e.Origin() == Base || !e.bench() && !e.confides()
}

// bringStep carries secrets to a server of a prebuilt image, which waits for them.
func (e *Environment) bringStep(server string) Step {
	return e.step("bring secrets to "+server, func(ctx context.Context) error {
		if e.machine(server).Ready {
			return nil
		}
		return e.asBootstrap(ctx, server, func(ctx context.Context, session remote.Session) error {
			return e.bring(ctx, session, server)
		})
	})
}

// bring puts a server's secrets there, whole or not at all.
func (e *Environment) bring(ctx context.Context, session remote.Session, server string) error {
	launch, err := e.launch(e.machine(server))
	if err != nil {
		return err
	}
	files, err := launch.Private()
	if err != nil {
		return err
	}
	return e.putFiles(ctx, session, files)
}

// private are the files that a provider brings.
func private(launch puppet.Launch) ([]cloud.PrivateFile, error) {
	files, err := launch.Private()
	var list []cloud.PrivateFile
	for _, f := range files {
		list = append(list, cloud.PrivateFile{Path: f.Path, Content: cloud.Secret(f.Content)})
	}
	return list, err
}

// putFiles writes files as root.
func (e *Environment) putFiles(ctx context.Context, session remote.Session, files []puppet.File) error {
	for _, f := range files {
		if err := session.Put(ctx, f.Path, strings.NewReader(f.Content), f.Mode, true); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
	}
	return nil
}
