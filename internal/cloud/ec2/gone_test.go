package ec2_test

import (
	"net/http"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Somebody else is faster, between the provider's look at a thing and its removal.
func TestWhatIsGoneWhenItIsRemoved(t *testing.T) {
	for action, test := range map[string]struct {
		make   func(*bench) cloud.Resource
		faster func(*bench, request) error
	}{
		"ec2:DeleteVolume": {
			func(b *bench) cloud.Resource {
				v, err := b.p.CreateVolume(b.Context(), cloud.VolumeSpec{Name: "web-1-data", Network: b.network("web-1").ID, SizeMiB: 64, Tags: start})
				must(b, err)
				return cloud.Resource{Kind: cloud.KindVolume, ID: string(v.ID)}
			},
			func(b *bench, r request) error {
				id := r.form.Get("VolumeId")
				_, err := b.api.DeleteVolume(b.Context(), &sdk.DeleteVolumeInput{VolumeId: &id})
				return err
			},
		},
		"ec2:DeleteNetworkInterface": {
			func(b *bench) cloud.Resource {
				return cloud.Resource{Kind: cloud.KindNetwork, ID: string(b.network("web-1").ID)}
			},
			func(b *bench, r request) error {
				id := r.form.Get("NetworkInterfaceId")
				_, err := b.api.DeleteNetworkInterface(b.Context(), &sdk.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id})
				return err
			},
		},
		"ec2:DeleteSecurityGroup": {
			func(b *bench) cloud.Resource {
				return cloud.Resource{Kind: cloud.KindNetwork, ID: string(b.network().ID)}
			},
			func(b *bench, r request) error {
				id := r.form.Get("GroupId")
				_, err := b.api.DeleteSecurityGroup(b.Context(), &sdk.DeleteSecurityGroupInput{GroupId: &id})
				return err
			},
		},
		"ec2:DeregisterImage": {
			func(b *bench) cloud.Resource {
				return cloud.Resource{Kind: cloud.KindImage, ID: string(b.captured().ID)}
			},
			func(b *bench, r request) error {
				id, all := r.form.Get("ImageId"), true
				_, err := b.api.DeregisterImage(b.Context(), &sdk.DeregisterImageInput{ImageId: &id, DeleteAssociatedSnapshots: &all})
				return err
			},
		},
	} {
		t.Run(action, func(t *testing.T) {
			inBubble(t, nil, func(b *bench) {
				thing := test.make(b)
				done := false
				b.wire.before = func(r request) (*http.Response, error) {
					if r.action != action || done {
						return nil, nil
					}
					done = true
					err := test.faster(b, r)
					rest()
					return nil, err
				}
				must(b, b.p.Delete(b.Context(), thing))
				if !done {
					b.Errorf("%s was not called", action)
				}
			})
		})
	}
}

func TestAParameterThatIsGoneWhenItIsDeleted(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		image := b.captured().ID
		must(b, b.p.Publish(b.Context(), image, []string{"production"}))
		must(b, b.p.Point(b.Context(), "production", "web", image))
		done := false
		b.wire.before = func(r request) (*http.Response, error) {
			if r.action == "ssm:DeleteParameter" && !done {
				done = true
				b.deleteParameter(region, "/hallmark/production/web")
			}
			return nil, nil
		}
		must(b, b.p.Point(b.Context(), "production", "web", ""))
		if !done {
			b.Error("nothing was deleted")
		}
		must(b, b.p.Publish(b.Context(), image, nil)) // or it could not be removed
	})
}
