package testserver

import (
	"crypto/tls"
	"net"
	"runtime"
	"testing"
	"time"
)

// Hostile starts a server, with TLS unless config is nil, that calls answer for each connection, like a host that a
// secret's writer chose. It returns the port.
func Hostile(t testing.TB, config *tls.Config, answer func(net.Conn)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	Must(t, err, "listen")
	if config != nil {
		l = tls.NewListener(l, config)
	}
	return Serve(t, l, answer)
}

// Serve calls answer for each connection until the test's end, and returns the listener's port.
func Serve(t testing.TB, l net.Listener, answer func(net.Conn)) int {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer(c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// PeakMemory returns the peak number of bytes in use while f runs, above those in use before.
func PeakMemory(f func()) uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapInuse+m.StackInuse, uint64(0)
	done := make(chan bool)
	go func() {
		defer close(done)
		f()
	}()
	for {
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapInuse+m.StackInuse)
		select {
		case <-done:
			return most - min(before, most)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
