package rabbitmq

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// fixture is a server with an engine that trusts it.
type fixture struct {
	*server
	t      testing.TB
	engine *Engine
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	s := sharedServer(t, false)
	return &fixture{s, t, New(engine.TLSPolicy{ExtraCAs: s.CA.PEM})}
}

// call calls the API as the administrator.
func (f *fixture) call(ctx context.Context, method, path string, body, out any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	status, answer, err := f.request(ctx, f.User, f.Password, method, path, content)
	if err != nil {
		return err
	}
	if status >= 300 {
		return fmt.Errorf("%s %s: status %d: %s", method, path, status, answer)
	}
	if out != nil {
		return json.Unmarshal(answer, out)
	}
	return nil
}

// front starts a proxy in front of the server and returns an engine that trusts it. The proxy answers 503 if fail
// returns true.
func (f *fixture) front(r *engine.Request, fail func(*http.Request) bool) *Engine {
	back, err := url.Parse(f.URL())
	if err != nil {
		f.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = back.Scheme, back.Host, ""
		},
		Transport: &http.Transport{TLSClientConfig: f.CA.ClientTLS(f.Host)},
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fail(r) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	f.t.Cleanup(s.Close)
	r.Login = r.Login.WithJSON(portField, []byte(strconv.Itoa(s.Listener.Addr().(*net.TCPAddr).Port))).
		With("host", "127.0.0.1")
	return New(engine.TLSPolicy{ExtraCAs: pem.EncodeToMemory(&pem.Block{
		Type: "CERTIFICATE", Bytes: s.Certificate().Raw})})
}

// must makes a change as the administrator.
func (f *fixture) must(method, path string, body any) {
	f.t.Helper()
	if err := f.call(context.Background(), method, path, body, nil); err != nil {
		f.t.Fatal(err)
	}
}

// user creates a user whose password is "first-" and its name.
func (f *fixture) user(tags string) string {
	f.t.Helper()
	name := testserver.Unique("app-")
	f.must("PUT", "/api/users/"+name, map[string]string{"password": "first-" + name, "tags": tags})
	return name
}

func (f *fixture) show(name string) (u user) {
	f.t.Helper()
	if err := f.call(context.Background(), "GET", path("users", name), nil, &u); err != nil {
		f.t.Fatal(err)
	}
	return u
}

func (f *fixture) exists(name string) bool {
	f.t.Helper()
	status, _, err := f.request(context.Background(), f.User, f.Password, "GET", path("users", name), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return status != 404
}

func (f *fixture) value(user, password string) engine.Value {
	return engine.StringValue(fmt.Sprintf(`{"engine":"rabbitmq","host":%q,"port":%d,"managementPort":%d}`,
		f.Host, f.AMQPPort, f.Port)).
		With("username", user).With("password", password)
}

// bySuperuser returns a request to rotate one user by the superuser.
func (f *fixture) bySuperuser(user, current, pending string) *engine.Request {
	return &engine.Request{Secret: "arn", Version: "v", Strategy: engine.SingleUser, Current: f.value(user, current),
		Pending: f.value(user, pending),
		Login:   f.value(f.User, f.Password), Superuser: true, SuperuserChanges: true}
}

// toOther returns a request to rotate to the other user.
func (f *fixture) toOther(current, other string) *engine.Request {
	r := f.bySuperuser(current, "first-"+current, "next-"+other)
	r.Strategy = engine.AlternatingUsers
	r.Pending = r.Pending.With("username", other)
	return r
}

// amqp logs in over AMQP, as clients do, and reports whether the server accepts it.
func (f *fixture) amqp(user, password string) (bool, error) {
	c, err := f.dial(user, password)
	if err != nil {
		return false, err
	}
	defer c.Close()
	class, method, _, err := c.frame()
	if errors.Is(err, io.EOF) {
		err = nil // the refusal for a client that announces no capabilities
	}
	return class == 10 && method == 30, err // connection.tune
}

// link is a connection with enough of AMQP 0-9-1 for the tests. After a failure, it does nothing.
type link struct {
	net.Conn
	failed error
}

// dial connects and sends a login.
func (f *fixture) dial(user, password string) (*link, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp",
		fmt.Sprintf("%s:%d", f.Host, f.AMQPPort), f.CA.ClientTLS(f.Host))
	if err != nil {
		return nil, err
	}
	c := &link{Conn: conn}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err = c.Write([]byte("AMQP\x00\x00\x09\x01")); err == nil {
		err = c.answer(10, 10) // connection.start
	}
	if err == nil {
		// connection.start-ok, no properties
		err = c.send(0, 10, 11, "\x00\x00\x00\x00"+short("PLAIN")+long("\x00"+user+"\x00"+password)+short("en_US"))
	}
	if err != nil {
		c.Close()
	}
	return c, err
}

