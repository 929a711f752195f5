package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/ledger"
)

// Refusal says why a channel does not move to an image set that is good in itself, and what a person can
// do about it.
type Refusal struct {
	Channel, Set string
	Why, Remedy  string
}

// Error is "production does not move to SET: why; remedy".
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s does not move to %s: %s; %s", r.Channel, r.Set, r.Why, r.Remedy)
}

// Move moves a channel as the ledger's MoveChannel does, after the images of the new set are published for
// it: if that fails, the channel stays. Align is to follow.
//
// A promotion is refused (*Refusal) if the set is not of a branch that this channel takes, if its commit is
// no longer on its branch, if it is older than what the channel holds (but for a move that is Forced, which
// needs a Reason), or, for production, if the upgrade from the set that it holds was not tested. What goes
// for the channel is looked at before images are copied, which may take an hour, and again when it moves.
func Move(ctx context.Context, parts Parts, m ledger.Move, expected int64) (ledger.Channel, error) {
	if m.Forced && strings.TrimSpace(m.Reason) == "" {
		return ledger.Channel{}, errors.New("a channel is moved to an older commit only for a reason that is recorded: give one")
	}
	return move(ctx, parts, m, expected, func() (done bool, err error) { return mayMove(ctx, parts, m, expected) })
}

// move publishes and moves. check says whether the channel may move, or that it need not, because that was
// done before.
func move(ctx context.Context, parts Parts, m ledger.Move, expected int64, check func() (done bool, err error)) (ledger.Channel, error) {
	p := parts.publisher()
	done, err := check()
	if err != nil {
		return ledger.Channel{}, err
	}
	if done || p == nil || m.To == "" {
		return parts.Ledger.MoveChannel(ctx, m, expected)
	}
	stays := func(err error) (ledger.Channel, error) {
		return ledger.Channel{}, fmt.Errorf("its images could not be published, so channel %s stays: %w", m.Channel, err)
	}
	images, err := imagesOf(ctx, parts, m.To)
	if err != nil {
		return ledger.Channel{}, err
	}
	kept, err := copying(ctx, parts)
	if err != nil {
		return ledger.Channel{}, err
	}
	defer kept()
	want, err := unpublished(ctx, parts, p, m.Channel, images)
	if err != nil {
		return ledger.Channel{}, err
	}
	if failed := each(want, func(id cloud.ImageID, channels []string) error { return p.Copy(ctx, id, channels) }); len(failed) > 0 {
		return stays(joined(failed))
	}
	release, err := publishing(ctx, parts, true)
	if err != nil {
		return ledger.Channel{}, err
	}
	defer release()
	if _, err := check(); err != nil { // much may happen in an hour
		return ledger.Channel{}, err
	}
	if want, err = unpublished(ctx, parts, p, m.Channel, images); err != nil {
		return ledger.Channel{}, err
	}
	if failed := publish(ctx, parts, p, want); len(failed) > 0 {
		return stays(joined(failed))
	}
	return parts.Ledger.MoveChannel(ctx, m, expected)
}

// mayMove says why a channel may not move, or that it need not, because that was done before.
func mayMove(ctx context.Context, parts Parts, m ledger.Move, expected int64) (done bool, err error) {
	done, err = parts.Ledger.CheckMove(ctx, m, expected)
	untested, _ := errors.AsType[*ledger.UntestedUpgradeError](err)
	if err != nil && untested == nil || done || m.Kind != ledger.Promote || m.To == "" {
		return done, err
	}
	set, err := parts.Ledger.Set(ctx, m.To)
	if err != nil {
		return false, err
	}
	why, remedy, err := fitsChannel(ctx, parts, m.Channel, set)
	if why == "" && err == nil && !m.Forced {
		why, err = goesBack(ctx, parts, m.Channel, set.Branch, set.Commit)
		remedy = fmt.Sprintf("if it is to go back, `hallmark rollback %s`, or `hallmark promote %s %s --force --reason '…'`", m.Channel, m.To, m.Channel)
	}
	if why == "" && err == nil && untested != nil {
		why = untested.Error()
		remedy, err = upgradeAgain(ctx, parts, set, untested)
	}
	if err != nil || why == "" {
		return false, err
	}
	return false, &Refusal{Channel: m.Channel, Set: m.To, Why: why, Remedy: remedy}
}

