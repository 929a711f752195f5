// Package incusd speaks to Incus' daemon by its documented REST API (doc/rest-api.md and doc/rest-api.yaml
// of Incus): a Client with a method for each request that Hallmark makes, and what Incus 6.0 gives up for a
// passing reason, done again until it is done. Provider and laboratory both build on it; what their nouns
// are on Incus is theirs. So it also has what both do to the instances of theirs: the walls around each
// (Wall, Resolver), and what the API does not reach on the daemon's host (Quotas, RemoveInstanceLogs).
//
// Every method is one request that ends with its context. Where the daemon works in the background, the
// method returns when that operation has ended; Incus goes on with it when the waiting ends early. Types
// hold the fields that Hallmark uses. What is read and written back keeps all others: see change.
package incusd

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

// Client speaks to one daemon about one project. It holds no connection: each request has its own, so a
// Client needs no closing, and a daemon that was started again is met as it is.
type Client struct {
	http    http.Client
	agent   string
	project string
}

// Connect gives a client for one project ("": default). It talks to nobody yet. The socket "" is where
// Incus' own client looks for it; agent names the program to Incus.
func Connect(socket, agent, project string) *Client {
	if socket == "" {
		socket = usualSocket()
	}
	return &Client{agent: agent, project: project, http: http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// usualSocket is the daemon's socket by environment or by place.
func usualSocket() string {
	const file, newer = "unix.socket", "/run/incus"
	if socket := os.Getenv("INCUS_SOCKET"); socket != "" {
		return socket
	}
	if os.Getenv("INCUS_DIR") != "" {
		return filepath.Join(folder(), file)
	}
	if socket := filepath.Join(newer, file); exists(socket) {
		return socket
	}
	return filepath.Join(folder(), file)
}

// folder is where the daemon of this host keeps what it has.
func folder() string {
	if dir := os.Getenv("INCUS_DIR"); dir != "" {
		return dir
	}
	return "/var/lib/incus"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Server is the daemon.
type Server struct {
	Environment struct {
		ServerPID int `json:"server_pid"` // its process id, on its own host
	} `json:"environment"`
}

// Server tells what the daemon says of itself.
func (c *Client) Server(ctx context.Context) (Server, error) {
	return get[Server](ctx, c, nil)
}
