package ec2_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

func TestRoll(t *testing.T) {
	inFleet(t, func(f *fleet) {
		if owned, err := f.p.Owned(f.Context(), "test"); err != nil || slices.ContainsFunc(owned, func(r cloud.Resource) bool { return r.Kind == cloud.KindServer }) {
			f.Errorf("a reaper would remove %v (%v)", owned, err)
		}
		_, err := f.p.Rolled(f.Context(), f.roll)
		code(f, err, cloud.CodeNotFound)
		must(f, f.p.Unroll(f.Context(), f.roll)) // nothing was begun
		must(f, f.p.Roll(f.Context(), f.roll))
		must(f, f.p.Roll(f.Context(), f.roll))
		other := f.roll
		other.Token = "release-1.2"
		code(f, f.p.Roll(f.Context(), other), cloud.CodeConflict)
		last, least := f.reaches(f.p, cloud.RollDone, cloud.RollGoing)
		if last.Percent != 100 || last.Cause != verdict.None || least < size {
			f.Errorf("%+v, and in between %d servers served", last, least)
		}
		f.is("2", f.to)
		must(f, f.p.Roll(f.Context(), f.roll))
		if n := f.wire.count("autoscaling:StartInstanceRefresh"); n != 2 { // the other was refused
			f.Errorf("%d refreshes were asked for", n)
		}
		other.Token, other.Image = f.roll.Token, f.from
		code(f, f.p.Roll(f.Context(), other), cloud.CodeConflict)
	})
}

// A version that Roll makes is the one before with another image.
func TestRollChangesNothingElse(t *testing.T) {
	inFleet(t, func(f *fleet) {
		must(f, f.p.Roll(f.Context(), f.roll))
		out, err := f.api.DescribeLaunchTemplateVersions(f.Context(), &sdk.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &f.template})
		must(f, err)
		if len(out.LaunchTemplateVersions) != 2 {
			f.Fatalf("%d versions", len(out.LaunchTemplateVersions))
		}
		made, before := out.LaunchTemplateVersions[0].LaunchTemplateData, out.LaunchTemplateVersions[1].LaunchTemplateData
		if *made.ImageId != string(f.to) || *made.UserData != *before.UserData || made.InstanceType != before.InstanceType {
			f.Errorf("%+v was made of %+v", made, before)
		}
		text, err := base64.StdEncoding.DecodeString(*made.UserData)
		if err != nil || bytes.Contains(text, []byte("hallmark-deadline")) {
			f.Errorf("the servers would end themselves: %s (%v)", text, err)
		}
		if made.InstanceInitiatedShutdownBehavior != "" {
			f.Errorf("a shutdown ends the servers: %s", made.InstanceInitiatedShutdownBehavior)
		}
		how := f.wire.all("autoscaling:StartInstanceRefresh")[0].form
		for key, want := range map[string]string{
			"MinHealthyPercentage": "100", "MaxHealthyPercentage": "110", "AutoRollback": "true", "SkipMatching": "false",
			"CheckpointPercentages.member.1": "", "InstanceWarmup": "",
		} {
			if got := how.Get("Preferences." + key); got != want {
				f.Errorf("%s is %q, want %q", key, got, want)
			}
		}
		f.reaches(f.p, cloud.RollDone, cloud.RollGoing)
	})
}

func TestRollOfAnImageThatFails(t *testing.T) {
	inFleet(t, func(f *fleet) {
		f.script(ec2lab.Fault{Kind: ec2lab.Unhealthy, Name: "web-1.1"})
		must(f, f.p.Roll(f.Context(), f.roll))
		last, least := f.reaches(f.p, cloud.RollUndone, cloud.RollGoing, cloud.RollBack) // by itself
		if last.Percent != 0 || last.Cause != verdict.HealthFailed || !strings.Contains(last.Reason, "ELB system health check") || least < size {
			f.Errorf("%+v, and in between %d servers served", last, least)
		}
		f.is("1", f.from)
		f.wire.forget()
		must(f, f.p.Unroll(f.Context(), f.roll))
		must(f, f.p.Roll(f.Context(), f.roll)) // it is what it is: another attempt needs another token
		if n := f.wire.count("autoscaling:StartInstanceRefresh") + f.wire.count("autoscaling:RollbackInstanceRefresh"); n != 0 {
			f.Errorf("%d changes after its end", n)
		}
		_, err := f.api.ModifyLaunchTemplate(f.Context(), &sdk.ModifyLaunchTemplateInput{LaunchTemplateId: &f.template, DefaultVersion: aws.String("2")})
		must(f, err)
		code(f, f.p.DeleteImage(f.Context(), f.from), cloud.CodeConflict) // of neither the latest nor the default version
		f.roll.Token = "again"
		must(f, f.p.Roll(f.Context(), f.roll))
		f.reaches(f.p, cloud.RollUndone, cloud.RollGoing, cloud.RollBack)
		f.is("1", f.from)
	})
}

