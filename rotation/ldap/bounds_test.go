package ldap

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// TestServerTakesALimitedAmountOfMemory: the writer of a secret can name any server. This one answers the bind or
// StartTLS.
func TestServerTakesALimitedAmountOfMemory(t *testing.T) {
	ca, err := testserver.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert.CertPEM, cert.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	long := []byte{0x84, 0x29, 0xb9, 0x27, 0x00}
	for name, begin := range map[string][]byte{
		"one long element":  append([]byte{0x04}, long...),
		"many elements":     bytes.Repeat([]byte{0x05, 0x00}, 1<<19),
		"nested elements":   bytes.Repeat(append([]byte{0x30}, long...), 900),
		"many sequences":    bytes.Repeat([]byte{0x30, 0x00}, 1<<19),
		"endless sequences": bytes.Repeat([]byte{0x30, 0x80, 0x05, 0x00}, 900),
	} {
		encrypted := &tls.Config{Certificates: []tls.Certificate{pair}}
		for start, config := range map[bool]*tls.Config{false: encrypted, true: nil} {
			port := testserver.Hostile(t, config, func(c net.Conn) {
				_, _ = c.Read(make([]byte, 4096))
				_, _ = c.Write(append([]byte{0x30, 0x84, 0x29, 0xb9, 0x27, 0x06}, begin...))
				for chunk := bytes.Repeat([]byte{0x05, 0x00}, 1<<19); ; {
					if _, err := c.Write(chunk); err != nil {
						return
					}
				}
			})
			v := engine.StringValue(`{"engine":"ldap","host":"localhost","username":"cn=app","password":"first"}`).
				WithJSON("port", []byte(strconv.Itoa(port)))
			r := &engine.Request{Current: v, Pending: v, Login: v}
			e := New(engine.TLSPolicy{ExtraCAs: ca.PEM})
			if start {
				e.startTLS = port
			}
			used := testserver.PeakMemory(func() { err = e.Verify(enginetest.Within(t), r, r.Current) })
			if !errors.Is(err, engine.Unreachable) || errors.Is(err, context.DeadlineExceeded) || used > 64<<20 ||
				len(err.Error()) > 1000 || !strings.Contains(err.Error(), "sends more than") {
				t.Errorf("%s, StartTLS %v: %v, %d MiB", name, start, err, used>>20)
			}
		}
	}
}
