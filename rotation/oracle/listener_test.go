package oracle

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// listener implements enough of Oracle's TNS to answer CONNECT: it refuses or redirects the real driver, with or
// without TLS. It never reaches a login.
type listener struct {
	net.Listener
	mu      sync.Mutex
	asked   []string // the connect descriptors
	opened  int      // all connections, including useless ones
	message string   // of REFUSE
	address string   // of REDIRECT, if not ""
}

func newListener(t *testing.T, config *tls.Config) *listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{Listener: inner}
	if config != nil {
		l.Listener = tls.NewListener(inner, config)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			l.mu.Lock()
			l.opened++
			l.mu.Unlock()
			serving.Go(func() { l.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l
}

func (l *listener) serve(conn net.Conn) {
	defer conn.Close()
	descriptor, err := readConnect(conn)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, descriptor)
	if l.address != "" {
		data := "(ADDRESS=" + l.address + ")\x00(DESCRIPTION=(CONNECT_DATA=(SERVICE_NAME=x)))"
		_, _ = conn.Write(packet(5, append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...)))
		return
	}
	body := append([]byte{0, 0}, binary.BigEndian.AppendUint16(nil, uint16(len(l.message)))...)
	_, _ = conn.Write(packet(4, append(body, l.message...)))
}

// readConnect reads a CONNECT packet, and the DATA packet with a descriptor that is too long for it.
func readConnect(r io.Reader) (string, error) {
	var all strings.Builder
	for !strings.Contains(all.String(), "(DESCRIPTION=") {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return "", err
		}
		n := int(binary.BigEndian.Uint16(head[:]))
		if kind := head[4]; n < 8 || kind != 1 && kind != 6 {
			return "", fmt.Errorf("a packet of type %d and %d bytes", kind, n)
		}
		body := make([]byte, n-8)
		if _, err := io.ReadFull(r, body); err != nil {
			return "", err
		}
		all.Write(body)
	}
	return all.String()[strings.Index(all.String(), "(DESCRIPTION="):], nil
}

func packet(kind byte, body []byte) []byte {
	head := binary.BigEndian.AppendUint16(nil, uint16(len(body)+8))
	return append(append(head, 0, 0, kind, 0, 0, 0), body...)
}

func (l *listener) value(more string) engine.Value {
	return engine.StringValue(fmt.Sprintf(
		`{"host":"localhost","port":%d,"username":"app","password":"p","dbname":"ORCL"%s}`,
		l.Addr().(*net.TCPAddr).Port, more))
}

