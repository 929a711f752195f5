package incusd

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// asked is a request as the daemon saw it.
type asked struct {
	call   string // "GET /1.0/instances?recursion=1", escaped as it came
	header http.Header
	body   string
	last   bool // of its connection
}

// daemon answers on a socket as Incus does, and may be stopped and started again.
type daemon struct {
	socket  string
	answers map[string][]http.HandlerFunc // by "METHOD path" without query; the last one stays

	mu    sync.Mutex
	asked []asked
	stop  func()
}

// serve starts a daemon and gives a client of it.
func serve(t *testing.T, answers map[string][]http.HandlerFunc) (*daemon, *Client) {
	t.Helper()
	d := &daemon{socket: filepath.Join(t.TempDir(), "socket"), answers: answers}
	d.start(t)
	t.Cleanup(func() { d.stop() })
	return d, Connect(d.socket, "test", "env-1")
}

func (d *daemon) start(t *testing.T) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	d.stop = func() { _ = server.Close(); <-done }
}

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	d.asked = append(d.asked, asked{r.Method + " " + r.RequestURI, r.Header, string(body), r.Close})
	answer := reply("{}")
	call := r.Method + " " + r.URL.EscapedPath()
	if list := d.answers[call]; len(list) > 0 {
		answer = list[0]
		if len(list) > 1 {
			d.answers[call] = list[1:]
		}
	}
	d.mu.Unlock()
	answer(w, r)
}

// all are the requests until now.
func (d *daemon) all() []asked {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]asked(nil), d.asked...)
}

func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("ETag", "v7")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func reply(metadata string) http.HandlerFunc {
	return answers(http.StatusOK, `{"type": "sync", "status": "Success", "status_code": 200, "metadata": `+metadata+`}`)
}

func refusal(status int, text string) http.HandlerFunc {
	return answers(status, fmt.Sprintf(`{"type": "error", "error_code": %d, "error": %q}`, status, text))
}

// began starts the operation op.
var began = answers(http.StatusAccepted, `{"type": "async", "operation": "/1.0/operations/op", "metadata": {"id": "op", "class": "task", "status_code": 103}}`)

// ended is the end of an operation.
func ended(code int, status, why string) http.HandlerFunc {
	return reply(fmt.Sprintf(`{"id": "op", "status": %q, "status_code": %d, "err": %q, "metadata": {"fingerprint": "f00d"}}`, status, code, why))
}

const waiting = "GET /1.0/operations/op/wait"
