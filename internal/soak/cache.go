package main

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Where `make host` puts the package cache.
const (
	cacheAddress = "10.90.0.1"
	cachePort    = "3142"
)

// slowCache stands before the package cache and lets every question wait.
type slowCache struct {
	delay    atomic.Int64 // of each question, a time.Duration
	listener net.Listener
	done     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil: closed
}

func newSlowCache() (*slowCache, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(cacheAddress, "0"))
	if err != nil {
		return nil, fmt.Errorf("a slow package cache beside the real one (`make host`): %w", err)
	}
	c := &slowCache{listener: listener, conns: map[net.Conn]bool{}}
	c.done.Go(c.serve)
	return c, nil
}

func (c *slowCache) address() string { return c.listener.Addr().String() }

func (c *slowCache) serve() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.done.Go(func() { c.pass(conn) })
	}
}

// pass connects one client to the cache.
func (c *slowCache) pass(client net.Conn) {
	defer client.Close()
	cache, err := net.Dial("tcp", net.JoinHostPort(cacheAddress, cachePort))
	if err != nil {
		return
	}
	defer cache.Close()
	if !c.hold(client, cache) {
		return
	}
	defer c.release(client, cache)
	var asking sync.WaitGroup
	asking.Go(func() {
		question := make([]byte, 64<<10)
		for {
			n, err := client.Read(question)
			time.Sleep(time.Duration(c.delay.Load()))
			if _, wrote := cache.Write(question[:n]); err != nil || wrote != nil {
				if tcp, ok := cache.(*net.TCPConn); ok {
					_ = tcp.CloseWrite()
				}
				return
			}
		}
	})
	_, _ = io.Copy(client, cache)
	_ = client.Close() // the one who asks ends, too
	asking.Wait()
}

// hold notes connections, so that close ends them; it says false after close.
func (c *slowCache) hold(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		return false
	}
	for _, conn := range conns {
		c.conns[conn] = true
	}
	return true
}

func (c *slowCache) release(conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		delete(c.conns, conn)
	}
}

func (c *slowCache) close() {
	_ = c.listener.Close()
	c.mu.Lock()
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
	c.mu.Unlock()
	c.done.Wait()
}