// fitsChannel says why a set may not be promoted to a channel, however old it is.
func fitsChannel(ctx context.Context, parts Parts, channel string, set ledger.ImageSet) (why, remedy string, err error) {
	takes, why, err := channelsFor(ctx, parts, set)
	switch {
	case err != nil:
		return "", "", err
	case why != "":
		return why, "no channel takes its sets", nil
	case !slices.Contains(takes, channel):
		return fmt.Sprintf("it takes no sets of branch %s", set.Branch), "this one can go to " + strings.Join(takes, " or "), nil
	}
	on, err := parts.Product.OnBranch(ctx, set.Commit, set.Branch)
	if _, unknown := errors.AsType[config.Errors](err); unknown {
		return fmt.Sprintf("branch %s is no longer in the repository", set.Branch), "promote a set of another branch", nil
	}
	if err != nil || on {
		return "", "", err
	}
	return fmt.Sprintf("commit %s is no longer on branch %s", set.Commit, set.Branch), "the branch was rewritten: promote the set of a run of its head", nil
}

// channelsFor lists the channels that a set may be promoted to: the one of the policy that its run was
// judged by, and production. Why says that there is none.
func channelsFor(ctx context.Context, parts Parts, set ledger.ImageSet) (channels []string, why string, err error) {
	run, err := parts.Ledger.Run(ctx, set.Run)
	if err != nil {
		return nil, "", err
	}
	if err := parts.Config.Fits(run.Kind, set.Branch); err != nil {
		return nil, err.Error(), nil
	}
	own, err := parts.Config.Channel(run.Kind, set.Branch)
	if err != nil {
		return nil, err.Error(), nil
	}
	channels = []string{ProductionChannel}
	if own != "" && own != ProductionChannel {
		channels = append([]string{own}, channels...)
	}
	return channels, "", nil
}

// upgradeAgain says which run has to be done before production may move to a set.
func upgradeAgain(ctx context.Context, parts Parts, set ledger.ImageSet, untested *ledger.UntestedUpgradeError) (string, error) {
	run, err := parts.Ledger.Run(ctx, set.Run)
	if err != nil {
		return "", err
	}
	held, err := parts.Ledger.Set(ctx, untested.Holds)
	if err != nil {
		return "", err
	}
	if run.Kind == Nightly && parts.Config.Fits(Release, held.Branch) != nil {
		return fmt.Sprintf("nightly runs upgrade from live release branches only, and %s is none: promote the set of a release run", held.Branch), nil
	}
	command := fmt.Sprintf("hallmark run --kind %s --branch %s --commit %s", run.Kind, set.Branch, set.Commit)
	channel, err := parts.Config.Channel(run.Kind, set.Branch)
	if err != nil {
		return "", err
	}
	if why, err := goesBack(ctx, parts, channel, set.Branch, set.Commit); err != nil || why != "" {
		if err != nil {
			return "", err
		}
		command += " --no-promote"
	}
	return fmt.Sprintf("test it with `%s`, and promote the set of that run", command), nil
}

// goesBack says why a channel that moves to this commit would go back to an older one, "" if it would not.
// Compared is with the set that the channel holds, and with the last of the same branch that it stands on:
// it must be in the history of the new commit. A commit that is no longer on its branch says nothing about
// what is newer: the branch was rewritten, and only what both histories have is older.
func goesBack(ctx context.Context, parts Parts, channel, branch, commit string) (why string, err error) {
	held, err := standsOn(ctx, parts, channel, branch)
	if err != nil {
		return "", err
	}
	for _, set := range held {
		if set.Commit == commit {
			continue
		}
		older, err := parts.Product.Contains(ctx, set.Commit, commit)
		if err != nil {
			return "", err
		}
		if older {
			return fmt.Sprintf("commit %s is older than %s, which channel %s holds or held last of branch %s", commit, set.Commit, channel, set.Branch), nil
		}
		if set.Branch != branch {
			continue
		}
		newer, err := parts.Product.Contains(ctx, commit, set.Commit)
		if err != nil {
			return "", err
		}
		still, err := parts.Product.OnBranch(ctx, set.Commit, branch)
		if err != nil {
			return "", err
		}
		if !newer && still {
			return fmt.Sprintf("commit %s does not follow %s, which channel %s holds or held last of branch %s", commit, set.Commit, channel, branch), nil
		}
	}
	return "", nil
}

// standsOn gives the set that a channel holds and the last one of a branch among those that it stands on,
// which may be the same. Revoked sets do not count: the channel went back from them for good.
func standsOn(ctx context.Context, parts Parts, channel, branch string) ([]ledger.ImageSet, error) {
	moves, err := parts.Ledger.Moves(ctx, channel, 0)
	if err != nil {
		return nil, err
	}
	var held []ledger.ImageSet
	standing := ledger.Standing(moves)
	for i, id := range slices.Backward(standing) {
		if id == "" {
			continue
		}
		set, err := parts.Ledger.Set(ctx, id)
		if err != nil {
			return nil, err
		}
		if i == len(standing)-1 || set.Branch == branch && set.Revoked == "" {
			held = append(held, set)
		}
		if set.Branch == branch && set.Revoked == "" {
			break
		}
	}
	return held, nil
}
