package cloud

import (
	"context"
	"time"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Balancer changes servers that answer requests, so that whoever asks does not notice. A pool is a set of
// servers among which a load balancer spreads requests; a group is a set of like servers that the provider
// itself launches and keeps up in number. Others make both; one that does not carry the owner's tag is
// left alone (CodeConflict), one that is not there is CodeNotFound.
//
// Each call is at most one change, or one change and the wait for it, and goes on where a crashed process
// was when it is made again.
type Balancer interface {
	// Leave takes a server out of a pool, and returns when no request is under way on it. One that is
	// not in the pool, or gone, has left.
	Leave(ctx context.Context, pool string, id ServerID) error
	// Join puts a server into a pool, and returns when the balancer calls it healthy. A server that the
	// balancer looked at and still calls unhealthy when patience is over is the product's doing: the
	// cause of that error is verdict.HealthFailed, and it is in the pool. Every other error is an *Error.
	Join(ctx context.Context, pool string, id ServerID, patience time.Duration) error

	// Roll begins to replace all servers of a group by new ones from another image, and returns. The
	// provider goes on by itself, and goes back by itself if new servers do not become healthy: it does
	// so also if Hallmark is down. CodeConflict if the group is being changed otherwise, or was since this
	// roll was prepared; CodeRefused for a group that could not be taken back or whose health nobody looks at.
	Roll(ctx context.Context, roll Roll) error
	// Rolled tells how far a roll is; CodeNotFound if it was not begun.
	Rolled(ctx context.Context, roll Roll) (RollProgress, error)
	// Unroll begins to take a group back to what it was before a roll, wherever that is: under way, done
	// or stuck. It returns at once; Rolled tells when it is RollUndone. It is no error if the roll was
	// not begun, or if the group is going or has gone back already. CodeRefused if what it launched before was revoked:
	// such a group goes forward only.
	Unroll(ctx context.Context, roll Roll) error
}

// Roll describes the change of a group's image. It is the same for all calls about it.
type Roll struct {
	Token   string        `json:"token"` // the same token is the same roll; another attempt needs another one
	Owner   string        `json:"owner"`
	Group   string        `json:"group"`
	Image   ImageID       `json:"image"`
	Healthy int           `json:"healthy"` // percent of the group that stays in service; 0: 100, new servers come before old ones go
	Warmup  time.Duration `json:"warmup"`  // for which a new server must have been in service before the next is replaced; 0: the group's own
}

// RollState is where a roll is.
type RollState string

// The states of a roll. From RollStuck nothing goes on by itself: Unroll takes the group back.
const (
	RollGoing  RollState = "rolling"
	RollDone   RollState = "done"
	RollBack   RollState = "rolling-back"
	RollUndone RollState = "rolled-back"
	RollStuck  RollState = "stuck"
)

// RollProgress is how far a roll is.
type RollProgress struct {
	State   RollState `json:"state"`
	Percent int       `json:"percent"` // of the group's servers that are new and in service; falls on the way back
	// Cause is why it did not go through, where the state says so: verdict.HealthFailed if new servers
	// ran and were called unhealthy, the cloud's cause if they could not be launched or were lost. It is
	// verdict.Unexplained if nothing tells, as when a person, or Unroll, ended the roll.
	Cause  verdict.Cause `json:"cause,omitempty"`
	Reason string        `json:"reason,omitempty"` // the provider's words, for people
}

type interceptedBalancer struct {
	p      Balancer
	around Around
}

func (i interceptedBalancer) Leave(ctx context.Context, pool string, id ServerID) error {
	return i.around(ctx, Call{VerbLeave, string(id)}, func(ctx context.Context) error { return i.p.Leave(ctx, pool, id) })
}

func (i interceptedBalancer) Join(ctx context.Context, pool string, id ServerID, patience time.Duration) error {
	return i.around(ctx, Call{VerbJoin, string(id)}, func(ctx context.Context) error { return i.p.Join(ctx, pool, id, patience) })
}

func (i interceptedBalancer) Roll(ctx context.Context, roll Roll) error {
	return i.around(ctx, Call{VerbRoll, roll.Group}, func(ctx context.Context) error { return i.p.Roll(ctx, roll) })
}

func (i interceptedBalancer) Rolled(ctx context.Context, roll Roll) (RollProgress, error) {
	return value(ctx, i.around, Call{VerbRolled, roll.Group}, func(ctx context.Context) (RollProgress, error) { return i.p.Rolled(ctx, roll) })
}

func (i interceptedBalancer) Unroll(ctx context.Context, roll Roll) error {
	return i.around(ctx, Call{VerbUnroll, roll.Group}, func(ctx context.Context) error { return i.p.Unroll(ctx, roll) })
}
