package ec2

import (
	"context"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// instanceIn finds the instance that an activity is about: only its description names it.
var instanceIn = regexp.MustCompile(`i-[0-9a-f]+`)

// blame says why a roll did not go through. Auto Scaling only says that health checks failed or that it
// took too long; its activities since the beginning tell more, the last of them what it ended with. Of a
// server's end only that of a new one counts.
func (p *Provider) blame(ctx context.Context, r *rolling) (cause verdict.Cause, reason string, err error) {
	reason = because(nil, r.why())
	activities, err := p.activities(ctx, r)
	if err != nil {
		return "", "", err
	}
	launched := map[string]bool{}
	for _, a := range activities {
		if strings.HasPrefix(aws.ToString(a.Description), "Launching") {
			launched[instanceIn.FindString(aws.ToString(a.Description))] = true
		}
	}
	for _, a := range activities {
		if cause, said := told(a, launched); cause != verdict.None {
			return cause, reason + "; " + said, nil
		}
	}
	return verdict.Unexplained, reason, nil
}

// why is what Auto Scaling says of the refresh itself.
func (r *rolling) why() *string {
	if r.there == nil {
		return nil
	}
	if d := r.there.RollbackDetails; d != nil && aws.ToString(d.RollbackReason) != "" {
		return d.RollbackReason
	}
	return r.there.StatusReason
}

// activities are those since the roll began, the newest first.
func (p *Provider) activities(ctx context.Context, r *rolling) ([]scaling.Activity, error) {
	pages := autoscaling.NewDescribeScalingActivitiesPaginator(p.scaling[p.cfg.Region], &autoscaling.DescribeScalingActivitiesInput{
		AutoScalingGroupName: r.group.AutoScalingGroupName,
	})
	var list []scaling.Activity
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range out.Activities {
			if aws.ToTime(a.StartTime).Before(r.began()) {
				return list, nil
			}
			list = append(list, a)
		}
	}
	return list, nil
}

// told is what one activity tells of a failure, if anything.
func told(a scaling.Activity, launched map[string]bool) (verdict.Cause, string) {
	did, why, said := aws.ToString(a.Description), aws.ToString(a.Cause), aws.ToString(a.StatusMessage)
	switch {
	case strings.HasPrefix(did, "Launching") && a.StatusCode == scaling.ScalingActivityStatusCodeFailed:
		if strings.Contains(said, "capacity") {
			return verdict.CloudCapacity, said
		}
		return verdict.CloudRefused, said
	case !strings.HasPrefix(did, "Terminating") || !launched[instanceIn.FindString(did)]:
		return verdict.None, ""
	case strings.Contains(why, "ELB system health check"):
		return verdict.HealthFailed, did + ": " + why
	case strings.Contains(why, "health check"): // EC2's: it was stopped or ended, or its host is ill
		return verdict.CloudLost, did + ": " + why
	}
	return verdict.None, ""
}
