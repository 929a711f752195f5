package ec2_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

func onSpot(c *ec2.Config) { c.Spot = true }

// onSpotAsRoot may end instances without tags, which docs/ec2.md's policy does not allow.
func onSpotAsRoot(c *ec2.Config) {
	onSpot(c)
	c.Role = ""
}

// spot launches a server that lives for an hour, on spot.
func (b *bench) spot(name string) cloud.Server {
	b.Helper()
	spec := b.spec(b.network(name), name)
	spec.Tags.Deadline = time.Now().Add(time.Hour + time.Millisecond)
	s, err := b.p.Launch(b.Context(), spec)
	must(b, err)
	return b.await(s.ID, cloud.Running)
}

// requests gives the spot requests that are not over, and those that are.
func (b *bench) requests() (open, over []types.SpotInstanceRequest) {
	b.Helper()
	out, err := b.api.DescribeSpotInstanceRequests(b.Context(), &sdk.DescribeSpotInstanceRequestsInput{})
	must(b, err)
	for _, q := range out.SpotInstanceRequests {
		if q.State == types.SpotInstanceStateCancelled || q.State == types.SpotInstanceStateClosed {
			over = append(over, q)
		} else {
			open = append(open, q)
		}
	}
	return open, over
}

// noSpot checks that no request is left that could launch anything, and that none does.
func (b *bench) noSpot() {
	b.Helper()
	time.Sleep(50 * time.Minute) // the bubble's: less than the laboratory remembers instances
	b.empty()
}

func TestSpotIsAskedForToBeStopped(t *testing.T) {
	inBubble(t, onSpot, func(b *bench) {
		s := b.spot("web-1")
		form := b.wire.all("ec2:RunInstances")[0].form
		for key, want := range map[string]string{
			"MarketType": "spot", "SpotOptions.SpotInstanceType": "persistent", "SpotOptions.InstanceInterruptionBehavior": "stop",
			"SpotOptions.ValidUntil": s.Tags.Deadline.UTC().Truncate(time.Second).Format(time.RFC3339),
		} {
			if got := form.Get("InstanceMarketOptions." + key); got != want {
				b.Errorf("%s is %q, want %q", key, got, want)
			}
		}
		if form.Has("InstanceInitiatedShutdownBehavior") {
			b.Error("a persistent request would launch what ended itself again")
		}
		must(b, b.p.Stop(b.Context(), s.ID, true))
		must(b, b.p.Start(b.Context(), s.ID))
		b.await(s.ID, cloud.Running)
		must(b, b.p.Destroy(b.Context(), s.ID))
		must(b, b.p.Destroy(b.Context(), s.ID))
		if _, over := b.requests(); len(over) != 1 {
			b.Errorf("requests that are over: %+v", over)
		}
		must(b, b.p.DeleteNetwork(b.Context(), "env-1"))
		b.noSpot()
	})
}

// A stopped instance goes with its request.
func TestAStoppedSpotServerIsDestroyed(t *testing.T) {
	inBubble(t, onSpot, func(b *bench) {
		s := b.spot("web-1")
		must(b, b.p.Stop(b.Context(), s.ID, true))
		must(b, b.p.Destroy(b.Context(), s.ID))
		must(b, b.p.DeleteNetwork(b.Context(), "env-1"))
		b.noSpot()
	})
}

func TestKilledBetweenCancelAndTerminate(t *testing.T) {
	inBubble(t, onSpot, func(b *bench) {
		s := b.spot("web-1")
		ctx, kill := context.WithCancel(b.Context())
		b.killAt(1, kill)
		if err := b.p.Destroy(ctx, s.ID); err == nil {
			b.Fatal("it was killed, and says that it was not")
		}
		b.killAt(-1, nil)
		if got := b.wire.count("ec2:TerminateInstances"); got != 0 {
			b.Fatalf("terminated %d times before it was killed", got)
		}
		b.await(s.ID, cloud.Running)
		p, err := ec2.New(b.Context(), b.cfg)
		must(b, err)
		must(b, b.end(b.Context(), p))
		b.noSpot()
	})
}

// A server that ends by itself is launched again by its request: without tags, so that only the request
// tells of it.
func TestWhatARequestLaunchesAgain(t *testing.T) {
	for name, end := range map[string]func(*bench, cloud.Server) error{
		"is reaped":                  func(b *bench, _ cloud.Server) error { return b.end(b.Context(), b.p) },
		"goes with the one before":   func(b *bench, s cloud.Server) error { return b.p.Destroy(b.Context(), s.ID) },
		"makes room for the next":    func(b *bench, s cloud.Server) error { return b.launchedAgain(s) },
		"is reaped after a cancel":   func(b *bench, _ cloud.Server) error { return b.cancelledOnly() },
		"is nobody's, then reaped":   func(b *bench, _ cloud.Server) error { return b.spotOff() },
		"goes before it is launched": nil,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, onSpotAsRoot, func(b *bench) {
				s := b.spot("web-1")
				_, err := b.api.TerminateInstances(b.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{string(s.ID)}})
				must(b, err)
				if end == nil {
					time.Sleep(13 * time.Second) // the bubble's: it has just ended
					must(b, b.end(b.Context(), b.p))
					b.noSpot()
					return
				}
				time.Sleep(time.Minute) // the bubble's
				list, err := b.p.Servers(b.Context(), cloud.Filter{Owner: "test"})
				if open, _ := b.requests(); err != nil || len(list) != 0 || len(open) != 1 || aws.ToString(open[0].InstanceId) == "" {
					b.Fatalf("servers %v, %v, requests %+v", list, err, open)
				}
				must(b, end(b, s))
				must(b, b.end(b.Context(), b.p))
				b.noSpot()
			})
		})
	}
}

