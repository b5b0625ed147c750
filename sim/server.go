package sim

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server is a Sim that listens.
type Server struct {
	http     *http.Server
	listener net.Listener
}

// Serve listens on addr, such as 127.0.0.1:0, and answers. It refuses an address
// that other machines can reach unless the Sim allows it.
func Serve(s *Sim, addr string) (*Server, error) {
	server, err := Listen(s, addr)
	if err == nil {
		server.Start()
	}
	return server, err
}

// Listen is Serve for a Sim that is not ready to answer yet: its URL is known, and
// requests wait until Start.
func Listen(s *Sim, addr string) (*Server, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%q is not HOST:PORT", addr)
	}
	if ip := net.ParseIP(host); !s.opts.AllowRemote && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s can be reached from other machines", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return &Server{&http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}, l}, nil
}

// Start begins to answer.
func (s *Server) Start() {
	go func() { _ = s.http.Serve(s.listener) }() // always ends with ErrServerClosed
}

// URL returns where this machine reaches the server.
func (s *Server) URL() string {
	a := s.listener.Addr().(*net.TCPAddr) // of a TCP listener
	if a.IP.IsUnspecified() {
		return fmt.Sprintf("http://127.0.0.1:%d", a.Port)
	}
	return "http://" + a.String()
}

// Close stops the server and cuts its connections.
func (s *Server) Close() error {
	_ = s.listener.Close() // the server does it too, if it was started
	return s.http.Close()
}
