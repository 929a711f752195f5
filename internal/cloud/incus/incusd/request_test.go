package incusd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// What each method sends, by the documentation of the REST API. The project is in every query.
func TestRequests(t *testing.T) {
	config := map[string]string{"user.k": "v"}
	for want, do := range map[string]func(context.Context, *Client) error{
		`GET /1.0?project=env-1`: func(ctx context.Context, c *Client) error { _, err := c.Server(ctx); return err },

		`GET /1.0/instances/web-1?project=env-1`:       func(ctx context.Context, c *Client) error { _, err := c.Instance(ctx, "web-1"); return err },
		`GET /1.0/instances/web-1/state?project=env-1`: func(ctx context.Context, c *Client) error { _, err := c.InstanceState(ctx, "web-1"); return err },
		`POST /1.0/instances?project=env-1 {"config":{"user.k":"v"},"devices":{"root":{"type":"disk"}},"name":"web-1","profiles":[],"source":{"fingerprint":"f00d","type":"image"},"start":true,"type":"container"}`: func(ctx context.Context, c *Client) error {
			return c.CreateInstance(ctx, NewInstance{Image: "f00d", Name: "web-1", Config: config, Devices: Devices{"root": {"type": "disk"}}, Start: true})
		},
		`DELETE /1.0/instances/web-1?project=env-1`: func(ctx context.Context, c *Client) error { return c.DeleteInstance(ctx, "web-1") },
		`PUT /1.0/instances/web-1/state?project=env-1 {"action":"stop","force":true,"timeout":-1}`: func(ctx context.Context, c *Client) error {
			return c.ChangeState(ctx, "web-1", StateChange{Action: "stop", Force: true})
		},
		`PUT /1.0/instances/web-1/state?project=env-1 {"action":"stop","force":false,"timeout":90}`: func(ctx context.Context, c *Client) error {
			return c.ChangeState(ctx, "web-1", StateChange{Action: "stop", Timeout: 90 * time.Second})
		},
		`PUT /1.0/instances/web-1/state?project=env-1 {"action":"stop","force":false,"timeout":1}`: func(ctx context.Context, c *Client) error {
			return c.ChangeState(ctx, "web-1", StateChange{Action: "stop", Timeout: time.Millisecond})
		},
		`POST /1.0/instances/web-1/exec?project=env-1 {"command":["kill","-37","1"]}`: func(ctx context.Context, c *Client) error {
			return c.Exec(ctx, "web-1", "kill", "-37", "1")
		},
		`GET /1.0/instances/web-1/snapshots/clean?project=env-1`: func(ctx context.Context, c *Client) error { return c.FindInstanceSnapshot(ctx, "web-1", "clean") },
		`POST /1.0/instances/web-1/snapshots?project=env-1 {"name":"clean"}`: func(ctx context.Context, c *Client) error {
			return c.CreateInstanceSnapshot(ctx, "web-1", "clean")
		},
		`DELETE /1.0/instances/web-1/snapshots/clean?project=env-1`:     func(ctx context.Context, c *Client) error { return c.DeleteInstanceSnapshot(ctx, "web-1", "clean") },
		`PUT /1.0/instances/web-1?project=env-1 {"restore":"clean"}`:    func(ctx context.Context, c *Client) error { return c.RestoreInstance(ctx, "web-1", "clean") },
		`GET /1.0/images/f00d?project=env-1`:                            func(ctx context.Context, c *Client) error { _, err := c.Image(ctx, "f00d"); return err },
		`DELETE /1.0/images/f00d?project=env-1`:                         func(ctx context.Context, c *Client) error { return c.DeleteImage(ctx, "f00d") },
		`GET /1.0/images/aliases/debian%2F12%20%3F?project=env-1`:       func(ctx context.Context, c *Client) error { _, err := c.ImageAlias(ctx, "debian/12 ?"); return err },
		`GET /1.0/networks/hm1?project=env-1`:                           func(ctx context.Context, c *Client) error { _, err := c.Network(ctx, "hm1"); return err },
		`DELETE /1.0/networks/hm1?project=env-1`:                        func(ctx context.Context, c *Client) error { return c.DeleteNetwork(ctx, "hm1") },
		`GET /1.0/network-acls/hm1?project=env-1`:                       func(ctx context.Context, c *Client) error { return c.FindNetworkACL(ctx, "hm1") },
		`DELETE /1.0/network-acls/hm1?project=env-1`:                    func(ctx context.Context, c *Client) error { return c.DeleteNetworkACL(ctx, "hm1") },
		`GET /1.0/projects/p?project=env-1`:                             func(ctx context.Context, c *Client) error { _, err := c.Project(ctx, "p"); return err },
		`DELETE /1.0/projects/p?project=env-1`:                          func(ctx context.Context, c *Client) error { return c.DeleteProject(ctx, "p") },
		`GET /1.0/storage-pools/pool?project=env-1`:                     func(ctx context.Context, c *Client) error { _, err := c.Pool(ctx, "pool"); return err },
		`GET /1.0/storage-pools/pool/resources?project=env-1`:           func(ctx context.Context, c *Client) error { _, err := c.PoolSpace(ctx, "pool"); return err },
		`GET /1.0/storage-pools/pool/volumes/custom/data?project=env-1`: func(ctx context.Context, c *Client) error { _, err := c.Volume(ctx, "pool", "data"); return err },
		`POST /1.0/images/aliases?project=env-1 {"name":"base","target":"f00d","type":"container"}`: func(ctx context.Context, c *Client) error {
			return c.CreateImageAlias(ctx, "base", "f00d")
		},
		`POST /1.0/networks?project=env-1 {"config":{"user.k":"v"},"description":"d","name":"hm1","type":"bridge"}`: func(ctx context.Context, c *Client) error {
			return c.CreateBridge(ctx, "hm1", "d", config)
		},
		`POST /1.0/network-acls?project=env-1 {"config":{"user.k":"v"},"description":"d","name":"hm1"}`: func(ctx context.Context, c *Client) error {
			return c.CreateNetworkACL(ctx, "hm1", "d", config)
		},
		`POST /1.0/projects?project=env-1 {"config":{"user.k":"v"},"description":"d","name":"p"}`: func(ctx context.Context, c *Client) error {
			return c.CreateProject(ctx, "p", "d", config)
		},
		`POST /1.0/storage-pools/pool/volumes?project=env-1 {"config":{"security.shifted":"true","user.k":"v"},"content_type":"filesystem","name":"data","type":"custom"}`: func(ctx context.Context, c *Client) error {
			return c.CreateVolume(ctx, "pool", "data", config)
		},
		`POST /1.0/storage-pools/pool/volumes?project=env-1 {"config":{"user.k":"v"},"content_type":"filesystem","name":"copy","source":{"name":"data","pool":"pool","type":"copy","volume_only":true},"type":"custom"}`: func(ctx context.Context, c *Client) error {
			return c.CopyVolume(ctx, "pool", "copy", Volume{Name: "data", Config: config})
		},
		`DELETE /1.0/storage-pools/pool/volumes/custom/data?project=env-1`: func(ctx context.Context, c *Client) error { return c.DeleteVolume(ctx, "pool", "data") },
		`GET /1.0/storage-pools/pool/volumes/custom/data/snapshots/clean?project=env-1`: func(ctx context.Context, c *Client) error {
			return c.FindVolumeSnapshot(ctx, "pool", "data", "clean")
		},
		`POST /1.0/storage-pools/pool/volumes/custom/data/snapshots?project=env-1 {"name":"clean"}`: func(ctx context.Context, c *Client) error {
			return c.CreateVolumeSnapshot(ctx, "pool", "data", "clean")
		},
		`DELETE /1.0/storage-pools/pool/volumes/custom/data/snapshots/clean?project=env-1`: func(ctx context.Context, c *Client) error {
			return c.DeleteVolumeSnapshot(ctx, "pool", "data", "clean")
		},
		`PUT /1.0/storage-pools/pool/volumes/custom/data?project=env-1 {"restore":"clean"}`: func(ctx context.Context, c *Client) error {
			return c.RestoreVolume(ctx, "pool", "data", "clean")
		},
	} {
		t.Run(want, func(t *testing.T) {
			d, c := serve(t, nil)
			if err := do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			got := d.all()
			if len(got) != 1 || strings.TrimSpace(got[0].call+" "+sorted(t, got[0].body)) != want {
				t.Errorf("sent %+v", got)
			}
			if agent := got[0].header.Get("User-Agent"); agent != "test" {
				t.Errorf("calls itself %q", agent)
			}
			if !got[0].last {
				t.Error("the connection is kept: it would outlive the call, and fail when the daemon has been started again")
			}
		})
	}
}

