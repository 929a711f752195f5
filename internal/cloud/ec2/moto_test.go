package ec2_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
)

// Where `make moto` installs what moto/requirements.txt names, with a copy of that file once it is done.
const motoDir = "../../../bin/moto"

// Regions that moto knows.
const (
	motoRegion = "eu-central-1"
	motoOther  = "us-east-1"
)

// TestMoto asks somebody who has not read our code. The laboratory was written from the same documentation
// as the provider, by the same people, who may have misread it twice.
func TestMoto(t *testing.T) {
	if testing.Short() {
		t.Skip("needs what `make moto` installs: not with -short")
	}
	endpoint := startMoto(t)
	t.Run("opinions", func(t *testing.T) {
		reset(t, endpoint)
		testOpinions(t, newWorld(t, endpoint, http.DefaultTransport, motoRegion, motoOther))
	})
	t.Run("contract", func(t *testing.T) {
		reset(t, endpoint)
		testContract(t, endpoint)
	})
}

// motoMain serves until its input ends: so it also ends when the test is killed.
const motoMain = `
import os, sys, threading
from moto.server import main
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
main(["-H", "127.0.0.1", "-p", "0"])
`

var listening = regexp.MustCompile(`Running on (http://127\.0\.0\.1:[0-9]+)`)

// startMoto gives the endpoint of a moto of the test's own. What it says is the test's output.
func startMoto(t *testing.T) string {
	t.Helper()
	want, err := os.ReadFile("moto/requirements.txt")
	must(t, err)
	got, err := os.ReadFile(filepath.Join(motoDir, "requirements.txt"))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatal("moto is not installed, or not as moto/requirements.txt says: run `make moto`")
	}
	// Its own list of images is long and old: it gets ours instead.
	images, err := json.Marshal([]map[string]any{{
		"ami_id": "ami-0a0debian12amd640", "name": "debian-12-amd64-1", "owner_id": seedOwner, "public": true, "architecture": "x86_64", "virtualization_type": "hvm",
		"root_device_type": "ebs", "root_device_name": "/dev/xvda", "creation_date": "2026-11-01T00:00:00.000Z",
	}})
	must(t, err)
	list := filepath.Join(t.TempDir(), "images.json")
	must(t, os.WriteFile(list, images, 0o600))

	cmd := exec.Command(filepath.Join(motoDir, "bin/python"), "-c", motoMain)
	cmd.Env = []string{"MOTO_AMIS_PATH=" + list, "PYTHONUNBUFFERED=1", "NO_COLOR=1"}
	input, err := cmd.StdinPipe()
	must(t, err)
	output, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	endpoint := make(chan string, 1)
	var read sync.WaitGroup
	read.Go(func() {
		defer close(endpoint)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if at := listening.FindStringSubmatch(lines.Text()); at != nil {
				endpoint <- at[1]
			}
			_, _ = t.Output().Write(append(lines.Bytes(), '\n')) // moto's errors: for whoever reads a failure
		}
		_, _ = io.Copy(io.Discard, output) // after a line that is too long: nobody else empties the pipe
	})
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		_ = input.Close()
		read.Wait()
		must(t, cmd.Wait())
	})
	select {
	case at, ok := <-endpoint:
		if !ok {
			t.Fatal("moto did not start")
		}
		return at
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		t.Fatal("moto did not say where it listens")
	}
	return ""
}

// reset makes moto forget everything.
func reset(t *testing.T, endpoint string) {
	t.Helper()
	answer, err := http.Post(endpoint+"/moto-api/reset", "", nil)
	must(t, err)
	must(t, answer.Body.Close())
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("reset: %s", answer.Status)
	}
}

