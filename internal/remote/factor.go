package remote

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

// stepLength is the time one TOTP code is valid for (RFC 6238, section 4.1).
const stepLength = 30 * time.Second

// Clock is time as a Factor sees it.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// SystemClock is the machine's own clock.
type SystemClock struct{}

// Now gives the time.
func (SystemClock) Now() time.Time { return time.Now() }

// After fires once d has passed.
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Steps remembers which steps of one seed were used, if need be longer than this process lives.
// A step is the Unix time divided by 30 s.
type Steps interface {
	// Claim marks a step as used. It gives false if that step or a later one was used before. Two
	// claims of one step, even by two processes, must not both be true.
	Claim(ctx context.Context, step int64) (bool, error)
}

// MemorySteps remembers for as long as the process lives. Its zero value is ready.
type MemorySteps struct {
	mu   sync.Mutex
	last int64
}

// Claim implements Steps.
func (m *MemorySteps) Claim(_ context.Context, step int64) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if step <= m.last {
		return false, nil
	}
	m.last = step
	return true, nil
}

// Factor is the second factor of an admin: codes from one TOTP seed (RFC 6238: SHA-1, six digits,
// 30 s), each given out once. It is safe for concurrent use.
type Factor struct {
	seed  *string // behind a pointer, where no way of printing goes
	steps Steps
	clock Clock

	door     chan struct{} // held by a login that may be asked for a code, from before its connection to its end
	turn     chan struct{} // held while a step is being claimed
	mu       sync.Mutex
	last     int64 // the newest step known to be used
	given    int64 // the newest step whose code Code gave
	admitted int64 // the newest step whose code is known to have let in
}

// NewFactor takes a base32 seed. With nil steps a restarted process may use a code again, which a
// bastion that refuses reuse will refuse. A nil clock is the system's.
func NewFactor(seed string, steps Steps, clock Clock) (*Factor, error) {
	seed = strings.ToUpper(strings.TrimRight(strings.TrimSpace(seed), "="))
	// The cause is left out: it quotes the seed's characters.
	if _, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(seed); err != nil || seed == "" {
		return nil, errors.New("the TOTP seed is not base32")
	}
	if steps == nil {
		steps = &MemorySteps{}
	}
	if clock == nil {
		clock = SystemClock{}
	}
	return &Factor{seed: &seed, steps: steps, clock: clock, door: make(chan struct{}, 1), turn: make(chan struct{}, 1)}, nil
}

// String hides the seed.
func (f *Factor) String() string { return "***" }

// GoString hides the seed.
func (f *Factor) GoString() string { return "***" }

// Code gives a code that nobody was given before. It waits for the next step, at most 30 s for each
// caller before this one, if the current step's code was used.
func (f *Factor) Code(ctx context.Context) (string, error) {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	for {
		if err := f.wait(ctx); err != nil {
			return "", err
		}
		now := f.clock.Now()
		step := stepOf(now)
		ok, err := f.steps.Claim(ctx, step)
		if err != nil {
			return "", fmt.Errorf("note the use of a TOTP step: %w", err)
		}
		f.used(step)
		if !ok {
			continue // another process used it
		}
		f.mu.Lock()
		f.given = step
		f.mu.Unlock()
		return codeOf(*f.seed, step)
	}
}

// admit notes that the code that was given last let in. Whoever calls it holds the door.
func (f *Factor) admit() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.admitted = f.given
}

// spent gives the newest step whose code let in; 0 if there is none yet.
func (f *Factor) spent() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.admitted
}

// enter waits until no other login with this seed is under way; leave ends the turn. A bastion keeps what it
// notes of an account (used codes, attempts) in one place: pam_google_authenticator refuses a right code if
// another login of the account changed that while it waited for an answer.
func (f *Factor) enter(ctx context.Context) (leave func(), err error) {
	select {
	case f.door <- struct{}{}:
		return func() { <-f.door }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Steps before and after the current one. The codes of near steps may be let in by a bastion that forgives
// much: RFC 6238, section 5.2, wants one step at most, and pam_google_authenticator's own set-up offers eight
// for clocks that are badly off. A code of an old step (five minutes) may not.
const (
	nearSteps = 8
	oldSteps  = 10
)

// old gives a code of five minutes ago, or a little more: it equals none that a bastion might let in.
func (f *Factor) old() (string, error) { return f.differing(*f.seed, stepOf(f.clock.Now())-oldSteps) }

// foreign gives a code of a seed that was made up: it equals none that a bastion might let in.
func (f *Factor) foreign() (string, error) {
	var seed [20]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return "", fmt.Errorf("make up a TOTP seed: %w", err)
	}
	return f.differing(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(seed[:]), stepOf(f.clock.Now()))
}

// differing gives the code of a seed at a step, or at the next earlier one whose code is none of Factor's own
// that are near.
func (f *Factor) differing(seed string, step int64) (string, error) {
	var near []string
	now := stepOf(f.clock.Now())
	for s := now - nearSteps; s <= now+nearSteps; s++ {
		code, err := codeOf(*f.seed, s)
		if err != nil {
			return "", err
		}
		near = append(near, code)
	}
	for ; ; step-- {
		if code, err := codeOf(seed, step); err != nil || !slices.Contains(near, code) {
			return code, err
		}
	}
}

func codeOf(seed string, step int64) (string, error) {
	length := int64(stepLength / time.Second)
	code, err := totp.GenerateCodeCustom(seed, time.Unix(step*length, 0), totp.ValidateOpts{
		Period: uint(length), Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1,
	})
	if err != nil { // the cause is left out: it may quote the seed
		return "", errors.New("the TOTP seed gives no code")
	}
	return code, nil
}

// wait returns once the current step is not known to be used. A login is begun only after it, so
// that it need not wait while the bastion counts the time it grants for logging in.
func (f *Factor) wait(ctx context.Context) error {
	for {
		now := f.clock.Now()
		f.mu.Lock()
		last := f.last
		f.mu.Unlock()
		if stepOf(now) > last {
			return nil
		}
		next := time.Unix((last+1)*int64(stepLength/time.Second), 0)
		select {
		case <-f.clock.After(next.Sub(now)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (f *Factor) used(step int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = max(f.last, step)
}

func stepOf(t time.Time) int64 { return t.Unix() / int64(stepLength/time.Second) }