// sorted writes JSON anew, with its keys in order.
func sorted(t *testing.T, text string) string {
	t.Helper()
	if text == "" {
		return ""
	}
	var it any
	if err := json.Unmarshal([]byte(text), &it); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	again, err := json.Marshal(it)
	if err != nil {
		t.Fatal(err)
	}
	return string(again)
}

func TestLists(t *testing.T) {
	d, c := serve(t, map[string][]http.HandlerFunc{
		"GET /1.0/instances":                          {reply(`[{"name": "web-1", "status_code": 103, "created_at": "2026-11-28T17:00:00.5Z", "config": {"user.k": "v"}, "devices": {"eth0": {"type": "nic"}}}]`)},
		"GET /1.0/images":                             {reply(`[{"fingerprint": "f00d", "size": 7, "aliases": [{"name": "base"}]}]`)},
		"GET /1.0/networks":                           {reply("[]")},
		"GET /1.0/network-acls":                       {reply("[]")},
		"GET /1.0/projects":                           {reply("[]")},
		"GET /1.0/storage-pools/pool/volumes/custom":  {reply(`[{"name": "data"}, {"name": "data/clean"}]`)},
		"GET /1.0/storage-pools/empty/volumes/custom": {reply("null")},
	})
	ctx := t.Context()
	instances, err1 := c.Instances(ctx)
	images, err2 := c.Images(ctx)
	volumes, err3 := c.Volumes(ctx, "pool")
	none, err4 := c.Volumes(ctx, "empty")
	_, err5 := c.AllInstances(ctx)
	_, err6 := c.AllNetworks(ctx)
	_, err7 := c.AllVolumes(ctx, "pool")
	_, err8 := c.Networks(ctx)
	_, err9 := c.NetworkACLs(ctx)
	_, err10 := c.Projects(ctx)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8, err9, err10); err != nil {
		t.Fatal(err)
	}
	if in := instances[0]; in.StatusCode != Running || in.Config["user.k"] != "v" || in.Devices["eth0"]["type"] != "nic" ||
		!in.CreatedAt.Equal(time.Date(2026, 11, 28, 17, 0, 0, 5e8, time.UTC)) {
		t.Errorf("%+v", in)
	}
	if in := images[0]; in.Fingerprint != "f00d" || in.Size != 7 || in.Aliases[0].Name != "base" {
		t.Errorf("%+v", in)
	}
	if len(volumes) != 1 || volumes[0].Name != "data" || len(none) > 0 {
		t.Errorf("%+v, %+v: want no snapshots", volumes, none)
	}
	var calls []string
	for _, a := range d.all() {
		calls = append(calls, strings.TrimPrefix(a.call, "GET /1.0/"))
	}
	if want := []string{
		"instances?project=env-1&recursion=1", "images?project=env-1&recursion=1",
		"storage-pools/pool/volumes/custom?project=env-1&recursion=1", "storage-pools/empty/volumes/custom?project=env-1&recursion=1",
		"instances?all-projects=true&project=env-1&recursion=1", "networks?all-projects=true&project=env-1&recursion=1",
		"storage-pools/pool/volumes/custom?all-projects=true&project=env-1&recursion=1",
		"networks?project=env-1&recursion=1", "network-acls?project=env-1&recursion=1", "projects?project=env-1&recursion=1",
	}; !reflect.DeepEqual(calls, want) {
		t.Errorf("asked %q", calls)
	}
}

