package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeClock stands still until it is moved.
type fakeClock struct {
	mu      sync.Mutex
	now     time.Time
	waiters map[chan time.Time]time.Time
	waits   chan struct{} // gets one for every After
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Unix(1_700_000_020, 0), waiters: map[chan time.Time]time.Time{}, waits: make(chan struct{}, 1000)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.waiters[ch] = c.now.Add(d)
	c.waits <- struct{}{}
	return ch
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for ch, at := range c.waiters {
		if !at.After(c.now) {
			ch <- c.now
			delete(c.waiters, ch)
		}
	}
}

func newFactor(t *testing.T, steps Steps, clock Clock) *Factor {
	t.Helper()
	f, err := NewFactor(testSeed, steps, clock)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// RFC 6238, appendix B, cut to six digits.
func TestCodeIsThatOfTheRFC(t *testing.T) {
	clock := newFakeClock()
	clock.now = time.Unix(1111111109, 0)
	f, err := NewFactor("gezdgnbvgy3tqojqgezdgnbvgy3tqojq", nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	code, err := f.Code(t.Context())
	if err != nil || code != "081804" {
		t.Errorf("code %q, error %v", code, err)
	}
}

func TestEveryCallerGetsACodeOfItsOwn(t *testing.T) {
	const callers = 8
	clock := newFakeClock()
	f := newFactor(t, nil, clock)
	codes := make(chan string, callers)
	for range callers {
		go func() {
			code, err := f.Code(t.Context())
			if err != nil {
				t.Error(err)
			}
			codes <- code
		}()
	}
	seen := map[string]bool{<-codes: true}
	for range callers - 1 {
		<-clock.waits // the next in line waits for the next step
		select {
		case code := <-codes:
			t.Fatalf("code %s was given out in a step that was used", code)
		default:
		}
		clock.advance(stepLength)
		seen[<-codes] = true
	}
	if len(seen) != callers {
		t.Errorf("%d callers got %d codes", callers, len(seen))
	}
}

func TestARestartedProcessDoesNotUseACodeAgain(t *testing.T) {
	clock, steps := newFakeClock(), &MemorySteps{}
	before, err := newFactor(t, steps, clock).Code(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after := make(chan string)
	go func() {
		code, err := newFactor(t, steps, clock).Code(t.Context())
		if err != nil {
			t.Error(err)
		}
		after <- code
	}()
	<-clock.waits
	clock.advance(20 * time.Second) // it was 10 s into its step
	if code := <-after; code == before {
		t.Errorf("code %s was used twice", code)
	}
}

func TestWaitingForACodeEndsWithTheContext(t *testing.T) {
	clock := newFakeClock()
	f := newFactor(t, nil, clock)
	if _, err := f.Code(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-clock.waits
		cancel()
	}()
	if _, err := f.Code(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

type brokenSteps struct{}

func (brokenSteps) Claim(context.Context, int64) (bool, error) { return true, errors.New("disk full") }

func TestNoCodeWithoutANoteOfIt(t *testing.T) {
	code, err := newFactor(t, brokenSteps{}, newFakeClock()).Code(t.Context())
	if err == nil || code != "" {
		t.Errorf("code %q, error %v", code, err)
	}
}

func TestSeedIsNeverPrinted(t *testing.T) {
	f := newFactor(t, nil, nil)
	b := Bastion{Factor: f}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{f, b, &b, b.account()} {
			if text := fmt.Sprintf(format, v); strings.Contains(text, testSeed) {
				t.Errorf("%s of %T gives %s", format, v, text)
			}
		}
	}
	_, err := NewFactor("not base 32!"+testSeed, nil, nil)
	if err == nil || strings.Contains(err.Error(), testSeed) {
		t.Errorf("error %v", err)
	}
}

// Codes that no bastion may let in equal none that one might, whatever a bastion forgives.
func TestCodesThatLetNobodyIn(t *testing.T) {
	clock := newFakeClock()
	f := newFactor(t, nil, clock)
	var chances int // codes of exactly five minutes ago that equal a near one
	for range 3000 {
		clock.now = clock.now.Add(stepLength)
		now := stepOf(clock.now)
		var near []string
		for s := now - nearSteps; s <= now+nearSteps; s++ {
			code, err := codeOf(testSeed, s)
			if err != nil {
				t.Fatal(err)
			}
			near = append(near, code)
		}
		old, err := f.old()
		if err != nil || slices.Contains(near, old) {
			t.Fatalf("old code %s, %v: near are %v", old, err, near)
		}
		if exactly, _ := codeOf(testSeed, now-oldSteps); old != exactly {
			chances++
		}
		if foreign, err := f.foreign(); err != nil || len(foreign) != 6 || slices.Contains(near, foreign) {
			t.Fatalf("foreign code %s, %v: near are %v", foreign, err, near)
		}
	}
	if chances > 10 {
		t.Errorf("%d of 3000 old codes are not those of five minutes ago", chances)
	}
	// A code that equals a near one is passed over.
	now := stepOf(clock.now)
	mine, err := codeOf(testSeed, now)
	if err != nil {
		t.Fatal(err)
	}
	if code, err := f.differing(testSeed, now); err != nil || code == mine {
		t.Errorf("the current code is %s, and one that differs %s, %v", mine, code, err)
	}
	if f.last != 0 {
		t.Errorf("step %d was claimed", f.last)
	}
}
