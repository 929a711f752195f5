package limit

import (
	"context"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Room gives p with a look at the disk before every Capture: enough says by an error that there is too little
// for an image, and then nothing is begun that would end half-way. The error is a cloud.CodeCapacity.
func Room(p cloud.Provider, enough func(context.Context) error) cloud.Provider {
	return cloud.Intercept(p, func(ctx context.Context, call cloud.Call, do func(context.Context) error) error {
		if call.Verb == cloud.VerbCapture {
			if err := enough(ctx); err != nil {
				return &cloud.Error{Call: call.String(), Code: cloud.CodeCapacity, Err: err}
			}
		}
		return do(ctx)
	})
}
