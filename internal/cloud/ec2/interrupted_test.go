package ec2

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// An EC2 that goes away in the middle of a call is down, as the SDK itself tells it: nothing was refused.
func TestGoesAwayInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"before it answers": "",
		"while it answers":  "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 500\r\n\r\n<RunInstancesResponse><instancesSet>",
		"while it explains": "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 500\r\n\r\n<Response><Errors><Error><Code>",
		"behind a proxy":    "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					panic(err)
				}
				fmt.Fprint(conn, answer)
				_ = conn.Close()
			}))
			defer server.Close()
			if _, err := runOn(t, server.URL); classify(err) != cloud.CodeDown {
				t.Errorf("%v: is %q, want down", err, classify(err))
			}
		})
	}
	t.Run("for good", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		endpoint := "http://" + listener.Addr().String()
		_ = listener.Close()
		if _, err := runOn(t, endpoint); classify(err) != cloud.CodeDown {
			t.Errorf("%v: is %q, want down", err, classify(err))
		}
	})
}

func runOn(t *testing.T, endpoint string) (*api.RunInstancesOutput, error) {
	client := api.New(api.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(endpoint), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
	})
	return client.RunInstances(t.Context(), &api.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
}
