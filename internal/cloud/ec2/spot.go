package ec2

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// A spot instance comes from a persistent request (see onSpot). When it ends by itself, because its launch
// came to nothing or somebody terminated it, its request launches another, and that one has no tags: it is
// known by the tags of the request alone. So a request is ended before its instance, a server of that name is
// launched only when no request is left that could launch it as well, and Owned lists requests
// that have no server of ours.

// stillRuns is EC2's status of a request that was cancelled before its instance has ended.
const stillRuns = "request-canceled-and-instance-running"

// isRequest reports whether a server's identifier is that of a spot request that has no server of ours.
func isRequest(id cloud.ServerID) bool { return strings.HasPrefix(string(id), "sir-") }

// spotRequests lists those that may launch something, or whose instance may still run.
func (p *Provider) spotRequests(ctx context.Context, filters []types.Filter) ([]types.SpotInstanceRequest, error) {
	pages := ec2.NewDescribeSpotInstanceRequestsPaginator(p.api, &ec2.DescribeSpotInstanceRequestsInput{Filters: filters})
	var list []types.SpotInstanceRequest
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, q := range out.SpotInstanceRequests {
			launches := q.State == types.SpotInstanceStateOpen || q.State == types.SpotInstanceStateActive || q.State == types.SpotInstanceStateDisabled
			if launches || q.Status != nil && aws.ToString(q.Status.Code) == stillRuns {
				list = append(list, q)
			}
		}
	}
	return list, nil
}

// without gives the requests that none of the instances came from. An instance of a request that was
// cancelled is looked at: EC2 does not say of the request when it has ended.
func (p *Provider) without(ctx context.Context, requests []types.SpotInstanceRequest, instances []types.Instance) ([]types.SpotInstanceRequest, error) {
	var rest []types.SpotInstanceRequest
	for _, q := range requests {
		if slices.ContainsFunc(instances, func(in types.Instance) bool {
			return aws.ToString(in.SpotInstanceRequestId) == *q.SpotInstanceRequestId
		}) {
			continue
		}
		if q.Status != nil && aws.ToString(q.Status.Code) == stillRuns {
			there, err := p.instances(ctx, []types.Filter{has("instance-id", aws.ToString(q.InstanceId)), living})
			if err != nil {
				return nil, err
			}
			if len(there) == 0 {
				continue
			}
		}
		rest = append(rest, q)
	}
	return rest, nil
}

// endRequest ends a request that may have no server of ours, with whatever it has launched.
func (p *Provider) endRequest(ctx context.Context, call, id string) error {
	q, err := p.spotRequest(ctx, id)
	if q == nil || err != nil {
		return err
	}
	if err := ours(call, read(q.Tags), ""); err != nil {
		return err
	}
	last, err := p.cancelRequest(ctx, id)
	if last == "" || err != nil {
		return err
	}
	return p.terminate(ctx, last)
}

// cancelRequest sees to it that a request launches nothing more, and gives the instance that it has
// launched last; "" if there is none. Whether that carries our tags nobody knows.
func (p *Provider) cancelRequest(ctx context.Context, id string) (string, error) {
	_, err := p.api.CancelSpotInstanceRequests(ctx, &ec2.CancelSpotInstanceRequestsInput{SpotInstanceRequestIds: []string{id}})
	if err != nil {
		return "", skipAbsent(err)
	}
	q, err := p.spotRequest(ctx, id)
	if q == nil || err != nil {
		return "", err
	}
	return aws.ToString(q.InstanceId), nil
}

// spotRequest gives one request; nil if there is none.
func (p *Provider) spotRequest(ctx context.Context, id string) (*types.SpotInstanceRequest, error) {
	out, err := p.api.DescribeSpotInstanceRequests(ctx, &ec2.DescribeSpotInstanceRequestsInput{Filters: []types.Filter{has("spot-instance-request-id", id)}})
	if err != nil || len(out.SpotInstanceRequests) == 0 {
		return nil, err
	}
	return &out.SpotInstanceRequests[0], nil
}

// endOthers ends the requests that could launch a server beside the one that is about to be launched. An
// instance that cannot be seen yet is left alone: it may be the one that an earlier call launched.
func (p *Provider) endOthers(ctx context.Context, call string, spec cloud.ServerSpec) error {
	requests, err := p.spotRequests(ctx, where(tagNetwork, string(spec.Network), tagServer, spec.Name))
	if err != nil {
		return err
	}
	for _, q := range requests {
		if id := aws.ToString(q.InstanceId); id != "" {
			if _, err := p.api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}}); absent(err) {
				continue
			} else if err != nil {
				return err
			}
		}
		p.cfg.Log.Warn("a spot request whose server is gone is ended", "server", spec.Name, "request", *q.SpotInstanceRequestId)
		if err := p.endRequest(ctx, call, *q.SpotInstanceRequestId); err != nil {
			return err
		}
	}
	return nil
}
