package incusd

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// A call returns with the end of the operation that it started, and with what is known of it.
func TestOperations(t *testing.T) {
	for name, c := range map[string]struct {
		start, end  http.HandlerFunc
		want        string // of the error
		interrupted bool
		absent      bool
		down        bool
	}{
		"succeeds":                      {began, ended(200, "Success", ""), "", false, false, false},
		"is done at once":               {reply("{}"), nil, "", false, false, false},
		"fails":                         {began, ended(400, "Failure", "Image not found"), "Image not found", false, true, false},
		"fails for another reason":      {began, ended(400, "Failure", "no space left on device"), "no space left on device", false, false, false},
		"fails while it is waited for":  {began, answers(200, `{"type": "error", "error_code": 404, "error": "Image not found"}`), "Image not found", false, true, false},
		"fails so for another reason":   {began, answers(200, `{"type": "error", "error_code": 500, "error": "no space left on device"}`), "no space left on device", false, false, false},
		"is cancelled":                  {began, ended(401, "Cancelled", ""), "the operation is forgotten: Incus went away meanwhile (it is cancelled)", true, false, true},
		"vanishes":                      {began, refusal(404, "Operation not found"), "the operation is forgotten: Incus went away meanwhile (Operation not found)", true, false, true},
		"can't be waited for":           {began, refusal(500, "database is locked"), "database is locked", false, false, false},
		"is not told":                   {answers(202, `{"type": "async", "metadata": {}}`), nil, "the operation that began has no identifier", false, false, false},
		"is refused":                    {refusal(400, "Invalid name"), nil, "Invalid name", false, false, false},
		"works on what is not there":    {refusal(404, "Instance not found"), nil, "Instance not found", false, true, false},
		"ends while the daemon is down": {began, refusal(503, "Incus is shutting down"), "Incus is shutting down", false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			list := map[string][]http.HandlerFunc{"DELETE /1.0/instances/web-1": {c.start}, waiting: {c.end}}
			d, client := serve(t, list)
			err := client.DeleteInstance(t.Context(), "web-1")
			if said(err) != c.want || errors.Is(err, ErrInterrupted) != c.interrupted || Absent(err) != c.absent || Down(err) != c.down {
				t.Errorf("%v: interrupted %v, absent %v, down %v", err, errors.Is(err, ErrInterrupted), Absent(err), Down(err))
			}
			if waited := len(d.all()) == 2; waited != (c.end != nil) {
				t.Errorf("asked %+v", d.all())
			} else if waited && !strings.Contains(d.all()[1].call, "timeout=-1") {
				t.Errorf("%s does not wait for as long as it takes", d.all()[1].call)
			}
		})
	}
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The daemon is stopped while an operation is waited for, and started again: the call that waited is told of
// an outage, and the same client goes on. What the new daemon does not know is not waited for.
func TestOperationOutlivesTheDaemon(t *testing.T) {
	var d *daemon
	killed := make(chan struct{})
	d, c := serve(t, map[string][]http.HandlerFunc{
		"DELETE /1.0/instances/web-1": {began},
		waiting: {
			func(_ http.ResponseWriter, r *http.Request) {
				go func() { defer close(killed); d.stop() }()
				<-r.Context().Done()
			},
			refusal(404, "Operation not found"),
		},
		"GET /1.0/operations": {reply(`{"running": [{"id": "op", "class": "task", "status_code": 103}]}`)},
	})
	if err := c.DeleteInstance(t.Context(), "web-1"); !Down(err) || Absent(err) {
		t.Errorf("%v: want it to be an outage", err)
	}
	<-killed
	d.start(t)
	if err := Settle(t.Context(), c, func(Operation) bool { return true }); err != nil {
		t.Errorf("after the daemon was started again: %v", err)
	}
	if err := c.DeleteInstance(t.Context(), "web-1"); !errors.Is(err, ErrInterrupted) {
		t.Errorf("%v, want ErrInterrupted", err)
	}
}

// Tasks on the instance that are at it are waited for, and no others.
func TestSettle(t *testing.T) {
	d, c := serve(t, map[string][]http.HandlerFunc{
		"GET /1.0/operations": {reply(`{
			"running": [
				{"id": "op", "class": "task", "status_code": 103, "resources": {"instances": ["/1.0/instances/web-1?project=env-1"]}},
				{"id": "another", "class": "task", "status_code": 103, "resources": {"instances": ["/1.0/instances/web-10"]}},
				{"id": "console", "class": "websocket", "status_code": 103, "resources": {"instances": ["/1.0/instances/web-1"]}}],
			"success": [{"id": "over", "class": "task", "status_code": 200, "resources": {"instances": ["/1.0/instances/web-1"]}}]}`)},
		waiting: {ended(400, "Failure", "whatever")},
	})
	if err := Settle(t.Context(), c, On("web-1")); err != nil {
		t.Error(err)
	}
	if got := d.all(); len(got) != 2 || !strings.HasPrefix(got[1].call, waiting) {
		t.Errorf("asked %+v", got)
	}
}

// A command is started and not waited for: it may never end.
func TestExecDoesNotWait(t *testing.T) {
	d, c := serve(t, map[string][]http.HandlerFunc{"POST /1.0/instances/web-1/exec": {began}})
	if err := c.Exec(t.Context(), "web-1", "true"); err != nil || len(d.all()) != 1 {
		t.Errorf("%v, asked %+v", err, d.all())
	}
}
