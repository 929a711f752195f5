package ec2_test

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// parameters checks what a role's parameters name in both regions; "": there is none.
func (b *bench) parameters(channel, role, home, there string) {
	b.Helper()
	for where, want := range map[string]string{region: home, elsewhere: there} {
		if got := b.parameter(where, "/hallmark/"+channel+"/"+role); got != want {
			b.Errorf("in %s %s names %q as %s, want %q", where, channel, got, role, want)
		}
	}
}

// store is the parameter store of a region, as somebody else sees it.
func (b *bench) store(where string) *ssm.Client {
	return ssm.New(ssm.Options{
		Region: where, BaseEndpoint: aws.String("http://lab.invalid"), HTTPClient: &http.Client{Transport: b.wire}, Credentials: b.cfg.Credentials,
	})
}

func (b *bench) parameter(where, name string) string {
	b.Helper()
	out, err := b.store(where).GetParameters(b.Context(), &ssm.GetParametersInput{Names: []string{name}})
	must(b, err)
	if len(out.Parameters) == 0 {
		return ""
	}
	return *out.Parameters[0].Value
}

func (b *bench) deleteParameter(where, name string) {
	b.Helper()
	_, err := b.store(where).DeleteParameter(b.Context(), &ssm.DeleteParameterInput{Name: &name})
	must(b, err)
}

func TestPoint(t *testing.T) {
	inBubble(t, shop, func(b *bench) {
		ctx := b.Context()
		first := b.captured()
		code(b, b.p.Point(ctx, "production", "web", first.ID), cloud.CodeRefused)
		code(b, b.p.Point(ctx, "production", "web", "ami-0123456789abcdef0"), cloud.CodeNotFound)
		code(b, b.p.Point(ctx, "production", "web", b.base().ID), cloud.CodeConflict)
		b.publish(b.p, first.ID, []string{"development", "production"})
		for range 2 {
			must(b, b.p.Point(ctx, "production", "web", first.ID))
			must(b, b.p.Point(ctx, "development", "web", first.ID))
		}
		if got := b.wire.count("ssm:PutParameter"); got != 3 {
			b.Errorf("written %d times", got)
		}
		there := *b.copies()[0].ImageId
		b.parameters("production", "web", string(first.ID), there)
		b.parameters("development", "web", string(first.ID), "") // the copy is not this channel's
		_, err := b.p.ResolveBase(ctx, cloud.BaseSpec{Name: "ssm:/hallmark/production/web"})
		code(b, err, cloud.CodeNotFound) // it names a prebuilt image

		second := imageSpec
		second.Name = "test-web-2"
		owned, err := b.p.Servers(ctx, cloud.Filter{Owner: "test"})
		must(b, err)
		next, err := b.p.Capture(ctx, owned[0].ID, second)
		must(b, err)
		b.publish(b.p, next.ID, []string{"production"})
		must(b, b.p.Point(ctx, "production", "web", next.ID))
		code(b, b.p.Publish(ctx, next.ID, nil), cloud.CodeConflict)
		b.publish(b.p, first.ID, []string{"development", "production"})
		must(b, b.p.Point(ctx, "production", "web", first.ID)) // and back
		b.parameters("production", "web", string(first.ID), there)

		pointed := func(want cloud.ImageID) {
			b.Helper()
			if got, err := b.p.Pointed(ctx, "production"); err != nil || got["web"] != want || len(got) > 1 {
				b.Errorf("production names %v, %v, want %s", got, err, want)
			}
		}
		pointed(first.ID)
		b.deleteParameter(elsewhere, "/hallmark/production/web")
		pointed(elsewhere + "/nothing")
		must(b, b.p.Point(ctx, "production", "web", first.ID))
		pointed(first.ID)
		b.deleteParameter(region, "/hallmark/production/web")
		pointed(cloud.ImageID(elsewhere + "/" + there))
		must(b, b.p.Point(ctx, "production", "web", ""))
		pointed("")
		b.parameters("production", "web", "", "")
		must(b, b.p.Point(ctx, "development", "web", ""))
		for _, id := range []cloud.ImageID{first.ID, next.ID} {
			must(b, b.p.Publish(ctx, id, nil))
		}
	})
}
