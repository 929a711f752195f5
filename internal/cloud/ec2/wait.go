package ec2

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// How long EC2 may take, generously: what lasts longer will not end.
const (
	visibleIn  = 2 * time.Minute  // what was just made can be seen
	stateIn    = 10 * time.Minute // an instance starts, stops or ends; a volume is attached or free
	imageIn    = 90 * time.Minute // an image or its copy in another region is complete
	validateIn = 3 * time.Minute  // a parameter that names an image is validated
)

// slowest is the longest pause between two looks.
const slowest = 15 * time.Second

// errLate is what until gives when its time is over.
var errLate = errors.New("it did not happen within")

// until looks again and again, less and less often, until done. When most is over it gives CodeDown:
// the call may be made again.
func (p *Provider) until(ctx context.Context, what string, most time.Duration, done func(context.Context) (bool, error)) error {
	deadline := p.cfg.Clock.Now().Add(most)
	for wait := p.cfg.Poll; ; wait = min(wait*3/2, slowest) {
		ok, err := done(ctx)
		if ok || err != nil {
			return err
		}
		if !p.cfg.Clock.Now().Before(deadline) {
			return &cloud.Error{Call: "wait until " + what, Code: cloud.CodeDown, Err: fmt.Errorf("%w %s", errLate, most)}
		}
		if err := p.cfg.Clock.Sleep(ctx, wait); err != nil {
			return fail("wait until "+what, err)
		}
	}
}

// digest of several words, none of which runs into the next.
func digest(parts ...string) [sha256.Size]byte {
	h := sha256.New()
	for _, part := range parts {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return [sha256.Size]byte(h.Sum(nil))
}
