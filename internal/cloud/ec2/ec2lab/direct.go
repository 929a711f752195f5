package ec2lab

import (
	"bytes"
	"io"
	"net/http"
)

// Direct hands requests to the lab without a network, for an HTTP client in a test: in a bubble of
// testing/synctest no network may be waited for. A connection that a fault closes ends as one.
func (l *Lab) Direct() http.RoundTripper { return direct{l} }

type direct struct{ lab *Lab }

func (d direct) RoundTrip(req *http.Request) (answer *http.Response, err error) {
	if req.Body == nil {
		req = req.Clone(req.Context())
		req.Body = http.NoBody
	}
	defer req.Body.Close()
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	defer func() {
		if recover() != nil { // http.ErrAbortHandler
			answer, err = nil, io.ErrUnexpectedEOF
		}
	}()
	w := &written{header: http.Header{}, status: http.StatusOK}
	d.lab.serve(w, req)
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
	}, nil
}

// written is an answer that was written.
type written struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *written) Header() http.Header         { return w.header }
func (w *written) WriteHeader(status int)      { w.status = status }
func (w *written) Write(b []byte) (int, error) { return w.body.Write(b) }
