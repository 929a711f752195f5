package ec2_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	elasticloadbalancing "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

const (
	patience = 5 * time.Minute
	delay    = 5 * time.Minute // a target group's own
	interval = 30 * time.Second
)

func (b *bench) balancing() *elasticloadbalancing.Client {
	return elasticloadbalancing.New(elasticloadbalancing.Options{
		Region: region, BaseEndpoint: aws.String("http://lab.invalid"), HTTPClient: &http.Client{Transport: b.wire}, Credentials: b.cfg.Credentials,
	})
}

func (b *bench) vpc() *string {
	b.Helper()
	out, err := b.api.DescribeVpcs(b.Context(), &sdk.DescribeVpcsInput{})
	must(b, err)
	return out.Vpcs[0].VpcId
}

// pool makes a target group of somebody's; "": without an owner's tag.
func (b *bench) pool(name, owner string, kind elb.TargetTypeEnum) string {
	b.Helper()
	in := &elasticloadbalancing.CreateTargetGroupInput{
		Name: &name, Protocol: elb.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: b.vpc(), TargetType: kind,
		HealthCheckIntervalSeconds: aws.Int32(int32(interval.Seconds())),
	}
	if owner != "" {
		in.Tags = []elb.Tag{{Key: aws.String("hallmark:owner"), Value: &owner}}
	}
	out, err := b.balancing().CreateTargetGroup(b.Context(), in)
	must(b, err)
	return *out.TargetGroups[0].TargetGroupArn
}

// server is a running server of a network of its own.
func (b *bench) server(name string) cloud.Server {
	b.Helper()
	s, err := b.p.Launch(b.Context(), b.spec(b.network(name), name))
	must(b, err)
	return b.await(s.ID, cloud.Running)
}

// states are those of a target group's targets.
func (b *bench) states(arn string) map[string]elb.TargetHealthStateEnum {
	b.Helper()
	out, err := b.balancing().DescribeTargetHealth(b.Context(), &elasticloadbalancing.DescribeTargetHealthInput{TargetGroupArn: &arn})
	must(b, err)
	states := map[string]elb.TargetHealthStateEnum{}
	for _, d := range out.TargetHealthDescriptions {
		states[*d.Target.Id] = d.TargetHealth.State
	}
	return states
}

// took runs something and tells how long that took, in the bubble's time.
func took(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

func TestLeaveAndJoin(t *testing.T) {
	for _, kind := range []elb.TargetTypeEnum{elb.TargetTypeEnumInstance, elb.TargetTypeEnumIp} {
		t.Run(string(kind), func(t *testing.T) {
			inBubble(t, nil, func(b *bench) {
				s, arn := b.server("web-1"), b.pool("web", "test", kind)
				target := string(s.ID)
				if kind == elb.TargetTypeEnumIp {
					target = s.Address.String()
				}
				must(b, b.p.Leave(b.Context(), "web", s.ID)) // it never was in it
				for range 2 {
					if d := took(func() { must(b, b.p.Join(b.Context(), "web", s.ID, patience)) }); d < interval {
						b.Errorf("it was healthy after %s, before the first check", d)
					}
					if state := b.states(arn)[target]; state != elb.TargetHealthStateEnumHealthy {
						b.Errorf("it has joined and is %q", state)
					}
					must(b, b.p.Join(b.Context(), arn, s.ID, patience))
					if d := took(func() { must(b, b.p.Leave(b.Context(), "web", s.ID)) }); d < delay {
						b.Errorf("it had left after %s, before it was drained", d)
					}
					if state, there := b.states(arn)[target]; there {
						b.Errorf("it has left and is %q", state)
					}
					must(b, b.p.Leave(b.Context(), "web", s.ID))
				}
				if in, out := b.wire.count("elasticloadbalancing:RegisterTargets"), b.wire.count("elasticloadbalancing:DeregisterTargets"); in != 2 || out != 2 {
					b.Errorf("registered %d times, deregistered %d times, want 2 and 2", in, out)
				}
			})
		})
	}
}

// Killed after the order, a new process waits for what was ordered, and orders nothing.
func TestKilledWhileLeavingAndJoining(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		s, _ := b.server("web-1"), b.pool("web", "test", elb.TargetTypeEnumInstance)
		next, err := ec2.New(b.Context(), b.cfg)
		must(b, err)
		for action, call := range map[string]func(context.Context, *ec2.Provider) error{
			"Register":   func(ctx context.Context, p *ec2.Provider) error { return p.Join(ctx, "web", s.ID, patience) },
			"Deregister": func(ctx context.Context, p *ec2.Provider) error { return p.Leave(ctx, "web", s.ID) },
		} {
			if action == "Deregister" {
				must(b, next.Join(b.Context(), "web", s.ID, patience))
			}
			b.wire.forget()
			ctx, kill := context.WithCancel(b.Context())
			b.killAt(1, kill)
			if err := call(ctx, b.p); err == nil {
				b.Error("it was not killed")
			}
			b.killAt(-1, nil)
			must(b, call(b.Context(), next))
			if got := b.wire.count("elasticloadbalancing:" + action + "Targets"); got != 1 {
				b.Errorf("%s: ordered %d times", action, got)
			}
			must(b, next.Leave(b.Context(), "web", s.ID))
		}
	})
}

func TestJoinWhileItDrains(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		s, arn := b.server("web-1"), b.pool("web", "test", elb.TargetTypeEnumInstance)
		must(b, b.p.Join(b.Context(), "web", s.ID, patience))
		_, err := b.balancing().DeregisterTargets(b.Context(), &elasticloadbalancing.DeregisterTargetsInput{TargetGroupArn: &arn, Targets: []elb.TargetDescription{{Id: aws.String(string(s.ID))}}})
		must(b, err)
		if state := b.states(arn)[string(s.ID)]; state != elb.TargetHealthStateEnumDraining {
			b.Errorf("it is %q", state)
		}
		must(b, b.p.Join(b.Context(), "web", s.ID, patience))
	})
}

