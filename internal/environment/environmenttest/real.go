package environmenttest

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/hallmark-ci/hallmark/internal/base"
	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Owner of the base that tests on real servers share and leave for the next time.
const Owner = "hallmark-test"

// Cache is the package cache that `make host` sets up.
var Cache = netip.MustParseAddrPort("10.90.0.1:3142")

// Base gives the reference base for tests on real servers. It is built if there is none, by one
// process at a time, and kept; bases of other owners are not used, for they may go away at any time.
func Base(ctx context.Context, p cloud.Provider, out io.Writer) (cloud.Image, error) {
	sources, err := base.HostSources(base.SourcesFile)
	if err != nil {
		return cloud.Image{}, err
	}
	recipe, err := base.Debian12(sources)
	if err != nil {
		return cloud.Image{}, err
	}
	builder := base.Builder{Dir: filepath.Join(os.TempDir(), "hallmark-test-base"), Cache: "http://" + Cache.String()}
	return builder.Ensure(ctx, cloud.With(ownBases{p}, cloud.CapabilitiesOf(p)), base.Spec{Recipe: recipe, Tags: cloud.Tags{Owner: Owner}}, out)
}

// ownBases finds bases of Owner only.
type ownBases struct{ cloud.Provider }

func (p ownBases) ResolveBase(ctx context.Context, spec cloud.BaseSpec) (cloud.Image, error) {
	bases, err := base.List(ctx, p.Provider, Owner)
	if err != nil {
		return cloud.Image{}, err
	}
	for _, image := range bases {
		if image.Properties[cloud.PropertyRecipe] == spec.Digest {
			return image, nil
		}
	}
	return cloud.Image{}, &cloud.Error{Call: "resolve base of tests", Code: cloud.CodeNotFound, Err: os.ErrNotExist}
}