// open logs in and opens the virtual host / and a channel.
func (f *fixture) open(user, password string) (*link, error) {
	c, err := f.dial(user, password)
	if err != nil {
		return c, err
	}
	_ = c.answer(10, 30) // connection.tune
	// connection.tune-ok: one channel, frames of 128 KiB, no heartbeat
	_ = c.send(0, 10, 31, "\x00\x01\x00\x02\x00\x00\x00\x00")
	_ = c.call(0, 10, 40, short("/")+"\x00\x00") // connection.open
	err = c.call(1, 20, 10, "\x00")              // channel.open
	if err != nil {
		c.Close()
	}
	return c, err
}

// declare creates a queue, or checks that it exists as declared.
func (c *link) declare(queue string, exclusive bool) error {
	bits := "\x00"
	if exclusive {
		bits = "\x04"
	}
	return c.call(1, 50, 10, "\x00\x00"+short(queue)+bits+"\x00\x00\x00\x00")
}

// pass publishes a message to a queue and gets it back.
func (c *link) pass(queue string) error {
	_ = c.call(1, 85, 10, "\x00")                                                 // confirm.select
	_ = c.send(1, 60, 40, "\x00\x00"+short("")+short(queue)+"\x00")               // basic.publish
	_ = c.write(2, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00") // its header
	_ = c.write(3, 1, "m")                                                        // its body
	_ = c.answer(60, 80)                                                          // basic.ack
	return c.call(1, 60, 70, "\x00\x00"+short(queue)+"\x01")                      // basic.get
}

func short(s string) string { return string(byte(len(s))) + s }

func long(s string) string { return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s }

// call sends a method whose answer has the next number.
func (c *link) call(channel, class, method uint16, arguments string) error {
	if err := c.send(channel, class, method, arguments); err != nil {
		return err
	}
	return c.answer(class, method+1)
}

func (c *link) send(channel, class, method uint16, arguments string) error {
	head := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, class), method)
	return c.write(1, channel, string(head)+arguments)
}

// write sends a frame.
func (c *link) write(kind byte, channel uint16, payload string) error {
	head := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	if c.failed == nil {
		_, c.failed = io.WriteString(c, string(head)+long(payload)+"\xce")
	}
	return c.failed
}

// answer expects a method from the server.
func (c *link) answer(class, method uint16) error {
	if c.failed != nil {
		return c.failed
	}
	k, m, rest, err := c.frame()
	if c.failed = err; err == nil && (k != class || m != method) {
		c.failed = fmt.Errorf("the server answers %d.%d, want %d.%d: %q", k, m, class, method, rest)
	}
	return c.failed
}

// frame reads a frame, which begins a method.
func (c *link) frame() (class, method uint16, rest []byte, err error) {
	var head [7]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, 0, nil, err
	}
	payload := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
	if _, err := io.ReadFull(c, payload); err != nil {
		return 0, 0, nil, err
	}
	return binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:]), payload[4 : len(payload)-1], nil
}