// What an answer says is kept: the status, and the daemon's text.
func TestStatuses(t *testing.T) {
	for name, c := range map[string]struct {
		answer              http.HandlerFunc
		status              int
		text                string
		absent, stale, down bool
	}{
		"is not there":              {refusal(404, "Instance not found"), 404, "Instance not found", true, false, false},
		"something else isn't":      {refusal(500, "Failed: device not found"), 500, "Failed: device not found", false, false, false},
		"was changed":               {refusal(412, "ETag doesn't match"), 412, "ETag doesn't match", false, true, false},
		"is coming up":              {refusal(503, "Daemon is starting up"), 503, "Daemon is starting up", false, false, true},
		"is going down":             {refusal(500, "Incus is shutting down"), 500, "Incus is shutting down", false, false, true},
		"a proxy's":                 {answers(502, "<html>"), 502, "GET /1.0/instances/web-1: 502 Bad Gateway", false, false, true},
		"a refusal without a text":  {answers(403, "{}"), 403, "GET /1.0/instances/web-1: 403 Forbidden", false, false, false},
		"no JSON":                   {answers(200, "<html>"), 0, "GET /1.0/instances/web-1: Incus' answer is not the JSON that it documents", false, false, false},
		"no type":                   {answers(200, "{}"), 0, `GET /1.0/instances/web-1: Incus answers 200 OK, of a type "" that it does not document`, false, false, false},
		"no metadata":               {answers(200, `{"type": "sync"}`), 0, "the answer has no metadata", false, false, false},
		"metadata of another shape": {reply(`["web-1"]`), 0, "the answer is not what Incus documents", false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := serve(t, map[string][]http.HandlerFunc{"GET /1.0/instances/web-1": {c.answer}})
			_, err := client.Instance(t.Context(), "web-1")
			if err == nil || StatusOf(err) != c.status || !strings.HasPrefix(err.Error(), c.text) {
				t.Errorf("%d, %v", StatusOf(err), err)
			}
			wrapped := fmt.Errorf("launch: %w", err)
			if Absent(wrapped) != c.absent || Stale(wrapped) != c.stale || Down(wrapped) != c.down {
				t.Errorf("%v: absent %v, stale %v, down %v", err, Absent(wrapped), Stale(wrapped), Down(wrapped))
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		_, err := Connect(filepath.Join(t.TempDir(), "none"), "test", "").Server(t.Context())
		if !Down(err) || Absent(err) {
			t.Errorf("%v: want it to be down", err)
		}
	})
}

// An answer without an end is given up, and so is a text that is no message any more.
func TestBounds(t *testing.T) {
	ended := make(chan int)
	_, c := serve(t, map[string][]http.HandlerFunc{
		"GET /1.0/images": {func(w http.ResponseWriter, _ *http.Request) {
			sent := 0
			defer func() { ended <- sent }()
			for chunk := strings.Repeat(" ", 1<<20); ; {
				n, err := io.WriteString(w, chunk)
				if sent += n; err != nil {
					return
				}
			}
		}},
		"GET /1.0/projects": {refusal(400, strings.Repeat("x", 1<<20))},
	})
	_, err := c.Images(t.Context())
	if err == nil || err.Error() != "GET /1.0/images: Incus' answer has more than 64 MiB, which is more than is read" || Down(err) {
		t.Errorf("%v", err)
	}
	if sent := <-ended; sent > bodyBound+8<<20 { // buffers on the way
		t.Errorf("%d bytes were taken", sent)
	}
	if _, err := c.Projects(t.Context()); len(err.Error()) > errorBound {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

// A call ends with its context, wherever it is.
func TestContextEnds(t *testing.T) {
	for name, c := range map[string]struct {
		call   string
		begins bool // the answer, before the context ends
	}{
		"before the answer":                {"DELETE /1.0/instances/web-1", false},
		"in the middle of the answer":      {"DELETE /1.0/instances/web-1", true},
		"while an operation is waited for": {waiting, true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			list := map[string][]http.HandlerFunc{"DELETE /1.0/instances/web-1": {began}}
			list[c.call] = []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
				if c.begins {
					fmt.Fprint(w, "{")
					_ = http.NewResponseController(w).Flush()
				}
				cancel()
				<-r.Context().Done()
			}}
			_, c := serve(t, list)
			if err := c.DeleteInstance(ctx, "web-1"); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the context's end", err)
			}
		})
	}
}

