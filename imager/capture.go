package imager

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Properties kept with an image itself, so its origin is known without the ledger.
const (
	PropertyParent       = "parent"        // Digest of the reference base
	PropertyParentRecipe = "parent-recipe" // cloud.PropertyRecipe of the reference base
	PropertyRole         = "role"
	PropertyCommit       = "commit"
	PropertyBench        = "bench" // on which it was made; the journal describes it by that
)

// checkLineage refuses any parent that is not a reference base, by the provider's own record: what
// the caller says of an image is not enough.
func checkLineage(ctx context.Context, b *build) error {
	parent := b.spec.Base
	images, err := b.deps.Provider.Images(ctx, cloud.Filter{})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(images, func(image cloud.Image) bool { return image.ID == parent.ID })
	var record cloud.Image
	if i >= 0 {
		record = images[i]
	} else { // a vendor's base is not among ours; the newest of its name may be another by now
		record, err = b.deps.Provider.ResolveBase(ctx, cloud.BaseSpec{Name: string(parent.ID)})
		if err != nil {
			return err
		}
	}
	switch {
	case record.ID != parent.ID:
		return verdict.Errorf(verdict.CloudLost, "", "reference base %s (%s) is not there any more", parent.Name, parent.ID)
	case record.Kind != cloud.Base:
		return lineage(record, "its record says %q", record.Kind)
	case record.Digest != parent.Digest:
		return lineage(record, "its digest is %s, not %s", record.Digest, parent.Digest)
	case record.Properties[PropertyParent] != "":
		return lineage(record, "it has a parent itself")
	}
	return nil
}

// adopt finds the image that an earlier process captured. With its description it is the result;
// without, nobody can say what is in it, and it is built again.
func adopt(ctx context.Context, b *build) error {
	images, err := b.deps.Provider.Images(ctx, cloud.Filter{Owner: b.spec.Owner, Run: b.spec.Run})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(images, func(image cloud.Image) bool { return image.Name == b.spec.Name() })
	if i < 0 {
		return nil
	}
	switch err := b.take(ctx, images[i]); {
	case errors.Is(err, ErrUnknownBench):
		b.deps.Log.Warn("an image without a description is built again", "run", b.spec.Run, "role", b.spec.Role, "image", images[i].ID)
		return b.deps.Provider.DeleteImage(ctx, images[i].ID)
	case err != nil:
		return err
	}
	b.adopted = true
	return errDone
}

// take makes an image the result, if it is one of this very Spec.
func (b *build) take(ctx context.Context, image cloud.Image) error {
	want := b.properties()
	for _, key := range []string{PropertyParent, PropertyRole, PropertyCommit} {
		if got := image.Properties[key]; got != want[key] || image.Kind != cloud.Prebuilt {
			return verdict.Errorf(verdict.CloudRefused, "", "image %s exists and is another: %s image, %s %q instead of %q", image.Name, image.Kind, key, got, want[key])
		}
	}
	entry, err := b.deps.Journal.Load(ctx, image.Properties[PropertyBench])
	if err != nil {
		return err
	}
	if entry.Description.Seal == nil && cloud.CapabilitiesOf(b.deps.Provider).DiskReader != nil {
		return fmt.Errorf("%s: its disk was never looked at: %w", image.ID, ErrUnknownBench) // an older Hallmark's
	}
	b.image, b.description = image, entry.Description
	return nil
}

func (b *build) properties() map[string]string {
	return map[string]string{
		PropertyParent:       b.spec.Base.Digest,
		PropertyParentRecipe: b.spec.Base.Properties[cloud.PropertyRecipe],
		PropertyRole:         b.spec.Role,
		PropertyCommit:       b.spec.Commit,
		PropertyBench:        b.benchID,
	}
}

// capture makes the image of the stopped server.
func capture(ctx context.Context, b *build) error {
	image, err := b.deps.Provider.Capture(ctx, b.bench.Server(), cloud.ImageSpec{
		Name: b.spec.Name(),
		Kind: cloud.Prebuilt,
		Tags: cloud.Tags{
			Owner: b.spec.Owner, Run: b.spec.Run,
			Extra: map[string]string{"role": b.spec.Role, "commit": b.spec.Commit},
		},
		Properties: b.properties(),
	})
	if err != nil {
		return err
	}
	// A capture that an earlier process asked for may have been finished meanwhile: then this is it.
	if err := b.take(ctx, image); err != nil {
		return fmt.Errorf("captured image %s: %w", image.ID, err)
	}
	return nil
}
