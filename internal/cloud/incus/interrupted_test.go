package incus

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// fakeIncus answers on a socket as Incus does: by "METHOD /path", else with an empty list.
type fakeIncus struct {
	mu      sync.Mutex
	answers map[string][]http.HandlerFunc // the last one stays
	asked   []string
	told    []string // what was asked, with its body; of files the path and the mode, too
}

func (f *fakeIncus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/1.0")
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.asked = append(f.asked, call)
	f.told = append(f.told, strings.TrimSpace(fmt.Sprint(call, " ", r.URL.Query().Get("path"), " ", r.Header.Get("X-Incus-mode"), " ", string(body))))
	answer := reply("[]")
	if list := f.answers[call]; len(list) > 0 {
		answer = list[0]
		if len(list) > 1 {
			f.answers[call] = list[1:]
		}
	}
	f.mu.Unlock()
	answer(w, r)
}

// calls counts requests that begin so.
func (f *fakeIncus) calls(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, call := range f.asked {
		if strings.HasPrefix(call, prefix) {
			n++
		}
	}
	return n
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func reply(metadata string) http.HandlerFunc {
	return answer(http.StatusOK, `{"type": "sync", "status": "Success", "status_code": 200, "metadata": `+metadata+`}`)
}

func refusal(status int, text string) http.HandlerFunc {
	return answer(status, fmt.Sprintf(`{"type": "error", "error_code": %d, "error": %q}`, status, text))
}

// began starts an operation, and ended is its end.
func began(id string) http.HandlerFunc {
	return answer(http.StatusAccepted, `{"type": "async", "operation": "/1.0/operations/`+id+`", "metadata": {"id": "`+id+`"}}`)
}

func ended(code int, status, why string) http.HandlerFunc {
	return reply(fmt.Sprintf(`{"id": "x", "status": %q, "status_code": %d, "err": %q}`, status, code, why))
}

// cut sends some of an answer and then closes the connection.
func cut(some string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		fmt.Fprint(conn, some)
		_ = conn.Close()
	}
}

const halfAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"type\": \r\n"

// serveFake gives a provider of a fake Incus that has one image and no server.
func serveFake(t *testing.T, answers map[string][]http.HandlerFunc) (*Provider, *fakeIncus) {
	t.Helper()
	f := &fakeIncus{answers: map[string][]http.HandlerFunc{
		"GET /images/base":     {reply(`{"fingerprint": "base"}`)},
		"POST /instances":      {began("create")},
		"GET /operations":      {reply("{}")},
		"GET /instances/web-1": {reply(running)},
	}}
	for call, list := range answers {
		f.answers[call] = list
	}
	socket := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return &Provider{cfg: Config{Socket: socket, Pool: "hallmark", Log: slog.New(slog.DiscardHandler)}}, f
}

const running = `{"name": "web-1", "project": "env-1", "status": "Running", "status_code": 103, "config": {"user.hallmark.token": "once"}}`

var oneServer = cloud.ServerSpec{
	Name: "web-1", Network: "env-1", Image: "base", Address: netip.MustParseAddr("10.91.7.10"), Token: "once", Tags: cloud.Tags{Owner: "me"},
}

// An Incus that goes away in the middle of a call is down: Hallmark does not know whether it did what it was asked, and
// every call may be made again. It has refused nothing, and lost nothing.
func TestGoesAwayInTheMiddle(t *testing.T) {
	t.Parallel()
	const wait = "GET /operations/create/wait"
	for name, answers := range map[string]map[string][]http.HandlerFunc{
		"before it answers":                      {"POST /instances": {cut("")}},
		"while it answers":                       {"GET /images/base": {cut(halfAnswer)}},
		"while an operation is waited for":       {wait: {cut(halfAnswer)}},
		"and is back, without the operation":     {wait: {refusal(http.StatusNotFound, "Operation not found")}},
		"and gives up what it was at":            {wait: {ended(401, "Cancelled", "")}},
		"and says so at the end of an operation": {wait: {ended(400, "Failure", "Failed creating instance record: context canceled")}},
		"and says so at once":                    {"POST /instances": {refusal(http.StatusInternalServerError, "Incus is shutting down")}},
		"and is coming up":                       {"POST /instances": {refusal(http.StatusServiceUnavailable, "Daemon is starting up")}},
		"behind a proxy":                         {"POST /instances": {answer(http.StatusBadGateway, "<html>")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := serveFake(t, answers)
			_, err := p.Launch(t.Context(), oneServer)
			if cloud.CodeOf(err) != cloud.CodeDown {
				t.Errorf("%v: is %q, want down", err, cloud.CodeOf(err))
			}
		})
	}
	t.Run("for good", func(t *testing.T) {
		t.Parallel()
		p := &Provider{cfg: Config{Socket: filepath.Join(t.TempDir(), "none")}}
		if _, err := p.Servers(t.Context(), cloud.Filter{}); cloud.CodeOf(err) != cloud.CodeDown {
			t.Errorf("%v, want down", err)
		}
	})
}

