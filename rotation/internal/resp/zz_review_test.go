//go:build repro

package resp

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
)

// A reply has no bound in all: a million elements of 16 MiB.
func TestZZReplyWithoutABound(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = bufio.NewReader(c).ReadString('\n')
		chunk := append(append(fmt.Appendf(nil, "$%d\r\n", 16<<20), make([]byte, 16<<20)...), "\r\n"...)
		_, _ = fmt.Fprintf(c, "*%d\r\n", 1<<20)
		for range 40 { // 640 MiB; the function has 256
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
		time.Sleep(3 * time.Second)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := Login(ctx, engine.TLSPolicy{}, engine.Target{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, User: "u", Password: "p", TLS: engine.TLSOff})
		done <- err
	}()
	var peak uint64
	for {
		select {
		case err := <-done:
			t.Logf("%v; peak heap %d MiB", err, peak>>20)
			if peak > 256<<20 {
				t.Error("PROVED: a host in a secret ends the process by memory")
			}
			return
		case <-time.After(20 * time.Millisecond):
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}
	}
}

// Lambda's runtime API at 127.0.0.1:9001 is HTTP: what a user name may smuggle.
func TestZZRuntimeAPI(t *testing.T) {
	var seen []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = append(seen, r.Method+" "+r.URL.Path) }))
	defer s.Close()
	addr := s.Listener.Addr().(*net.TCPAddr)
	for _, tls := range []engine.TLSMode{engine.TLSOff, engine.TLSOn, engine.TLSDefault} {
		_, err := Login(t.Context(), engine.TLSPolicy{AllowPlaintext: true}, engine.Target{Host: "127.0.0.1", Port: addr.Port, TLS: tls,
			User: "\r\n\r\nGET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n", Password: "\r\nPOST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"})
		t.Log(strings.ReplaceAll(fmt.Sprint(err), "\n", " "))
	}
	t.Logf("requests: %q", seen)
	if len(seen) > 0 {
		t.Error("PROVED: SSRF")
	}
}
