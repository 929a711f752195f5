package base

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Properties of an image that Ensure made, beside cloud.PropertyRecipe.
const (
	PropertyPackages = "packages" // JSON: name → version
	PropertyDate     = "date"     // RFC 3339: the moment of which its package versions are
)

// Spec says which base is wanted.
type Spec struct {
	Recipe Recipe
	Tags   cloud.Tags    // of an image that has to be made
	MaxAge time.Duration // an older one is built anew; 0: any age will do
	Fresh  bool          // build anew in any case
}

// Ensure gives a reference base made by the recipe: the newest one that fits, or a new one. Whoever
// waited while another process built it, takes that one, also if it is to be fresh. Progress goes
// to out.
func (b Builder) Ensure(ctx context.Context, p cloud.Provider, spec Spec, out io.Writer) (cloud.Image, error) {
	importer := cloud.CapabilitiesOf(p).BaseImporter
	if importer == nil {
		return cloud.Image{}, fmt.Errorf("this provider takes no base built here: name one of its own")
	}
	asked := b.now()
	if !spec.Fresh {
		if image, err := find(ctx, p, spec); cloud.CodeOf(err) != cloud.CodeNotFound {
			return image, err
		}
	}
	release, err := b.lock(ctx)
	if err != nil {
		return cloud.Image{}, err
	}
	defer release()
	switch image, err := find(ctx, p, spec); {
	case err != nil && cloud.CodeOf(err) != cloud.CodeNotFound:
		return cloud.Image{}, err
	case err == nil && (!spec.Fresh || image.Created.After(asked)):
		return image, nil
	}
	_, _ = fmt.Fprintf(out, "build reference base %s by recipe %s\n", spec.Recipe.Suite, short(spec.Recipe.Digest()))
	built, err := b.build(ctx, spec.Recipe, out)
	if err != nil {
		return cloud.Image{}, err
	}
	defer os.Remove(built.Path)
	image, err := Import(ctx, importer, built, spec.Tags)
	if err != nil {
		return cloud.Image{}, err
	}
	_, _ = fmt.Fprintf(out, "reference base %s: %d packages, built in %s\n", image.Name, len(built.Packages), built.Took.Round(time.Second))
	return image, nil
}

func find(ctx context.Context, p cloud.Provider, spec Spec) (cloud.Image, error) {
	return p.ResolveBase(ctx, cloud.BaseSpec{Name: Family + "*", Digest: spec.Recipe.Digest(), MaxAge: spec.MaxAge})
}

// Import gives a built base to a provider, named by its date and recipe.
func Import(ctx context.Context, p cloud.BaseImporter, built Built, tags cloud.Tags) (cloud.Image, error) {
	packages, err := json.Marshal(built.Packages)
	if err != nil {
		return cloud.Image{}, fmt.Errorf("describe the reference base: %w", err)
	}
	return p.ImportBase(ctx, cloud.ImageSpec{
		Name: Family + strings.ToLower(built.Date.Format("20060102T150405Z")) + "-" + short(built.Recipe),
		Kind: cloud.Base,
		Tags: tags,
		Properties: map[string]string{
			cloud.PropertyRecipe: built.Recipe,
			PropertyPackages:     string(packages),
			PropertyDate:         built.Date.Format(time.RFC3339),
		},
	}, built.Path)
}

// Packages gives name and version of all that a base has; nil for one that was not made here.
func Packages(image cloud.Image) (map[string]string, error) {
	text, ok := image.Properties[PropertyPackages]
	if !ok {
		return nil, nil
	}
	var packages map[string]string
	if err := json.Unmarshal([]byte(text), &packages); err != nil {
		return nil, fmt.Errorf("packages of base %s: %w", image.Name, err)
	}
	return packages, nil
}

// List gives the reference bases of an owner, the newest first.
func List(ctx context.Context, p cloud.Provider, owner string) ([]cloud.Image, error) {
	images, err := p.Images(ctx, cloud.Filter{Owner: owner})
	if err != nil {
		return nil, err
	}
	images = slices.DeleteFunc(images, func(i cloud.Image) bool { return i.Kind != cloud.Base })
	slices.SortFunc(images, func(a, b cloud.Image) int { return b.Created.Compare(a.Created) })
	return images, nil
}

// short is enough of a digest to tell recipes apart at a glance.
func short(digest string) string {
	return strings.TrimPrefix(digest, "sha256:")[:8]
}