// What removes something and is interrupted has not removed it.
func TestInterruptedRemovalIsNone(t *testing.T) {
	t.Parallel()
	p, _ := serveFake(t, map[string][]http.HandlerFunc{
		"DELETE /images/old":          {began("delete")},
		"GET /operations/delete/wait": {refusal(http.StatusNotFound, "Operation not found")},
	})
	if err := p.DeleteImage(t.Context(), "old"); cloud.CodeOf(err) != cloud.CodeDown {
		t.Errorf("%v, want down", err)
	}
}

// A name is busy while Incus still creates the server for a call whose caller went away, and the server
// need not be listed yet. That is neither throttled nor refused: the creation is waited for.
func TestLaunchWaitsForOneThatIsGoingOn(t *testing.T) {
	t.Parallel()
	const busy = `Failed creating instance record: Instance is busy running a "create" operation`
	going := `{"running": [{"id": "first", "class": "task", "status_code": 103, "resources": {"instances": ["/1.0/instances/web-1?project=env-1"]}}]}`
	p, f := serveFake(t, map[string][]http.HandlerFunc{
		"GET /instances":              {reply("[]"), reply("[" + running + "]")},
		"GET /operations/create/wait": {ended(400, "Failure", busy), ended(400, "Failure", busy), ended(400, "Failure", `Instance "web-1" already exists`)},
		"GET /operations":             {reply(going), reply("{}")},
		"GET /operations/first/wait":  {ended(200, "Success", "")},
	})
	server, err := p.Launch(t.Context(), oneServer)
	if err != nil || server.Name != "web-1" || server.State != cloud.Running {
		t.Errorf("%+v, %v", server, err)
	}
	if f.calls("GET /operations/first/wait") != 1 {
		t.Error("the creation that was going on was not waited for")
	}
}

// A container that was left half made can't be started: nothing has ever run in it, so it is made anew.
func TestHalfMadeServerIsMadeAnew(t *testing.T) {
	t.Parallel()
	half := strings.NewReplacer("Running", "Stopped", "103", "102").Replace(running)
	p, f := serveFake(t, map[string][]http.HandlerFunc{
		"GET /instances":              {reply("[" + half + "]"), reply("[" + running + "]")},
		"GET /instances/web-1":        {reply(half), reply(running)},
		"PUT /instances/web-1/state":  {began("start")},
		"GET /operations/start/wait":  {ended(400, "Failure", "Failed to run: forkstart env-1_web-1: exit status 1")},
		"DELETE /instances/web-1":     {began("delete")},
		"GET /operations/delete/wait": {ended(200, "Success", "")},
		"GET /operations/create/wait": {ended(200, "Success", "")},
	})
	server, err := p.Launch(t.Context(), oneServer)
	if err != nil || server.State != cloud.Running {
		t.Errorf("%+v, %v", server, err)
	}
	if f.calls("DELETE /instances/web-1") != 1 || f.calls("POST /instances") != 1 {
		t.Errorf("asked: %v", f.asked)
	}
}

// For some seconds after a kill Incus refuses what it does otherwise: that is part of the outage.
func TestIncusThatHasJustBeenStarted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pid  int
		want cloud.Code
	}{
		"just now":  {youngProcess(t), cloud.CodeDown},
		"elsewhere": {1 << 30, cloud.CodeRefused},
	} {
		p, _ := serveFake(t, map[string][]http.HandlerFunc{
			"GET ":                        {reply(fmt.Sprintf(`{"environment": {"server_pid": %d}}`, c.pid))},
			"GET /operations/create/wait": {ended(400, "Failure", "Failed to run: forkstart env-1_web-1: exit status 1")},
		})
		if _, err := p.Launch(t.Context(), oneServer); cloud.CodeOf(err) != c.want {
			t.Errorf("Incus was started %s: %v, want %s", name, err, c.want)
		}
	}
}

// youngProcess is one that has just been started, and goes with the test.
func youngProcess(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}