func TestRollWithoutCapacity(t *testing.T) {
	inFleet(t, func(f *fleet) {
		f.script(ec2lab.Fault{Kind: ec2lab.Capacity, Times: -1})
		must(f, f.p.Roll(f.Context(), f.roll))
		last, least := f.reaches(f.p, cloud.RollUndone, cloud.RollGoing, cloud.RollBack)
		if last.Cause != verdict.CloudCapacity || !last.Cause.Infrastructure() || least < size {
			f.Errorf("%+v, and in between %d servers served", last, least)
		}
		f.is("1", f.from)
	})
}

func TestUnroll(t *testing.T) {
	for name, when := range map[string]func(f *fleet){
		"at once": func(*fleet) {},
		"half way": func(f *fleet) {
			f.until("a third is new", func() bool {
				p, err := f.p.Rolled(f.Context(), f.roll)
				must(f, err)
				return p.Percent > 30
			})
		},
		"after its end": func(f *fleet) { f.reaches(f.p, cloud.RollDone, cloud.RollGoing) },
		"after somebody cancelled it": func(f *fleet) {
			time.Sleep(5 * time.Minute) // the bubble's
			_, err := f.groups.CancelInstanceRefresh(f.Context(), &autoscaling.CancelInstanceRefreshInput{AutoScalingGroupName: aws.String("web")})
			must(f, err)
			last, _ := f.reaches(f.p, cloud.RollStuck, cloud.RollGoing)
			if last.Cause != verdict.Unexplained || !strings.Contains(last.Reason, "Cancelled by user") {
				f.Errorf("%+v", last)
			}
		},
		"just when somebody cancels it": func(f *fleet) {
			time.Sleep(5 * time.Minute) // the bubble's
			_, err := f.groups.CancelInstanceRefresh(f.Context(), &autoscaling.CancelInstanceRefreshInput{AutoScalingGroupName: aws.String("web")})
			must(f, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				must(f, f.p.Roll(f.Context(), f.roll))
				when(f)
				must(f, f.p.Unroll(f.Context(), f.roll))
				must(f, f.p.Unroll(f.Context(), f.roll))
				last, _ := f.reaches(f.p, cloud.RollUndone, cloud.RollBack)
				if last.Percent != 0 {
					f.Errorf("%+v", last)
				}
				f.is("1", f.from)
				must(f, f.p.Unroll(f.Context(), f.roll))
				if n := f.wire.count("autoscaling:StartInstanceRefresh") + f.wire.count("autoscaling:RollbackInstanceRefresh"); n != 2 {
					f.Errorf("%d changes, want one there and one back", n)
				}
			})
		})
	}
}

// A group is led away from a revoked image, and not back to it, by whatever way.
func TestRollFromARevokedImage(t *testing.T) {
	inFleet(t, func(f *fleet) {
		must(f, f.p.Revoke(f.Context(), f.from))
		must(f, f.p.Roll(f.Context(), f.roll))
		if got := f.wire.all("autoscaling:StartInstanceRefresh")[0].form.Get("Preferences.AutoRollback"); got != "false" {
			f.Errorf("Auto Scaling may go back to it: %q", got)
		}
		unroll := func(when string) {
			f.Helper()
			err := f.p.Unroll(f.Context(), f.roll)
			code(f, err, cloud.CodeRefused)
			if err == nil || !strings.Contains(err.Error(), string(f.from)) {
				f.Errorf("%s: the image is not named: %v", when, err)
			}
		}
		unroll("while it goes on")
		last, least := f.reaches(f.p, cloud.RollDone, cloud.RollGoing)
		if last.Percent != 100 || least < size {
			f.Errorf("%+v, and in between %d servers served", last, least)
		}
		unroll("when it is done")
		f.is("2", f.to)
		other := f.roll
		other.Token, other.Image = "another", f.from
		code(f, f.p.Roll(f.Context(), other), cloud.CodeRefused)
	})
}

