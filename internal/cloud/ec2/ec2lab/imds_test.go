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
)

// ask asks the metadata service as a machine does.
func (b *bench) ask(from, path, token string) *httptest.ResponseRecorder {
	b.Helper()
	req := httptest.NewRequestWithContext(b.ctx(), http.MethodGet, "http://169.254.169.254"+path, http.NoBody)
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
	req := httptest.NewRequestWithContext(b.ctx(), http.MethodPut, "http://169.254.169.254/latest/api/token", http.NoBody)
	req.RemoteAddr = from + ":40000"
	if ttl != "" {
		req.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", ttl)
	}
	w := httptest.NewRecorder()
	b.lab.Metadata().ServeHTTP(w, req)
	return w
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
