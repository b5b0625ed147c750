//go:build repro

package ldap

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// A directory answers a bind by one element of 700 MB.
func TestZZAnswerWithoutABound(t *testing.T) {
	h := httptest.NewTLSServer(nil)
	defer h.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: h.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 4096)
				_, _ = c.Read(b)
				_, _ = c.Write([]byte{0x30, 0x84, 0x29, 0xb9, 0x27, 0x06, 0x04, 0x84, 0x29, 0xb9, 0x27, 0x00})
				chunk := make([]byte, 1<<20)
				for range 700 {
					if _, err := c.Write(chunk); err != nil {
						return
					}
				}
				time.Sleep(2 * time.Second)
			}()
		}
	}()
	e := New(engine.TLSPolicy{ExtraCAs: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})})
	port := l.Addr().(*net.TCPAddr).Port
	v := engine.StringValue(`{"engine":"ldap","host":"127.0.0.1"}`).WithJSON("port", []byte(strings.TrimSpace(itoa(port)))).With("username", "cn=x").With("password", "p")
	done := make(chan error, 1)
	go func() {
		done <- e.Verify(enginetest.Within(t), &engine.Request{Secret: "arn", Current: v, Pending: v, Login: v, Strategy: engine.SingleUser}, v)
	}()
	var peak uint64
	for {
		select {
		case err := <-done:
			t.Logf("%v; peak heap %d MiB", err, peak>>20)
			if peak > 256<<20 {
				t.Error("PROVED")
			}
			return
		case <-time.After(20 * time.Millisecond):
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}
	}
}

func itoa(n int) string {
	out := ""
	for ; n > 0; n /= 10 {
		out = string(rune('0'+n%10)) + out
	}
	return out
}