func (b *bench) launchedAgain(s cloud.Server) error {
	spec := b.spec(b.network("web-1"), "web-1")
	spec.Tags.Deadline = s.Tags.Deadline
	again, err := b.p.Launch(b.Context(), spec)
	if err != nil {
		return err
	}
	if again.ID == s.ID || again.Address != s.Address {
		b.Errorf("launched %+v after %+v", again, s)
	}
	open, _ := b.requests()
	if len(open) != 1 || *open[0].InstanceId != string(again.ID) {
		b.Errorf("requests: %+v", open)
	}
	return nil
}

// cancelledOnly leaves what a process leaves that is killed between cancelling a request and terminating
// what it had launched.
func (b *bench) cancelledOnly() error {
	ctx, kill := context.WithCancel(b.Context())
	b.killAt(1, kill)
	defer b.killAt(-1, nil)
	if err := b.end(ctx, b.p); !errors.Is(err, errKilled) && ctx.Err() == nil {
		return errors.New("it was not killed")
	}
	return nil
}

// spotOff goes on with a configuration that knows nothing of spot.
func (b *bench) spotOff() error {
	b.cfg.Spot = false
	p, err := ec2.New(b.Context(), b.cfg)
	if err != nil {
		return err
	}
	return b.end(b.Context(), p)
}

// An interruption is EC2's doing: the server is broken, not one that has stopped by itself.
func TestSpotInterruption(t *testing.T) {
	inBubble(t, onSpot, func(b *bench) {
		s := b.spot("web-1")
		b.script(ec2lab.Fault{Kind: ec2lab.Spot, Instance: string(s.ID), For: 2 * time.Minute})
		b.await(s.ID, cloud.Broken)
		code(b, b.p.Reboot(b.Context(), s.ID), cloud.CodeRefused)
		err := b.p.Start(b.Context(), s.ID)
		code(b, err, cloud.CodeRefused)
		if err == nil || !strings.Contains(err.Error(), "IncorrectSpotRequestState") {
			b.Errorf("EC2's word is lost: %v", err)
		}
		must(b, b.end(b.Context(), b.p))
		b.noSpot()
	})
}

func TestARequestEndsAtTheDeadline(t *testing.T) {
	inBubble(t, onSpot, func(b *bench) {
		s := b.spot("web-1")
		time.Sleep(61 * time.Minute) // the bubble's
		if open, over := b.requests(); len(open) != 0 || len(over) != 1 {
			b.Errorf("requests: %+v, %+v", open, over)
		}
		b.await(s.ID, cloud.Running) // the reaper's, or its own timer's
		_, err := b.api.TerminateInstances(b.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{string(s.ID)}})
		must(b, err)
		time.Sleep(time.Minute) // the bubble's
		must(b, b.end(b.Context(), b.p))
		b.noSpot()
	})
}

// A launch that comes to nothing opens its request again.
func TestASpotLaunchThatFailsLater(t *testing.T) {
	inBubble(t, onSpotAsRoot, func(b *bench) {
		n := b.network("web-1")
		b.script(ec2lab.Fault{Kind: ec2lab.LaunchFails, Code: "Server.SpotInstanceTermination", Message: "no capacity after all"})
		_, err := b.p.Launch(b.Context(), b.spec(n, "web-1"))
		must(b, err)
		time.Sleep(time.Minute) // the bubble's
		again, err := b.p.Launch(b.Context(), b.spec(n, "web-1"))
		must(b, err)
		b.await(again.ID, cloud.Running)
		must(b, b.end(b.Context(), b.p))
		b.noSpot()
	})
}

// Under the policy an instance that a request launched again is for somebody else to end: Hallmark says
// which, and its request launches no more.
func TestWhatARequestLaunchesAgainIsNamed(t *testing.T) {
	inBubble(t, onSpot, func(b *bench) {
		s := b.spot("web-1")
		_, err := b.api.TerminateInstances(b.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{string(s.ID)}})
		must(b, err)
		time.Sleep(time.Minute) // the bubble's
		open, _ := b.requests()
		again := aws.ToString(open[0].InstanceId)
		err = b.end(b.Context(), b.p)
		code(b, err, cloud.CodeRefused)
		if err == nil || !strings.Contains(err.Error(), again) {
			b.Errorf("it does not say %s: %v", again, err)
		}
		_, err = b.api.TerminateInstances(b.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{again}})
		must(b, err)
		time.Sleep(time.Minute) // the bubble's
		must(b, b.end(b.Context(), b.p))
		b.noSpot()
	})
}

func TestAnothersSpotRequestStays(t *testing.T) {
	inBubble(t, onSpot, func(b *bench) {
		cfg := b.cfg
		cfg.Role = ""
		root, err := ec2.New(b.Context(), cfg)
		must(b, err)
		tags := cloud.Tags{Owner: "other", Environment: "env-other"}
		n, err := root.CreateNetwork(b.Context(), cloud.NetworkSpec{Name: "env-other", Tags: tags, Servers: []string{"web-1"}})
		must(b, err)
		s, err := root.Launch(b.Context(), cloud.ServerSpec{Name: "web-1", Network: n.ID, Image: b.base().ID, Address: n.Addresses["web-1"], Token: "t", Tags: tags})
		must(b, err)
		open, _ := b.requests()
		code(b, b.p.Destroy(b.Context(), cloud.ServerID(*open[0].SpotInstanceRequestId)), cloud.CodeRefused)
		code(b, b.p.Destroy(b.Context(), s.ID), cloud.CodeRefused)
		if still, _ := b.requests(); len(still) != 1 {
			b.Errorf("requests: %+v", still)
		}
		must(b, root.Destroy(b.Context(), s.ID))
		must(b, root.DeleteNetwork(b.Context(), n.ID))
	})
}