func TestUpload(t *testing.T) {
	d, c := serve(t, map[string][]http.HandlerFunc{"POST /1.0/images": {began}, waiting: {ended(200, "Success", "")}})
	fingerprint, err := c.Upload(t.Context(), map[string]string{"user.k": "a b&c=ä"},
		ImageFile{"metadata.tar", strings.NewReader("meta\x00data")}, ImageFile{"root fs.tar.zst", strings.NewReader("rootfs")})
	if err != nil || fingerprint != "f00d" {
		t.Fatalf("%q, %v", fingerprint, err)
	}
	sent := d.all()[0]
	if got := sent.header.Get("X-Incus-properties"); got != "user.k=a+b%26c%3D%C3%A4" {
		t.Errorf("properties %q", got)
	}
	_, params, err := mime.ParseMediaType(sent.header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	form := multipart.NewReader(strings.NewReader(sent.body), params["boundary"])
	var got []string
	for {
		part, err := form.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(part)
		got = append(got, part.FormName()+" "+part.FileName()+" "+string(text))
	}
	if want := []string{"metadata metadata.tar meta\x00data", "rootfs root fs.tar.zst rootfs"}; !reflect.DeepEqual(got, want) {
		t.Errorf("parts %q, want %q", got, want)
	}
}

func TestPublish(t *testing.T) {
	for want, p := range map[string]Publication{
		`{"aliases":[{"name":"v1"}],"compression_algorithm":"none","properties":{"user.k":"v"},"source":{"name":"web-1","type":"instance"}}`: {
			Instance: "web-1", Properties: map[string]string{"user.k": "v"}, Alias: "v1",
		},
		`{"aliases":[],"compression_algorithm":"none","properties":null,"source":{"name":"web-1/clean","type":"snapshot"}}`: {Snapshot: "web-1/clean"},
	} {
		d, c := serve(t, map[string][]http.HandlerFunc{"POST /1.0/images": {began}, waiting: {ended(200, "Success", "")}})
		fingerprint, err := c.Publish(t.Context(), p)
		if err != nil || fingerprint != "f00d" || sorted(t, d.all()[0].body) != want {
			t.Errorf("%q, %v, sent %s", fingerprint, err, d.all()[0].body)
		}
	}
	_, c := serve(t, map[string][]http.HandlerFunc{"POST /1.0/images": {began}, waiting: {reply(`{"status_code": 200, "metadata": {}}`)}})
	if fingerprint, err := c.Publish(t.Context(), Publication{Instance: "web-1"}); err == nil {
		t.Errorf("an image without a fingerprint is %q", fingerprint)
	}
}

func TestFiles(t *testing.T) {
	d, c := serve(t, nil)
	if err := errors.Join(c.MakeFolder(t.Context(), "web-1", "/etc/a b", 0o755), c.WriteFile(t.Context(), "web-1", "/etc/a b/c&d", 0o640, strings.NewReader("text"))); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct{ path, kind, mode, body string }{
		{"%2Fetc%2Fa+b", "directory", "0755", ""},
		{"%2Fetc%2Fa+b%2Fc%26d", "file", "0640", "text"},
	} {
		got := d.all()[i]
		if got.call != "POST /1.0/instances/web-1/files?path="+want.path+"&project=env-1" || got.body != want.body {
			t.Errorf("sent %+v", got)
		}
		for name, value := range map[string]string{"type": want.kind, "mode": want.mode, "uid": "0", "gid": "0", "write": "overwrite"} {
			if got.header.Get("X-Incus-"+name) != value {
				t.Errorf("%s: %q, want %q", name, got.header.Get("X-Incus-"+name), value)
			}
		}
	}
}

func TestUsualSocket(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("INCUS_DIR", dir)
	t.Setenv("INCUS_SOCKET", "")
	d := &daemon{socket: filepath.Join(dir, "unix.socket")}
	d.start(t)
	defer func() { d.stop() }()
	if _, err := Connect("", "test", "").Server(t.Context()); err != nil {
		t.Errorf("INCUS_DIR is not looked at: %v", err)
	}
	t.Setenv("INCUS_SOCKET", filepath.Join(dir, "none"))
	if _, err := Connect("", "test", "").Server(t.Context()); !Down(err) {
		t.Errorf("INCUS_SOCKET is not looked at: %v", err)
	}
	if got := d.all()[0].call; got != "GET /1.0?" && got != "GET /1.0" {
		t.Errorf("asked %q: the default project has no name in a query", got)
	}
}
