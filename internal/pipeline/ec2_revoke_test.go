//go:build !race

package pipeline_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// What a run on EC2 promoted asks for tokens and, once its set is revoked, is disabled. The next run goes well, and
// removes it.
func TestRevokedOnEC2(t *testing.T) {
	t.Parallel()
	r := newRegion(t, false)
	d, first := r.pass(pipeline.Request{})
	if first.Verdict != verdict.Passed || d.channel("development").Set != first.Set {
		t.Fatal(d.tree())
	}
	images := func() map[types.ImageState]int {
		t.Helper()
		out, err := r.api.DescribeImages(t.Context(), &sdk.DescribeImagesInput{Owners: []string{"self"}, IncludeDisabled: aws.Bool(true)})
		if err != nil {
			t.Fatal(err)
		}
		states := map[types.ImageState]int{}
		for _, i := range out.Images {
			states[i.State]++
			if i.ImdsSupport != types.ImdsSupportValuesV20 {
				t.Errorf("%s takes requests without a token", *i.Name)
			}
		}
		return states
	}
	made := images()[types.ImageStateAvailable]
	if made == 0 {
		t.Fatal("there are no images")
	}
	if _, err := d.parts.Ledger.RevokeSet(t.Context(), first.Set, "ada", "a hole"); err != nil {
		t.Fatal(err)
	}
	if err := pipeline.Align(t.Context(), d.parts); err != nil {
		t.Fatal(err)
	}
	if now := images(); now[types.ImageStateDisabled] != made || now[types.ImageStateAvailable] != 0 {
		t.Errorf("%d images were made, and now %v", made, now)
	}
	if second := d.await(d.start(pipeline.Request{}).ID); second.Verdict != verdict.Passed {
		t.Fatal(d.tree())
	}
	if now := images(); now[types.ImageStateDisabled] != 0 || now[types.ImageStateAvailable] != made {
		t.Errorf("after the next run: %v", now)
	}
	r.emptied(d)
}
