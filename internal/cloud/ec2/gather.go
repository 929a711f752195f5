package ec2

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
)

// gather asks one question for all who want to know it of their instance at about the same time: the
// servers of an environment end together, and each of them is waited for.
type gather struct {
	// ask tells for which of the instances it holds.
	ask func(ctx context.Context, ids []string) (map[string]bool, error)

	mu   sync.Mutex
	next *question // that more may join; nil: none
}

type question struct {
	ids  []string
	done chan struct{} // closed when what follows is known
	hold map[string]bool
	err  error
	lost bool // whoever asked has given up
}

// holds waits for a moment for others who ask, and gives the answer for one instance. Whoever asks first asks
// for all; if they give up, the others ask again.
func (g *gather) holds(ctx context.Context, c clock.Clock, moment time.Duration, id string) (bool, error) {
	for {
		q := g.join(ctx, c, moment, id)
		select {
		case <-q.done:
			if !q.lost || ctx.Err() != nil {
				return q.hold[id], q.err
			}
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// join puts an instance into the next question, and asks it if it is the first.
func (g *gather) join(ctx context.Context, c clock.Clock, moment time.Duration, id string) *question {
	g.mu.Lock()
	q := g.next
	first := q == nil || len(q.ids) == mostIDs
	if first {
		q = &question{done: make(chan struct{})}
		g.next = q
	}
	q.ids = append(q.ids, id)
	g.mu.Unlock()
	if first {
		g.answer(ctx, c, moment, q)
	}
	return q
}

func (g *gather) answer(ctx context.Context, c clock.Clock, moment time.Duration, q *question) {
	defer close(q.done)
	q.err = c.Sleep(ctx, moment)
	g.mu.Lock()
	if g.next == q {
		g.next = nil
	}
	ids := slices.Compact(slices.Sorted(slices.Values(q.ids)))
	g.mu.Unlock()
	if q.err == nil {
		q.hold, q.err = g.ask(ctx, ids)
	}
	q.lost = ctx.Err() != nil
}

// attached tells which instances still have something that outlives them.
func (p *Provider) attached(ctx context.Context, ids []string) (map[string]bool, error) {
	holding := map[string]bool{}
	filters := []types.Filter{has("attachment.instance-id", ids...)}
	nics, err := p.listNICs(ctx, filters)
	if err != nil {
		return nil, err
	}
	for _, n := range nics {
		holding[n.instance] = true
	}
	if len(holding) == len(ids) {
		return holding, nil
	}
	volumes, err := p.listVolumes(ctx, filters)
	for i := range volumes {
		for _, a := range volumes[i].Attachments {
			holding[aws.ToString(a.InstanceId)] = true
		}
	}
	return holding, err
}
