package ec2

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// living are the states of an instance that is not gone.
var living = has("instance-state-name", "pending", "running", "stopping", "stopped")

// Servers asks once for all, and every Config.Health for the status of those that run.
func (p *Provider) Servers(ctx context.Context, filter cloud.Filter) ([]cloud.Server, error) {
	const call = "list servers"
	list, err := p.instances(ctx, append(selected(filter), has("tag-key", tagServer), living))
	if err != nil {
		return nil, fail(call, err)
	}
	servers := []cloud.Server{}
	var running []string
	for i := range list {
		servers = append(servers, p.server(&list[i]))
		if list[i].State.Name == types.InstanceStateNameRunning {
			running = append(running, *list[i].InstanceId)
		}
	}
	ill, err := p.illnesses(ctx, running)
	if err != nil {
		return nil, fail(call, err)
	}
	for i := range servers {
		if s := &servers[i]; s.State == cloud.Running && ill[string(s.ID)].breaks(s.Tags) {
			s.State = cloud.Broken
		}
	}
	return servers, nil
}

func (p *Provider) server(in *types.Instance) cloud.Server {
	t := read(in.Tags)
	address, _ := netip.ParseAddr(aws.ToString(in.PrivateIpAddress)) // zero of one that is going
	return cloud.Server{
		ID: cloud.ServerID(aws.ToString(in.InstanceId)), Name: t[tagServer], State: stateOf(in.State.Name), Address: address,
		Image: cloud.ImageID(aws.ToString(in.ImageId)), Tags: t.cloud(),
	}
}

func stateOf(s types.InstanceStateName) cloud.State {
	switch s {
	case types.InstanceStateNamePending:
		return cloud.Pending
	case types.InstanceStateNameRunning, types.InstanceStateNameStopping:
		return cloud.Running
	case types.InstanceStateNameStopped:
		return cloud.Stopped
	}
	return cloud.Broken
}

// find gives an instance of ours; CodeNotFound, with EC2's reason, if it has ended or is ending.
func (p *Provider) find(ctx context.Context, id cloud.ServerID) (*types.Instance, error) {
	call := "find server " + string(id)
	out, err := p.api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{string(id)}})
	if err != nil {
		return nil, fail(call, err)
	}
	if len(out.Reservations) == 0 || len(out.Reservations[0].Instances) == 0 {
		return nil, lost(call, "there is no such instance")
	}
	in := &out.Reservations[0].Instances[0]
	if err := ours(call, read(in.Tags), ""); err != nil {
		return nil, err
	}
	if s := in.State.Name; s == types.InstanceStateNameShuttingDown || s == types.InstanceStateNameTerminated {
		why := &types.StateReason{Message: in.StateTransitionReason}
		if in.StateReason != nil {
			why = in.StateReason
		}
		return in, lost(call, "it is %s: %s", s, because(why.Code, why.Message))
	}
	return in, nil
}

// ills remembers what was found at the last look at the status of instances.
type ills struct {
	mu     sync.Mutex
	looked map[string]time.Time
	of     map[string]illness
}

// illness is what EC2 says of an instance's hardware.
type illness struct {
	impaired bool      // its host or its volumes have failed
	ends     time.Time // it will be stopped, retired or rebooted then; zero: nothing is scheduled
}

// breaks reports whether a server is better given up: its place has failed, or will before its deadline.
func (i illness) breaks(t cloud.Tags) bool {
	return i.impaired || !i.ends.IsZero() && (t.Deadline.IsZero() || i.ends.Before(t.Deadline))
}

// mostIDs is how many instances are asked for by their ids in one request.
const mostIDs = 100

// illnesses looks at the status of running instances. EC2 takes minutes to notice anything, so what was
// learnt Config.Health ago is still true. That an instance does not answer (its own status, not its
// system's) is no illness: it may well be the image's doing, which is what is being tested.
func (p *Provider) illnesses(ctx context.Context, running []string) (map[string]illness, error) {
	p.ills.mu.Lock()
	defer p.ills.mu.Unlock()
	now := p.cfg.Clock.Now()
	of, looked := map[string]illness{}, map[string]time.Time{}
	var due []string
	for _, id := range running {
		if at, ok := p.ills.looked[id]; ok && now.Sub(at) < p.cfg.Health {
			of[id], looked[id] = p.ills.of[id], at
			continue
		}
		due = append(due, id)
		looked[id] = now
	}
	for len(due) > 0 {
		some := due[:min(len(due), mostIDs)]
		due = due[len(some):]
		out, err := p.api.DescribeInstanceStatus(ctx, &ec2.DescribeInstanceStatusInput{InstanceIds: some})
		if absent(err) { // ended just now; the next look will not ask for it
			for _, id := range some {
				delete(looked, id)
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, s := range out.InstanceStatuses {
			of[*s.InstanceId] = ill(&s)
		}
	}
	p.ills.of, p.ills.looked = of, looked
	return of, nil
}

func ill(s *types.InstanceStatus) illness {
	var i illness
	i.impaired = s.SystemStatus != nil && s.SystemStatus.Status == types.SummaryStatusImpaired ||
		s.AttachedEbsStatus != nil && s.AttachedEbsStatus.Status == types.SummaryStatusImpaired
	for _, e := range s.Events {
		// EC2 says so of an event that is over.
		if d := aws.ToString(e.Description); len(d) >= 11 && (d[:11] == "[Completed]" || d[:10] == "[Canceled]") {
			continue
		}
		if at := aws.ToTime(e.NotBefore); i.ends.IsZero() || at.Before(i.ends) {
			i.ends = at
		}
	}
	return i
}
