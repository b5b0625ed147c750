package sim

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server serves a Sim over HTTP.
type Server struct {
	http     *http.Server
	listener net.Listener
}

// ErrExposed is in the error of Listen for an address that is not this machine's alone.
var ErrExposed = errors.New("can be reached from other machines")

// Serve listens on addr, such as 127.0.0.1:0, and answers requests. It rejects an address that
// other machines can reach unless Options.AllowRemote is set.
func Serve(s *Sim, addr string) (*Server, error) {
	server, err := Listen(s, addr)
	if err == nil {
		server.Start()
	}
	return server, err
}

// Listen is Serve without answering yet: the URL is known, and requests wait until Start.
func Listen(s *Sim, addr string) (*Server, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%q is not HOST:PORT", addr)
	}
	if ip := net.ParseIP(host); !s.opts.AllowRemote && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s %w", addr, ErrExposed)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return &Server{&http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}, l}, nil
}

// Start begins answering requests.
func (s *Server) Start() {
	go func() { _ = s.http.Serve(s.listener) }() // always ends with ErrServerClosed
}

// URL returns where this machine reaches the server.
func (s *Server) URL() string {
	a := s.listener.Addr().(*net.TCPAddr) // always TCP
	if a.IP.IsUnspecified() {
		return fmt.Sprintf("http://127.0.0.1:%d", a.Port)
	}
	return "http://" + a.String()
}

// Close stops the server and closes its connections.
func (s *Server) Close() error {
	_ = s.listener.Close() // a started server has closed it already
	return s.http.Close()
}