// Killed after any change, a new process goes on: one version, one refresh, and one way back.
func TestKilledWhileRolling(t *testing.T) {
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprintf("after change %d", n), func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				ctx, kill := context.WithCancel(f.Context())
				f.killAt(n, kill)
				err := f.p.Roll(ctx, f.roll)
				if err == nil {
					err = f.p.Unroll(ctx, f.roll)
				}
				if err == nil {
					f.Error("it was not killed")
				}
				f.killAt(-1, nil)
				next, err := ec2.New(f.Context(), f.cfg)
				must(f, err)
				must(f, next.Roll(f.Context(), f.roll))
				must(f, next.Unroll(f.Context(), f.roll))
				f.reaches(next, cloud.RollUndone, cloud.RollBack)
				f.is("1", f.from)
				for action, want := range map[string]int{"ec2:CreateLaunchTemplateVersion": 1, "autoscaling:StartInstanceRefresh": 1, "autoscaling:RollbackInstanceRefresh": 1} {
					if got := f.wire.count(action); got != want {
						f.Errorf("%s: %d times, want %d", action, got, want)
					}
				}
			})
		})
	}
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func TestGroupsThatAreNotRolled(t *testing.T) {
	template := func(change func(*sdk.CreateLaunchTemplateInput)) func(*fleet) {
		return func(f *fleet) {
			id := f.launchTemplate("other", change)
			f.group("other", func(in *autoscaling.CreateAutoScalingGroupInput) { in.LaunchTemplate.LaunchTemplateId = &id })
		}
	}
	group := func(change func(*autoscaling.CreateAutoScalingGroupInput)) func(*fleet) {
		return func(f *fleet) { f.group("other", change) }
	}
	deadline := "hallmark:deadline"
	for name, c := range map[string]struct {
		make func(*fleet)
		want cloud.Code
		says string
	}{
		"somebody else's": {group(func(in *autoscaling.CreateAutoScalingGroupInput) { in.Tags[0].Value = aws.String("them") }), cloud.CodeConflict, `belongs to "them"`},
		"nobody's":        {group(func(in *autoscaling.CreateAutoScalingGroupInput) { in.Tags = nil }), cloud.CodeConflict, "does not carry"},
		"not there":       {func(*fleet) {}, cloud.CodeNotFound, "no Auto Scaling group"},
		"not watched":     {group(func(in *autoscaling.CreateAutoScalingGroupInput) { in.HealthCheckType = aws.String("EC2") }), cloud.CodeRefused, "health check type ELB"},
		"of the latest version": {group(func(in *autoscaling.CreateAutoScalingGroupInput) { in.LaunchTemplate.Version = aws.String("$Latest") }),
			cloud.CodeRefused, "give it the number"},
		"with a deadline in its tags": {group(func(in *autoscaling.CreateAutoScalingGroupInput) {
			in.Tags = append(in.Tags, scaling.Tag{Key: &deadline, Value: aws.String("2026-12-01T00:00:00Z")})
		}), cloud.CodeRefused, "a deadline"},
		"with somebody else's template": {template(func(in *sdk.CreateLaunchTemplateInput) { in.TagSpecifications[0].Tags = ownedBy("them") }), cloud.CodeConflict, `belongs to "them"`},
		"by a parameter": {template(func(in *sdk.CreateLaunchTemplateInput) {
			in.LaunchTemplateData.ImageId = aws.String("resolve:ssm:/hallmark/production/web")
		}), cloud.CodeRefused, "/hallmark/production/web"},
		"with a deadline's timer": {template(func(in *sdk.CreateLaunchTemplateInput) {
			in.LaunchTemplateData.UserData = aws.String(base64.StdEncoding.EncodeToString([]byte("write_files: [{path: /etc/systemd/system/hallmark-deadline.timer}]")))
		}), cloud.CodeRefused, "hallmark-deadline"},
		"with a deadline's timer, compressed": {template(func(in *sdk.CreateLaunchTemplateInput) {
			in.LaunchTemplateData.UserData = aws.String(zipped("write_files: [{path: /etc/systemd/system/hallmark-deadline.timer}]"))
		}), cloud.CodeRefused, "hallmark-deadline"},
		"with a deadline in its template's tags": {template(func(in *sdk.CreateLaunchTemplateInput) {
			in.LaunchTemplateData.TagSpecifications[0].Tags = append(ownedBy("test"), types.Tag{Key: &deadline, Value: aws.String("2026-12-01T00:00:00Z")})
		}), cloud.CodeRefused, "a deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				c.make(f)
				roll := f.roll
				roll.Group = "other"
				f.wire.forget()
				err := f.p.Roll(f.Context(), roll)
				code(f, err, c.want)
				if err == nil || !strings.Contains(err.Error(), c.says) {
					f.Errorf("the error does not say %q: %v", c.says, err)
				}
				if n := f.wire.count("ec2:CreateLaunchTemplateVersion") + f.wire.count("autoscaling:StartInstanceRefresh"); n != 0 {
					f.Errorf("%d changes were made", n)
				}
				_, err = f.groups.DeleteAutoScalingGroup(f.Context(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: &roll.Group, ForceDelete: aws.Bool(true)})
				if c.want != cloud.CodeNotFound {
					must(f, err)
				}
				_, err = f.api.DeleteLaunchTemplate(f.Context(), &sdk.DeleteLaunchTemplateInput{LaunchTemplateName: &roll.Group})
				_ = err // some cases have none
			})
		})
	}
}