// testContract tells what moto can of the contract, and makes up for what moto lacks where the story would end.
func testContract(t *testing.T, endpoint string) {
	plain := newWorld(t, endpoint, http.DefaultTransport, motoRegion, motoOther)
	b := &bridge{ended: map[string]bool{}, attached: map[string]string{}, used: map[string]bool{}}
	cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
		cfg := ec2.Config{
			Region: motoRegion, Regions: []string{motoOther}, Role: "arn:aws:iam::123456789012:role/hallmark", Endpoint: endpoint, HTTP: &http.Client{Transport: b},
			Credentials: credentials.NewStaticCredentialsProvider("AKIDLAB", "secret", ""),
			Reach:       []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")}, Types: []string{"t3.small", "m5.large"},
			Poll: 5 * time.Millisecond, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		}
		for _, s := range plain.subnets {
			cfg.Subnets = append(cfg.Subnets, *s.SubnetId)
		}
		p, err := ec2.New(t.Context(), cfg)
		must(t, err)
		base, err := p.ResolveBase(t.Context(), cloud.BaseSpec{Name: baseName})
		must(t, err)
		return cloudtest.Fixture{
			Provider: p, Owner: "contract", Base: base, Patience: 10 * time.Second, Pause: func(time.Duration) { time.Sleep(5 * time.Millisecond) },
			BaseSpec: cloud.BaseSpec{Name: baseName, Digest: string(base.ID)},
			Family:   func(prefix string) string { return "self/" + prefix + "*" },
			Cannot: map[string]string{
				"screen":  "moto has no GetConsoleScreenshot",
				"publish": "moto has no EnableImageDeregistrationProtection, and publishing begins with it",
				"revoke":  "what is revoked was published first",
			},
		}
	})
	for action, across := range bridges {
		if !slices.ContainsFunc(opinions, func(o opinion) bool { return o.says == across.lacks && o.moto != "" }) {
			t.Errorf("moto is not listed to lack what the bridge for %s makes up for: take the bridge away", action)
		}
		if !b.used[action] {
			t.Errorf("nothing crossed the bridge for %s: take it away", action)
		}
	}
}

// bridge stands between the provider and moto.
type bridge struct {
	mu       sync.Mutex
	ended    map[string]bool   // instances
	attached map[string]string // instance by volume
	used     map[string]bool   // actions
}

// span changes a request on its way to moto, and moto's answer.
type span struct {
	lacks  string // what it makes up for: the opinion's words
	ask    func(*bridge, url.Values)
	answer func(*bridge, []byte) []byte
}

// What several spans make up for.
const (
	letsGo  = "lets go of an interface that is not to be deleted with the instance"
	anyOnes = "takes a volume from whichever instance has it"
)

var attachment = regexp.MustCompile(`(?s)<attachment>.*?</attachment>`)

var bridges = map[string]span{
	"RunInstances": {lacks: "takes the size of a root volume from the image", ask: func(_ *bridge, form url.Values) {
		form.Set("BlockDeviceMapping.1.Ebs.VolumeSize", "20")
	}},
	"AttachVolume": {lacks: anyOnes, ask: func(b *bridge, form url.Values) {
		b.attached[form.Get("VolumeId")] = form.Get("InstanceId")
	}},
	"DetachVolume": {lacks: anyOnes, ask: func(b *bridge, form url.Values) {
		form.Set("InstanceId", b.attached[form.Get("VolumeId")])
	}},
	"CreateImage": {lacks: "tags the image and its snapshots", ask: func(_ *bridge, form url.Values) {
		for key := range form {
			if strings.HasPrefix(key, "TagSpecification.2.") {
				form.Del(key)
			}
		}
	}},
	"DescribeImages": {lacks: "makes an image whose root is an EBS volume", answer: func(_ *bridge, body []byte) []byte {
		return bytes.ReplaceAll(body, []byte("<rootDeviceType>standard<"), []byte("<rootDeviceType>ebs<"))
	}},
	"TerminateInstances": {lacks: letsGo, ask: func(b *bridge, form url.Values) {
		b.ended[form.Get("InstanceId.1")] = true
	}},
	"DescribeNetworkInterfaces": {
		lacks: letsGo,
		ask: func(b *bridge, form url.Values) {
			if form.Get("Filter.1.Name") == "attachment.instance-id" && b.ended[form.Get("Filter.1.Value.1")] {
				form.Set("Filter.1.Value.1", "none")
			}
		},
		answer: func(b *bridge, body []byte) []byte {
			return attachment.ReplaceAllFunc(body, func(one []byte) []byte {
				for id := range b.ended {
					if bytes.Contains(one, []byte(id)) {
						return nil
					}
				}
				return one
			})
		},
	},
}

func (b *bridge) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil || req.Header.Get("X-Amz-Target") != "" { // SSM
		return http.DefaultTransport.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	action := form.Get("Action")
	across := bridges[action]
	if across.ask != nil {
		b.mu.Lock()
		b.used[action] = true
		across.ask(b, form)
		b.mu.Unlock()
	}
	text := form.Encode()
	req = req.Clone(req.Context())
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	answer, err := http.DefaultTransport.RoundTrip(req)
	if err != nil || across.answer == nil {
		return answer, err
	}
	body, err = io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.used[action] = true
	body = across.answer(b, body)
	b.mu.Unlock()
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return answer, nil
}
