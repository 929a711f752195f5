package imager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registry "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// BuilderID marks our artifacts among those of Packer's builders.
const BuilderID = "hallmark.imager"

// Artifact is a built image as Packer sees it.
type Artifact struct {
	image    ledger.Image
	provider cloud.Provider
}

var _ packersdk.Artifact = (*Artifact)(nil)

// BuilderId is BuilderID; the name is Packer's.
func (a *Artifact) BuilderId() string { return BuilderID } //nolint:revive,staticcheck // Packer's spelling

// Files is empty: the image is the provider's.
func (a *Artifact) Files() []string { return nil }

// Id is the image's identifier at its provider.
func (a *Artifact) Id() string { return a.image.ProviderID } //nolint:revive,staticcheck // Packer's spelling

// String is a line for people.
func (a *Artifact) String() string {
	return fmt.Sprintf("image %s of role %s at commit %s (%s)", a.image.ID, a.image.Role, a.image.Commit, a.image.ProviderID)
}

// State gives Packer's registry the image's origin; it knows no other names.
func (a *Artifact) State(name string) any {
	if name != registry.ArtifactStateURI {
		return nil
	}
	image, err := registry.FromArtifact(a, registry.WithProvider(a.image.Provider), registry.WithSourceID(a.image.BaseDigest))
	if err != nil {
		return nil
	}
	return image
}

// Destroy removes the image.
func (a *Artifact) Destroy() error {
	// Packer gives no context here, and this is its own call, outside of any build.
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	return a.provider.DeleteImage(ctx, cloud.ImageID(a.image.ProviderID))
}

// quiet is Packer's Ui where nobody sits in front of it: it goes to the log, for those who debug.
type quiet struct{ log *slog.Logger }

var _ packersdk.Ui = quiet{}

// Ask refuses: a daemon has nobody to ask.
func (q quiet) Ask(string) (string, error) { return "", errors.New("nobody to ask") }

// Askf refuses, as Ask does.
func (q quiet) Askf(string, ...any) (string, error) { return q.Ask("") }

// Say logs a message.
func (q quiet) Say(message string) { q.log.Debug("image build", "says", message) }

// Sayf logs a message.
func (q quiet) Sayf(format string, args ...any) { q.Say(fmt.Sprintf(format, args...)) }

// Message logs a message.
func (q quiet) Message(message string) { q.Say(message) }

// Error logs a message; whether it is an error is for the caller of the build to say.
func (q quiet) Error(message string) { q.Say(message) }

// Errorf logs a message.
func (q quiet) Errorf(format string, args ...any) { q.Say(fmt.Sprintf(format, args...)) }

// Machine drops what is for Packer's machine-readable output.
func (q quiet) Machine(string, ...string) {}

// TrackProgress shows none.
func (q quiet) TrackProgress(_ string, _, _ int64, stream io.ReadCloser) io.ReadCloser { return stream }
