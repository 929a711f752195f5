package incus

import (
	"context"
	"fmt"
	"maps"
	"path"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// ResolveBase takes a name, or a pattern as of path.Match, or "" for any.
func (p *Provider) ResolveBase(ctx context.Context, spec cloud.BaseSpec) (cloud.Image, error) {
	call := "find reference base " + spec.Name
	if _, err := path.Match(spec.Name, ""); err != nil {
		return cloud.Image{}, refuse(call, "the pattern: %w", err)
	}
	images, err := p.Images(ctx, cloud.Filter{})
	if err != nil {
		return cloud.Image{}, err
	}
	var newest cloud.Image
	for _, image := range images {
		match, _ := path.Match(spec.Name, image.Name)
		switch {
		case image.Kind != cloud.Base,
			spec.Name != "" && !match,
			spec.Digest != "" && image.Properties[cloud.PropertyRecipe] != spec.Digest,
			spec.MaxAge > 0 && p.cfg.Now().Sub(image.Created) > spec.MaxAge,
			!image.Created.After(newest.Created):
			continue
		}
		newest = image
	}
	if newest.ID == "" {
		return cloud.Image{}, &cloud.Error{Call: call, Code: cloud.CodeNotFound, Err: fmt.Errorf(
			"no reference base is named so, with recipe digest %q, not older than %s", spec.Digest, spec.MaxAge)}
	}
	return newest, nil
}

// Capture publishes a stopped server uncompressed: candidates are many and short-lived.
func (p *Provider) Capture(ctx context.Context, id cloud.ServerID, spec cloud.ImageSpec) (cloud.Image, error) {
	call := "capture " + spec.Name
	if err := checkImage(call, spec); err != nil {
		return cloud.Image{}, err
	}
	images := p.connect("")
	image, err := named(ctx, images, call, spec)
	if !absent(err) {
		return image, fail(call, err)
	}
	c, in, err := p.lookup(ctx, id)
	if err != nil {
		return cloud.Image{}, fail(call, err)
	}
	// Perhaps an earlier caller died, and Incus is still at it.
	if err := incusd.Settle(ctx, c, publishing); err != nil {
		return cloud.Image{}, fail(call, err)
	}
	if image, err = named(ctx, images, call, spec); !absent(err) {
		return image, fail(call, err)
	}
	if state, err := c.InstanceState(ctx, in.Name); err != nil {
		return cloud.Image{}, fail(call, err)
	} else if state.StatusCode != incusd.Stopped {
		return cloud.Image{}, refuse(call, "%s is %s: stop it first", id, strings.ToLower(state.Status))
	}
	err = incusd.Patiently(ctx, c, in.Name, func() error {
		_, err := c.Publish(ctx, incusd.Publication{Instance: in.Name, Properties: properties(spec), Alias: spec.Name})
		return err
	})
	if err != nil && classify(err) != cloud.CodeConflict {
		return cloud.Image{}, fail(call, err)
	}
	image, err = named(ctx, images, call, spec)
	return image, fail(call, err)
}

func checkImage(call string, spec cloud.ImageSpec) error {
	switch {
	case spec.Name == "" || strings.ContainsAny(spec.Name, "/ "):
		return refuse(call, "an image's name must not be empty or contain a slash or a space")
	case spec.Kind != cloud.Base && spec.Kind != cloud.Prebuilt:
		return refuse(call, "unknown kind %q", spec.Kind)
	case spec.Tags.Owner == "":
		return refuse(call, "no owner in its tags")
	}
	return nil
}

// properties are all that Incus keeps of an image's description.
func properties(spec cloud.ImageSpec) map[string]string {
	all := map[string]string{tagName: spec.Name, tagKind: string(spec.Kind)}
	maps.Copy(all, spec.Properties)
	return label(all, spec.Tags)
}

// named finds the image of a name, which is its alias. The alias is set when the image is complete.
func named(ctx context.Context, c *incusd.Client, call string, spec cloud.ImageSpec) (cloud.Image, error) {
	fingerprint, err := c.ImageAlias(ctx, spec.Name)
	if err != nil {
		return cloud.Image{}, err
	}
	found, err := c.Image(ctx, fingerprint)
	if err != nil {
		return cloud.Image{}, err
	}
	image := image(found)
	if image.Tags.Owner != spec.Tags.Owner || image.Kind != spec.Kind {
		return cloud.Image{}, conflict(call, "there is a %q image of that name that belongs to %q", image.Kind, image.Tags.Owner)
	}
	return image, nil
}

// Images looks in the default project, where all images are.
func (p *Provider) Images(ctx context.Context, filter cloud.Filter) ([]cloud.Image, error) {
	all, err := incusd.List(ctx, p.connect("").Images)
	if err != nil {
		return nil, fail("list images", err)
	}
	images := []cloud.Image{}
	for i := range all {
		// One without its alias was never completed; Owned lists it, nobody should use it.
		if len(all[i].Aliases) > 0 && fits(tagsOf(all[i].Properties), filter) {
			images = append(images, image(all[i]))
		}
	}
	return images, nil
}

func image(in incusd.Image) cloud.Image {
	return cloud.Image{
		ID: cloud.ImageID(in.Fingerprint), Name: in.Properties[tagName], Kind: cloud.Kind(in.Properties[tagKind]),
		Digest: in.Fingerprint, Created: in.UploadedAt, SizeBytes: in.Size,
		Properties: plain(in.Properties), Tags: tagsOf(in.Properties),
	}
}

// DeleteImage leaves the servers that were launched from the image alone.
func (p *Provider) DeleteImage(ctx context.Context, id cloud.ImageID) error {
	call := "delete image " + string(id)
	if id == "" {
		return nil
	}
	return skipAbsent(fail(call, p.connect("").DeleteImage(ctx, string(id))))
}
