package testserver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Blackhole starts a server on 127.0.0.1 that accepts connections and never answers, until the test's end. It returns
// the port.
func Blackhole(t testing.TB) int {
	t.Helper()
	return Hostile(t, nil, func(net.Conn) { <-t.Context().Done() })
}

// Chunk is a piece of data on a proxied connection.
type Chunk struct {
	// FromServer is the direction, and First means that nothing came in it before.
	FromServer, First bool
	// Bytes is the result of one read, encrypted if the connection is. It is valid only during the call.
	Bytes []byte
}

// FaultProxy forwards TCP connections to a server on 127.0.0.1 and breaks them on request. The server's certificate for
// localhost is also valid for the proxy.
type FaultProxy struct {
	// Port is the proxy's port on 127.0.0.1.
	Port int

	target string
	filter atomic.Pointer[func(Chunk) bool]
	answer atomic.Pointer[func(net.Conn)]
	mu     sync.Mutex
	live   map[net.Conn]bool
}

// Proxy starts a proxy to a server's host:port until the test's end.
func Proxy(t testing.TB, target string) *FaultProxy {
	t.Helper()
	p := &FaultProxy{target: target, live: map[net.Conn]bool{}}
	p.Port = Hostile(t, nil, p.serve)
	t.Cleanup(p.Cut)
	return p
}

// Addr returns localhost:port.
func (p *FaultProxy) Addr() string { return fmt.Sprintf("localhost:%d", p.Port) }

// Cut resets all current connections. New ones are accepted.
func (p *FaultProxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.live {
		reset(conn)
	}
}

// Filter installs a filter that is called before each chunk is forwarded. If it returns false, the connection is reset.
// A filter can wait to slow a direction down, or forward a statement and then refuse the server's first chunk to lose
// the response. nil forwards everything.
func (p *FaultProxy) Filter(filter func(Chunk) bool) { p.filter.Store(&filter) }

// Answer installs a function that answers new clients instead of the server. Their connection ends when it returns.
func (p *FaultProxy) Answer(answer func(net.Conn)) { p.answer.Store(&answer) }

func (p *FaultProxy) serve(client net.Conn) {
	if answer := p.answer.Load(); answer != nil {
		(*answer)(client)
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	p.mu.Lock()
	p.live[client], p.live[server] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.forward(server, client, false) })
	both.Go(func() { p.forward(client, server, true) })
	both.Wait()
	p.mu.Lock()
	delete(p.live, client)
	delete(p.live, server)
	p.mu.Unlock()
	server.Close()
}

// forward copies one direction until it ends, and also forwards the end.
func (p *FaultProxy) forward(to, from net.Conn, fromServer bool) {
	buffer := make([]byte, 32<<10)
	for first := true; ; first = false {
		n, err := from.Read(buffer)
		if n > 0 {
			if f := p.filter.Load(); f != nil && *f != nil && !(*f)(Chunk{fromServer, first, buffer[:n]}) {
				reset(to)
				reset(from)
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				reset(from)
				return
			}
		}
		if errors.Is(err, io.EOF) {
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
		if err != nil {
			reset(to)
			return
		}
	}
}

// reset closes a connection with RST instead of an orderly end.
func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}
