//go:build !race

// AWS' SDK takes minutes to compile once more for the race detector.

package pipeline_test

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// metadata asks the metadata service as any program of an instance may, with a token of its own.
func (r *region) metadata(address, path string) (status int, text string) {
	service := r.lab.Metadata()
	ask := func(method, path, header, value string) *httptest.ResponseRecorder {
		question := httptest.NewRequestWithContext(machines.Away(r.t.Context(), 1), method, path, http.NoBody)
		question.RemoteAddr = address + ":40000"
		question.Header.Set(header, value)
		answer := httptest.NewRecorder()
		service.ServeHTTP(answer, question)
		return answer
	}
	token := ask(http.MethodPut, "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	answer := ask(http.MethodGet, path, "X-aws-ec2-metadata-token", token.Body.String())
	return answer.Code, answer.Body.String()
}

// userData gives the user-data of all instances that run, as their programs read them. None of them finds credentials.
func (r *region) userData(ctx context.Context) map[string]string {
	all := map[string]string{}
	out, err := r.api.DescribeInstances(ctx, &sdk.DescribeInstancesInput{})
	if err != nil {
		r.t.Error(err)
		return nil
	}
	for _, reservation := range out.Reservations {
		for _, in := range reservation.Instances {
			status, text := r.metadata(aws.ToString(in.PrivateIpAddress), "/latest/user-data")
			if status != http.StatusOK {
				continue // it does not run
			}
			if z, err := gzip.NewReader(strings.NewReader(text)); err == nil {
				raw, err := io.ReadAll(z)
				if err != nil {
					r.t.Error(err)
				}
				text = string(raw)
			}
			all[*in.InstanceId] = text
			if status, text := r.metadata(*in.PrivateIpAddress, "/latest/meta-data/iam/security-credentials/"); status != http.StatusNotFound {
				r.t.Errorf("%s finds credentials: %d %s", *in.InstanceId, status, text)
			}
		}
	}
	return all
}

// A run on EC2 passes though no secret is in user-data: Hallmark brings them to servers from a base and from images.
func TestEC2IsToldNoSecrets(t *testing.T) {
	t.Parallel()
	r := newRegion(t, false)
	var mu sync.Mutex
	looked, secrets := map[string]string{}, []string(nil)
	r.onCall(func(ctx context.Context, d *daemon, call cloud.Call) {
		if call.Verb != cloud.VerbReboot {
			return
		}
		now := r.userData(ctx)
		mu.Lock()
		defer mu.Unlock()
		for id, text := range now {
			looked[id] = text
		}
		secrets = append(secrets, d.secrets(ctx)...)
	})
	d, run := r.pass(pipeline.Request{})
	if run.State != ledger.Finished || run.Verdict != verdict.Passed {
		t.Fatal(d.tree())
	}
	mu.Lock()
	defer mu.Unlock()
	told := r.world.Secrets()
	if len(told) < 6 || len(secrets) < 8 || len(looked) < 6 {
		t.Fatalf("%d secrets on servers, %d sealed, %d instances: nothing is proved", len(told), len(secrets), len(looked))
	}
	for id, text := range looked {
		if !strings.HasPrefix(text, "#cloud-config\n") {
			t.Errorf("the user-data of %s are %.40q", id, text)
		}
		for _, secret := range append(told, secrets...) {
			if strings.Contains(text, secret) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(secret))) {
				t.Errorf("the user-data of %s hold a secret", id)
			}
		}
	}
	r.emptied(d)
}