func TestJoinUnhealthy(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		s, arn := b.server("web-1"), b.pool("web", "test", elb.TargetTypeEnumInstance)
		b.script(ec2lab.Fault{Kind: ec2lab.Unhealthy, Instance: string(s.ID), For: 20 * time.Minute})
		err := b.p.Join(b.Context(), "web", s.ID, patience)
		if verdict.CauseOf(err) != verdict.HealthFailed || cloud.CodeOf(err) != "" {
			b.Errorf("cause %q, code %q: %v", verdict.CauseOf(err), cloud.CodeOf(err), err)
		}
		for _, want := range []string{"Target.ResponseCodeMismatch", "[503]", "[health.failed]", "web"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				b.Errorf("the error does not say %q: %v", want, err)
			}
		}
		if state := b.states(arn)[string(s.ID)]; state != elb.TargetHealthStateEnumUnhealthy {
			b.Errorf("it was taken out: %q", state)
		}
		must(b, b.p.Join(b.Context(), "web", s.ID, 30*time.Minute)) // it recovers meanwhile
		b.script(ec2lab.Fault{Kind: ec2lab.Unhealthy, Instance: string(s.ID), Code: "Elb.InternalError"})
		err = b.p.Join(b.Context(), "web", s.ID, patience)
		code(b, err, cloud.CodeDown)
	})
}

// Somebody takes the server out again while it does not answer yet: that is not the server's fault.
func TestJoinTakenOut(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		s, arn := b.server("web-1"), b.pool("web", "test", elb.TargetTypeEnumInstance)
		b.script(ec2lab.Fault{Kind: ec2lab.Unhealthy, Instance: string(s.ID), For: 20 * time.Minute})
		takeOut := func() {
			_, err := b.balancing().DeregisterTargets(b.Context(), &elasticloadbalancing.DeregisterTargetsInput{
				TargetGroupArn: &arn, Targets: []elb.TargetDescription{{Id: aws.String(string(s.ID))}},
			})
			must(b, err)
		}
		time.AfterFunc(time.Minute, takeOut) // the bubble's
		time.AfterFunc(3*time.Minute, takeOut)
		if err := b.p.Join(b.Context(), "web", s.ID, patience); err == nil || verdict.CauseOf(err) == verdict.HealthFailed {
			b.Errorf("cause %q: %v", verdict.CauseOf(err), err)
		}
	})
}

func TestWhatCannotJoin(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		s, arn := b.server("web-1"), b.pool("web", "test", elb.TargetTypeEnumInstance)
		b.pool("theirs", "them", elb.TargetTypeEnumInstance)
		b.pool("nobodys", "", elb.TargetTypeEnumInstance)
		for _, c := range []struct {
			pool string
			want cloud.Code
		}{{"theirs", cloud.CodeConflict}, {"nobodys", cloud.CodeConflict}, {"missing", cloud.CodeNotFound}} {
			code(b, b.p.Join(b.Context(), c.pool, s.ID, patience), c.want)
			code(b, b.p.Leave(b.Context(), c.pool, s.ID), c.want)
		}
		_, err := b.balancing().RegisterTargets(b.Context(), &elasticloadbalancing.RegisterTargetsInput{
			TargetGroupArn: &arn, Targets: []elb.TargetDescription{{Id: aws.String(string(s.ID)), Port: aws.Int32(8080)}},
		})
		must(b, err)
		b.wire.forget()
		code(b, b.p.Leave(b.Context(), "web", s.ID), cloud.CodeRefused) // its port would be lost
		_, err = b.balancing().DeregisterTargets(b.Context(), &elasticloadbalancing.DeregisterTargetsInput{
			TargetGroupArn: &arn, Targets: []elb.TargetDescription{{Id: aws.String(string(s.ID)), Port: aws.Int32(8080)}},
		})
		must(b, err)
		time.Sleep(delay) // the bubble's
		must(b, b.p.Join(b.Context(), "web", s.ID, patience))
		must(b, b.p.Stop(b.Context(), s.ID, true))
		code(b, b.p.Join(b.Context(), "web", s.ID, patience), cloud.CodeRefused)
		must(b, b.p.Destroy(b.Context(), s.ID))
		code(b, b.p.Join(b.Context(), "web", s.ID, patience), cloud.CodeNotFound)
		must(b, b.p.Leave(b.Context(), "web", s.ID)) // it has left
		if got := b.wire.count("elasticloadbalancing:DeregisterTargets"); got != 1 {
			b.Errorf("deregistered %d times", got-1)
		}
	})
}

func TestBalancerThrottled(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		s, _ := b.server("web-1"), b.pool("web", "test", elb.TargetTypeEnumInstance)
		b.script(ec2lab.Fault{Kind: ec2lab.Throttle, Action: "RegisterTargets", Times: 3})
		must(b, b.p.Join(b.Context(), "web", s.ID, patience))
		b.script(ec2lab.Fault{Kind: ec2lab.Throttle, Action: "DescribeTargetHealth", Times: 100})
		code(b, b.p.Leave(b.Context(), "web", s.ID), cloud.CodeThrottled)
		b.script(ec2lab.Fault{Kind: ec2lab.Refuse, Action: "DescribeTargetGroups", Code: "AccessDenied", Message: "no"})
		err := b.p.Leave(b.Context(), "web", s.ID)
		code(b, err, cloud.CodeRefused)
		if err == nil || !strings.Contains(err.Error(), "elasticloadbalancing:DescribeTargetGroups") {
			b.Errorf("what is not allowed is not named: %v", err)
		}
	})
}
