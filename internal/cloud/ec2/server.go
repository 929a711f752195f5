package ec2

import (
	"context"
	"net/netip"
	"slices"
	"strings"
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
	state := stateOf(in.State.Name)
	if down := in.State.Name == types.InstanceStateNameStopping || in.State.Name == types.InstanceStateNameStopped; down && in.StateReason != nil &&
		strings.HasPrefix(aws.ToString(in.StateReason.Code), "Server.") { // by EC2 itself: an interruption, a host that is retired
		state = cloud.Broken
	}
	return cloud.Server{
		ID: cloud.ServerID(aws.ToString(in.InstanceId)), Name: t[tagServer], State: state, Address: address,
		Image: cloud.ImageID(aws.ToString(in.ImageId)), Tags: t.cloud(),
		Type: string(in.InstanceType), Launched: aws.ToTime(in.LaunchTime),
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

// illness is what EC2 says of an instance's hardware.
type illness struct {
	impaired bool      // its host or its volumes have failed
	ends     time.Time // it will be stopped, retired or rebooted then; zero: nothing is scheduled
}

// breaks reports whether a server is better given up: its place has failed, or will before its deadline.
func (i illness) breaks(t cloud.Tags) bool {
	return i.impaired || !i.ends.IsZero() && (t.Deadline.IsZero() || i.ends.Before(t.Deadline))
}

// ills remembers what was found at the last look at the status of each instance.
type ills struct {
	mu sync.Mutex
	of map[string]checkup
}

type checkup struct {
	at time.Time
	illness
}

// illnesses looks at the status of running instances. EC2 takes minutes to notice anything, so what was
// learnt Config.Health ago is still true. That an instance does not answer (its own status, not its
// system's) is no illness: it may well be the image's doing, which is what is being tested.
func (p *Provider) illnesses(ctx context.Context, running []string) (map[string]illness, error) {
	due := p.ills.due(running, p.cfg.Clock.Now(), p.cfg.Health)
	found, err := p.checkUp(ctx, due)
	p.ills.mu.Lock()
	defer p.ills.mu.Unlock()
	for _, id := range due {
		i, ok := found[id]
		if !ok { // it ended just now, or nobody knows: the next look asks again
			delete(p.ills.of, id)
			continue
		}
		p.ills.of[id] = checkup{p.ills.of[id].at, i}
	}
	all := map[string]illness{}
	for _, id := range running {
		all[id] = p.ills.of[id].illness
	}
	return all, err
}

// due picks the instances that have to be looked at, and notes that somebody does. It forgets what is old.
func (i *ills) due(running []string, now time.Time, old time.Duration) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.of == nil {
		i.of = map[string]checkup{}
	}
	for id, c := range i.of {
		if now.Sub(c.at) >= old {
			delete(i.of, id)
		}
	}
	var due []string
	for _, id := range running {
		if _, ok := i.of[id]; !ok {
			i.of[id] = checkup{at: now}
			due = append(due, id)
		}
	}
	return due
}

// mostIDs is how many instances are asked for by their ids in one request.
const mostIDs = 100

func (p *Provider) checkUp(ctx context.Context, ids []string) (map[string]illness, error) {
	found := map[string]illness{}
	for some := range slices.Chunk(ids, mostIDs) {
		out, err := p.api.DescribeInstanceStatus(ctx, &ec2.DescribeInstanceStatusInput{InstanceIds: some})
		if skipAbsent(err) != nil {
			return found, err
		}
		if err != nil {
			continue // one of them ended just now
		}
		for _, s := range out.InstanceStatuses {
			found[*s.InstanceId] = ill(&s)
		}
	}
	return found, nil
}

func ill(s *types.InstanceStatus) illness {
	var i illness
	i.impaired = s.SystemStatus != nil && s.SystemStatus.Status == types.SummaryStatusImpaired ||
		s.AttachedEbsStatus != nil && s.AttachedEbsStatus.Status == types.SummaryStatusImpaired
	for _, e := range s.Events {
		// EC2 says so of an event that is over.
		if d := aws.ToString(e.Description); strings.HasPrefix(d, "[Completed]") || strings.HasPrefix(d, "[Canceled]") {
			continue
		}
		if at := aws.ToTime(e.NotBefore); i.ends.IsZero() || at.Before(i.ends) {
			i.ends = at
		}
	}
	return i
}
