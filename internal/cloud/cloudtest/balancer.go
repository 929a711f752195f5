package cloudtest

import (
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Fleet is a balancer to be tested, and what there is for it.
type Fleet struct {
	Balancer cloud.Balancer
	Pool     string         // ours, empty
	Theirs   string         // a pool, and a group, of another owner
	Server   cloud.ServerID // ours, running
	// Ail makes the balancer call the server unhealthy, or no longer.
	Ail func(t *testing.T, ails bool)

	Roll     cloud.Roll    // from Old to a good image
	Old, Bad cloud.ImageID // what the group launches now; what never becomes healthy
	// Launches is what the group launches now, of itself and not only for a roll under way.
	Launches func(t *testing.T) cloud.ImageID

	Patience time.Duration       // in which a healthy server is called so
	Pause    func(time.Duration) // lets time pass between two looks at a roll
}

// RunBalancer tests a balancer against the contract of cloud.Balancer, in chapters: each begins where the
// one before ended, with the server out of the pool and the group on Old. They are no subtests, so that
// they can be told in a bubble of its own time.
func RunBalancer(t *testing.T, f Fleet) {
	for _, chapter := range []struct {
		name string
		tell func(*testing.T)
	}{
		{"leave and join", f.leaveAndJoin},
		{"unhealthy", f.unhealthy},
		{"not ours", f.notOurs},
		{"roll and back", f.rollAndBack},
		{"back half way", f.backHalfWay},
		{"bad image", f.badImage},
	} {
		t.Log(chapter.name)
		if chapter.tell(t); t.Failed() {
			return
		}
	}
}

func (f Fleet) leaveAndJoin(t *testing.T) {
	ctx := t.Context()
	must(t, f.Balancer.Leave(ctx, f.Pool, f.Server), "leave a pool that it is not in")
	for range 2 {
		must(t, f.Balancer.Join(ctx, f.Pool, f.Server, f.Patience), "join")
		must(t, f.Balancer.Join(ctx, f.Pool, f.Server, f.Patience), "join again")
		must(t, f.Balancer.Leave(ctx, f.Pool, f.Server), "leave")
		must(t, f.Balancer.Leave(ctx, f.Pool, f.Server), "leave again")
	}
}

func (f Fleet) unhealthy(t *testing.T) {
	f.Ail(t, true)
	err := f.Balancer.Join(t.Context(), f.Pool, f.Server, f.Patience)
	if cause := verdict.CauseOf(err); cause != verdict.HealthFailed || cloud.CodeOf(err) != "" {
		t.Errorf("join of an unhealthy server: cause %q, code %q: %v", cause, cloud.CodeOf(err), err)
	}
	f.Ail(t, false)
	must(t, f.Balancer.Join(t.Context(), f.Pool, f.Server, f.Patience), "join when it is well")
	f.Ail(t, true)
	must(t, f.Balancer.Leave(t.Context(), f.Pool, f.Server), "leave when it is unhealthy")
	f.Ail(t, false)
}

func (f Fleet) notOurs(t *testing.T) {
	ctx := t.Context()
	wantCode(t, f.Balancer.Join(ctx, f.Theirs, f.Server, f.Patience), "join another's pool", cloud.CodeConflict)
	wantCode(t, f.Balancer.Leave(ctx, f.Theirs, f.Server), "leave another's pool", cloud.CodeConflict)
	wantCode(t, f.Balancer.Join(ctx, "nowhere", f.Server, f.Patience), "join no pool", cloud.CodeNotFound)
	wantCode(t, f.Balancer.Leave(ctx, "nowhere", f.Server), "leave no pool", cloud.CodeNotFound)
	theirs, none := f.Roll, f.Roll
	theirs.Group, none.Group = f.Theirs, "nowhere"
	for roll, want := range map[cloud.Roll]cloud.Code{theirs: cloud.CodeConflict, none: cloud.CodeNotFound} {
		_, err := f.Balancer.Rolled(ctx, roll)
		wantCode(t, err, "look at the roll of "+roll.Group, want)
		wantCode(t, f.Balancer.Roll(ctx, roll), "roll "+roll.Group, want)
		wantCode(t, f.Balancer.Unroll(ctx, roll), "roll back "+roll.Group, want)
	}
}

func (f Fleet) rollAndBack(t *testing.T) {
	ctx := t.Context()
	_, err := f.Balancer.Rolled(ctx, f.Roll)
	wantCode(t, err, "look at a roll that was not begun", cloud.CodeNotFound)
	must(t, f.Balancer.Unroll(ctx, f.Roll), "roll back what was not begun")
	must(t, f.Balancer.Roll(ctx, f.Roll), "roll")
	must(t, f.Balancer.Roll(ctx, f.Roll), "roll again")
	other := f.Roll
	other.Token += "-other"
	wantCode(t, f.Balancer.Roll(ctx, other), "another roll meanwhile", cloud.CodeConflict)
	other = f.Roll
	other.Image = f.Old
	wantCode(t, f.Balancer.Roll(ctx, other), "the token for another image", cloud.CodeConflict)
	f.await(t, f.Roll, cloud.RollDone, cloud.RollGoing)
	f.launches(t, f.Roll.Image)
	must(t, f.Balancer.Roll(ctx, f.Roll), "roll what is rolled")
	must(t, f.Balancer.Unroll(ctx, f.Roll), "roll back what is done")
	must(t, f.Balancer.Unroll(ctx, f.Roll), "roll back again")
	f.await(t, f.Roll, cloud.RollUndone, cloud.RollBack)
	f.launches(t, f.Old)
}

func (f Fleet) backHalfWay(t *testing.T) {
	roll := f.Roll
	roll.Token += "-half"
	must(t, f.Balancer.Roll(t.Context(), roll), "roll")
	must(t, f.Balancer.Unroll(t.Context(), roll), "roll back what has begun")
	f.await(t, roll, cloud.RollUndone, cloud.RollBack)
	f.launches(t, f.Old)
}

func (f Fleet) badImage(t *testing.T) {
	roll := f.Roll
	roll.Token, roll.Image = roll.Token+"-bad", f.Bad
	must(t, f.Balancer.Roll(t.Context(), roll), "roll")
	last := f.await(t, roll, cloud.RollUndone, cloud.RollGoing, cloud.RollBack) // by itself
	if last.Cause != verdict.HealthFailed || last.Reason == "" {
		t.Errorf("a roll to a bad image ended as %+v", last)
	}
	f.launches(t, f.Old)
	must(t, f.Balancer.Unroll(t.Context(), roll), "roll back what has gone back")
	must(t, f.Balancer.Roll(t.Context(), roll), "roll again with a token that is used up")
	f.await(t, roll, cloud.RollUndone)
}

// await looks at a roll until it is in a state; every state on the way must be one of via.
func (f Fleet) await(t *testing.T, roll cloud.Roll, want cloud.RollState, via ...cloud.RollState) cloud.RollProgress {
	t.Helper()
	const looks = 2000
	for range looks {
		p, err := f.Balancer.Rolled(t.Context(), roll)
		must(t, err, "look at a roll")
		if p.Percent < 0 || p.Percent > 100 {
			t.Errorf("%d percent", p.Percent)
		}
		if p.State == want {
			return p
		}
		known := false
		for _, s := range via {
			known = known || s == p.State
		}
		if !known {
			t.Fatalf("%+v on the way to %s", p, want)
		}
		f.Pause(10 * time.Second)
	}
	t.Fatalf("looked %d times for %s", looks, want)
	return cloud.RollProgress{}
}

func (f Fleet) launches(t *testing.T, want cloud.ImageID) {
	t.Helper()
	if got := f.Launches(t); got != want {
		t.Errorf("the group launches %s, want %s", got, want)
	}
}