func serverTLS(t *testing.T) (*tls.Config, engine.TLSPolicy) {
	t.Helper()
	ca, err := testserver.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue("localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(leaf.CertPEM, leaf.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, engine.TLSPolicy{ExtraCAs: ca.PEM}
}

func TestDBNameIsTriedAsSIDAndServiceInTheTemplatesOrder(t *testing.T) {
	config, policy := serverTLS(t)
	secure, plain := newListener(t, config), newListener(t, nil)
	for _, l := range []*listener{secure, plain} {
		l.message = "(DESCRIPTION=(TMP=)(VSNNUM=0)(ERR=12514)(ERROR_STACK=(ERROR=(CODE=12514)(EMFI=4))))"
	}
	want(t, engine.InvalidSecret, New(policy).Verify(enginetest.Within(t), &engine.Request{}, secure.value("")))
	want(t, engine.InvalidSecret, New(policy).
		Verify(enginetest.Within(t), &engine.Request{}, plain.value(`,"ssl":false`)))
	for _, row := range []struct {
		l      *listener
		first  string
		second string
	}{{secure, "(SID=ORCL)", "(SERVICE_NAME=ORCL)"}, {plain, "(SERVICE_NAME=ORCL)", "(SID=ORCL)"}} {
		if len(row.l.asked) != 2 || !strings.Contains(row.l.asked[0], row.first) ||
			!strings.Contains(row.l.asked[1], row.second) {
			t.Errorf("asked %q", row.l.asked)
		}
	}
	if !strings.Contains(secure.asked[0], "(PROTOCOL=tcps)") {
		t.Errorf("asked %q", secure.asked[0])
	}
	plain.message, plain.asked = "(DESCRIPTION=(ERR=12528))", nil
	want(t, engine.TargetFailed, New(policy).
		Verify(enginetest.Within(t), &engine.Request{}, plain.value(`,"ssl":false`)))
	if len(plain.asked) != 1 {
		t.Errorf("another refusal was answered by %q", plain.asked)
	}
}

// A connection that breaks during the TLS handshake looks the same as a listener without TLS, so only the secret allows
// plain text.
func TestTLSIsVerifiedAndPlainTextIsTheSecretsChoice(t *testing.T) {
	config, policy := serverTLS(t)
	secure, plain := newListener(t, config), newListener(t, nil)
	secure.message, plain.message = "(ERR=12528)", "(ERR=12528)"
	_, stranger := serverTLS(t)
	lax := engine.TLSPolicy{AllowPlaintext: true}
	stranger.AllowPlaintext = true
	for _, row := range []struct {
		name   string
		l      *listener
		policy engine.TLSPolicy
		ssl    string
		cause  engine.Cause
		asked  int
	}{
		{"verified", secure, policy, "", engine.TargetFailed, 1},
		{"unknown CA", secure, stranger, "", engine.TLSFailed, 0},
		{"no TLS", plain, lax, "", engine.TLSFailed, 0},
		{"no TLS, asked for", plain, lax, `,"ssl":true`, engine.TLSFailed, 0},
		{"plain text by the secret", plain, policy, `,"ssl":false`, engine.TargetFailed, 1},
	} {
		row.l.mu.Lock()
		row.l.asked, row.l.opened = nil, 0
		row.l.mu.Unlock()
		err := New(row.policy).Verify(enginetest.Within(t), &engine.Request{}, row.l.value(row.ssl))
		want(t, row.cause, err)
		if row.l == plain && row.asked == 0 && !strings.Contains(err.Error(), `"ssl": false`) {
			t.Errorf("%s: %v", row.name, err)
		}
		row.l.mu.Lock()
		if len(row.l.asked) != row.asked || row.l.opened != 1 {
			t.Errorf("%s: asked %q in %d connections", row.name, row.l.asked, row.l.opened)
		}
		row.l.mu.Unlock()
	}
}

func TestListenerCannotRedirectTheLogin(t *testing.T) {
	config, policy := serverTLS(t)
	other := newListener(t, nil)
	l := newListener(t, config)
	l.address = fmt.Sprintf("(PROTOCOL=tcp)(HOST=127.0.0.1)(PORT=%d)", other.Addr().(*net.TCPAddr).Port)
	err := New(policy).Verify(enginetest.Within(t), &engine.Request{}, l.value(""))
	want(t, engine.TargetFailed, err)
	if err == nil || !strings.Contains(err.Error(), "another address") {
		t.Errorf("%v", err)
	}
	if len(other.asked) != 0 {
		t.Errorf("the other address was asked %q", other.asked)
	}
}

func TestSilentServerDoesNotBlock(t *testing.T) {
	port := testserver.Blackhole(t)
	for _, ssl := range []string{"true", "false"} {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		v := engine.StringValue(fmt.Sprintf(
			`{"host":"127.0.0.1","port":%d,"username":"u","password":"p","dbname":"x","ssl":%s}`, port, ssl))
		want(t, engine.Unreachable, New(engine.TLSPolicy{}).Verify(ctx, &engine.Request{}, v))
		if d := time.Since(start); d > 450*time.Millisecond {
			t.Errorf("the call took %s", d)
		}
	}
	l := newListener(t, nil)
	l.Close()
	want(t, engine.Unreachable, New(engine.TLSPolicy{}).
		Verify(enginetest.Within(t), &engine.Request{}, l.value(`,"ssl":false`)))
	want(t, engine.NameNotResolved, New(engine.TLSPolicy{}).Verify(enginetest.Within(t), &engine.Request{}, l.value("").
		With("host", "no-such-host.invalid")))
}
