package ec2lab_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
)

// ask asks the metadata service as a machine does.
func (b *bench) ask(from, path, token string) *httptest.ResponseRecorder {
	b.Helper()
	req := httptest.NewRequestWithContext(machines.Away(b.ctx(), 1), http.MethodGet, "http://169.254.169.254"+path, http.NoBody)
	req.RemoteAddr = from + ":40000"
	if token != "" {
		req.Header.Set("X-aws-ec2-metadata-token", token)
	}
	w := httptest.NewRecorder()
	b.lab.Metadata().ServeHTTP(w, req)
	return w
}

func (b *bench) session(from, ttl string) *httptest.ResponseRecorder {
	b.Helper()
	w, _ := b.sessionAway(1, from, ttl)
	return w
}

// sessionAway asks for a token from so many hops away, and says whether there was an answer.
func (b *bench) sessionAway(away int, from, ttl string) (w *httptest.ResponseRecorder, answered bool) {
	b.Helper()
	req := httptest.NewRequestWithContext(machines.Away(b.ctx(), away), http.MethodPut, "http://169.254.169.254/latest/api/token", http.NoBody)
	req.RemoteAddr = from + ":40000"
	if ttl != "" {
		req.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", ttl)
	}
	defer func() {
		switch r := recover(); r {
		case nil, http.ErrAbortHandler:
			answered = r == nil
		default:
			panic(r)
		}
	}()
	w = httptest.NewRecorder()
	b.lab.Metadata().ServeHTTP(w, req)
	return w, true
}

func TestMetadata(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		i := b.launched(func(in *ec2.RunInstancesInput) {
			in.MetadataOptions = &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired, InstanceMetadataTags: types.InstanceMetadataTagsStateEnabled}
			in.UserData = aws.String(base64.StdEncoding.EncodeToString([]byte("#cloud-config\n")))
		})
		from, mac := *i.PrivateIpAddress, *i.NetworkInterfaces[0].MacAddress
		lax := b.launched()
		if got := b.ask(from, "/latest/meta-data/instance-id", ""); got.Code != http.StatusUnauthorized {
			t.Errorf("without a token: %d", got.Code)
		}
		if got := b.ask(*lax.PrivateIpAddress, "/latest/meta-data/instance-id", ""); got.Body.String() != *lax.InstanceId {
			t.Errorf("where tokens are optional: %s", got.Body)
		}
		if got := b.ask("10.92.0.99", "/latest/meta-data/instance-id", ""); got.Code != http.StatusForbidden {
			t.Errorf("a stranger gets %d", got.Code)
		}
		for _, ttl := range []string{"", "0", "21601", "x"} {
			if got := b.session(from, ttl); got.Code != http.StatusBadRequest {
				t.Errorf("a token for %q seconds: %d", ttl, got.Code)
			}
		}
		token := b.session(from, "60").Body.String()
		if got := b.ask(*lax.PrivateIpAddress, "/latest/meta-data/instance-id", token); got.Code != http.StatusUnauthorized {
			t.Errorf("another machine's token: %d", got.Code)
		}
		for path, want := range map[string]string{
			"/latest/meta-data/instance-id":                                      *i.InstanceId,
			"/2021-03-23/meta-data/placement/availability-zone":                  "eu-lab-1a",
			"/latest/meta-data/network/interfaces/macs/":                         mac + "/",
			"/latest/meta-data/network/interfaces/macs/" + mac + "/interface-id": *i.NetworkInterfaces[0].NetworkInterfaceId,
			"/latest/meta-data/tags/instance/Name":                               "web-1",
			"/latest/user-data":                                                  "#cloud-config\n",
			"/latest/":                                                           "dynamic/\nmeta-data/\nuser-data",
		} {
			if got := b.ask(from, path, token).Body.String(); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
		if got := b.ask(from, "/latest/dynamic/instance-identity/document", token).Body.String(); !strings.Contains(got, `"instanceId": "`+*i.InstanceId+`"`) {
			t.Error(got)
		}
		if got := b.ask(from, "/latest/meta-data/public-keys/", token); got.Code != http.StatusNotFound {
			t.Errorf("keys of an instance without: %d", got.Code)
		}
		time.Sleep(time.Minute)
		if got := b.ask(from, "/latest/user-data", token); got.Code != http.StatusUnauthorized {
			t.Errorf("with a token that has expired: %d", got.Code)
		}
	})
}

// A token does not travel further than the instance's hop limit says; what an image asks for counts where the
// request does not say otherwise.
func TestHopLimit(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		image := b.imaged("prebuilt")
		launch := func(o *types.InstanceMetadataOptionsRequest) types.Instance {
			return b.launched(func(in *ec2.RunInstancesInput) { in.ImageId, in.MetadataOptions = &image, o })
		}
		before := launch(nil)
		change := func(value string) error {
			_, err := b.api.ModifyImageAttribute(b.ctx(), &ec2.ModifyImageAttributeInput{ImageId: &image, ImdsSupport: &types.AttributeValue{Value: &value}})
			return err
		}
		refused(t, change("v1.0"), "InvalidParameterValue")
		must(t, change("v2.0"))
		out, err := b.api.DescribeImages(b.ctx(), &ec2.DescribeImagesInput{ImageIds: []string{image}})
		must(t, err)
		if got := out.Images[0].ImdsSupport; got != types.ImdsSupportValuesV20 {
			t.Errorf("the image supports %q", got)
		}
		for what, c := range map[string]struct {
			i          types.Instance
			tokens, ok bool // needs tokens; a token reaches a container
		}{
			"before":               {before, false, false},
			"of the image":         {launch(nil), true, true},
			"one hop":              {launch(&types.InstanceMetadataOptionsRequest{HttpPutResponseHopLimit: aws.Int32(1)}), true, false},
			"against the image":    {launch(&types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateOptional}), false, true},
			"as Hallmark launches": {launch(&types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired, HttpPutResponseHopLimit: aws.Int32(1)}), true, false},
		} {
			from := *c.i.PrivateIpAddress
			if got := b.ask(from, "/latest/meta-data/", "").Code == http.StatusUnauthorized; got != c.tokens {
				t.Errorf("%s: it needs tokens: %v", what, got)
			}
			if w, answered := b.sessionAway(1, from, "60"); !answered || w.Code != http.StatusOK {
				t.Errorf("%s: no token for the machine itself", what)
			}
			if _, answered := b.sessionAway(2, from, "60"); answered != c.ok {
				t.Errorf("%s: a token for a container: %v", what, answered)
			}
			if _, answered := b.sessionAway(3, from, "60"); answered {
				t.Errorf("%s: a token for a container in a container", what)
			}
		}
	})
}

// Only an instance with a profile finds credentials.
func TestCredentialsOfAProfile(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		for profile, want := range map[string]int{"": http.StatusNotFound, "backup": http.StatusOK} {
			i := b.launched(func(in *ec2.RunInstancesInput) {
				if profile != "" {
					in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: &profile}
				}
			})
			for _, path := range []string{"iam/security-credentials/", "iam/security-credentials/backup", "iam/"} {
				if got := b.ask(*i.PrivateIpAddress, "/latest/meta-data/"+path, ""); got.Code != want {
					t.Errorf("profile %q: %s gives %d, want %d", profile, path, got.Code, want)
				}
			}
		}
	})
}
