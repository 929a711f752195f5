package sim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// captured is the size that a captured image claims to have.
const captured = 840 << 20

// ResolveBase finds the newest base whose name is spec.Name or matches it as a pattern of path.Match.
func (c *Cloud) ResolveBase(ctx context.Context, spec cloud.BaseSpec) (got cloud.Image, err error) {
	err = c.do(ctx, cloud.VerbResolveBase, spec.Name, func(w *world, now time.Time) error {
		found := false
		for _, i := range w.Images {
			named, err := path.Match(spec.Name, i.Name)
			if err != nil {
				return refuse(cloud.CodeRefused, "pattern %q: %v", spec.Name, err)
			}
			switch {
			case i.Kind != cloud.Base, !named && i.Name != spec.Name:
			case spec.Digest != "" && i.Properties[cloud.PropertyRecipe] != spec.Digest:
			case spec.MaxAge > 0 && now.Sub(i.Created) > spec.MaxAge:
			case found && i.Created.Before(got.Created):
			default:
				got, found = i.view(), true
			}
		}
		if !found {
			return refuse(cloud.CodeNotFound, "no reference base of this name, digest and age")
		}
		return nil
	})
	return got, err
}

// view is a copy that shares nothing with the cloud's own.
func (i *image) view() cloud.Image {
	v := i.Image
	v.Properties = maps.Clone(v.Properties)
	return v
}

// Capture takes Options.Capture; a crash or a cancelled context meanwhile leaves no image.
func (c *Cloud) Capture(ctx context.Context, id cloud.ServerID, spec cloud.ImageSpec) (got cloud.Image, err error) {
	exists := false
	err = c.do(ctx, cloud.VerbCapture, spec.Name, func(w *world, now time.Time) error {
		if i := find(w.Images, func(i *image) bool { return i.Name == spec.Name }); i != nil {
			if i.Tags.Owner != spec.Tags.Owner || i.Kind != spec.Kind {
				return refuse(cloud.CodeConflict, "image %s is another", spec.Name)
			}
			got, exists = i.view(), true
			return nil
		}
		return capturable(w, id, now)
	})
	if err != nil || exists {
		return got, err
	}
	if err := c.opts.Clock.Sleep(ctx, c.opts.Capture); err != nil {
		return cloud.Image{}, err
	}
	err = c.do(ctx, "captured", spec.Name, func(w *world, now time.Time) error {
		if err := capturable(w, id, now); err != nil {
			return err
		}
		got = w.addImage(spec, now, string(id), captured)
		return nil
	})
	return got, err
}

func capturable(w *world, id cloud.ServerID, now time.Time) error {
	s := w.server(id)
	if s == nil {
		return notFound("server", id)
	}
	if state := s.state(now); state != cloud.Stopped {
		return refuse(cloud.CodeRefused, "server %s is %s, not stopped", s.Name, state)
	}
	return nil
}

// addImage keeps a new image unless one of that name was made meanwhile. content stands for what is in it.
func (w *world) addImage(spec cloud.ImageSpec, now time.Time, content string, size int64) cloud.Image {
	if i := find(w.Images, func(i *image) bool { return i.Name == spec.Name }); i != nil {
		return i.view()
	}
	sum := sha256.Sum256([]byte(spec.Name + "\x00" + content))
	i := &image{Image: cloud.Image{
		ID: cloud.ImageID(w.next("img")), Name: spec.Name, Kind: spec.Kind,
		Digest:  "sha256:" + hex.EncodeToString(sum[:]),
		Created: now, SizeBytes: size, Properties: maps.Clone(spec.Properties), Tags: spec.Tags,
	}}
	w.Images = append(w.Images, i)
	return i.view()
}

// Images lists in the order of creation.
func (c *Cloud) Images(ctx context.Context, filter cloud.Filter) (got []cloud.Image, err error) {
	err = c.do(ctx, cloud.VerbImages, "", func(w *world, _ time.Time) error {
		for _, i := range w.Images {
			if fits(i.Tags, filter) && !i.Revoked {
				got = append(got, i.view())
			}
		}
		return nil
	})
	return got, err
}

// DeleteImage leaves servers that were launched from the image alone. It refuses one that is published.
func (c *Cloud) DeleteImage(ctx context.Context, id cloud.ImageID) error {
	return c.do(ctx, cloud.VerbDeleteImage, string(id), func(w *world, _ time.Time) error {
		if _, is := w.Published[id]; is {
			return refuse(cloud.CodeRefused, "image %s is published", id)
		}
		w.Images = slices.DeleteFunc(w.Images, func(i *image) bool { return i.ID == id })
		return nil
	})
}

// ImportBase reads the file for its digest and size and keeps nothing of it.
func (c *Cloud) ImportBase(ctx context.Context, spec cloud.ImageSpec, rootfsPath string) (got cloud.Image, err error) {
	err = c.do(ctx, cloud.VerbImportBase, spec.Name, func(w *world, now time.Time) error {
		if i := find(w.Images, func(i *image) bool { return i.Name == spec.Name }); i != nil {
			if i.Kind != cloud.Base {
				return refuse(cloud.CodeConflict, "image %s is not a base", spec.Name)
			}
			got = i.view()
			return nil
		}
		digest, size, err := digestOf(rootfsPath)
		if err != nil {
			return refuse(cloud.CodeRefused, "read root file system: %v", err)
		}
		spec.Kind = cloud.Base
		got = w.addImage(spec, now, digest, size)
		return nil
	})
	return got, err
}

func digestOf(path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// AddBase puts a reference base there without a file: tests and demonstrations begin with it.
func (c *Cloud) AddBase(ctx context.Context, spec cloud.ImageSpec) (got cloud.Image, err error) {
	spec.Kind = cloud.Base
	err = c.do(ctx, "add-base", spec.Name, func(w *world, now time.Time) error {
		got = w.addImage(spec, now, spec.Properties[cloud.PropertyRecipe], 100<<20)
		return nil
	})
	return got, err
}
