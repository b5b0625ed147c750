package rabbitmq

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// fixture is a server with an engine that trusts it.
type fixture struct {
	*testserver.RabbitMQServer
	t      testing.TB
	engine *Engine
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	s := testserver.SharedRabbitMQ(t, testserver.RabbitMQOptions{})
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

func (f *fixture) request(ctx context.Context, user, password, method, path string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, f.URL()+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.SetBasicAuth(user, password)
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: f.CA.ClientTLS(f.Host), DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// must makes a change as the administrator.
func (f *fixture) must(method, path string, body any) {
	f.t.Helper()
	if err := f.call(context.Background(), method, path, body, nil); err != nil {
		f.t.Fatal(err)
	}
}

// user makes a user with the password "first-" and its name.
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

func (f *fixture) value(user, password string) engine.Value {
	return engine.StringValue(fmt.Sprintf(`{"engine":"rabbitmq","host":%q,"port":%d,"managementPort":%d}`, f.Host, f.AMQPPort, f.Port)).
		With("username", user).With("password", password)
}

// bySuperuser is a request for a rotation of one user by the superuser.
func (f *fixture) bySuperuser(user, current, pending string) *engine.Request {
	return &engine.Request{Secret: "arn", Version: "v", Strategy: engine.SingleUser, Current: f.value(user, current), Pending: f.value(user, pending),
		Login: f.value(f.User, f.Password), Superuser: true, SuperuserChanges: true}
}

// toOther is a request for a rotation to the other user.
func (f *fixture) toOther(current, other string) *engine.Request {
	r := f.bySuperuser(current, "first-"+current, "next-"+other)
	r.Strategy = engine.AlternatingUsers
	r.Pending = r.Pending.With("username", other)
	return r
}

// amqp logs in where the clients do. It speaks as much of AMQP 0-9-1 as that
// takes, and reports whether the server went on to tune the connection.
func (f *fixture) amqp(user, password string) (bool, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", fmt.Sprintf("%s:%d", f.Host, f.AMQPPort), f.CA.ClientTLS(f.Host))
	if err != nil {
		return false, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return false, err
	}
	if class, method, err := frame(conn); err != nil || class != 10 || method != 10 { // connection.start
		return false, fmt.Errorf("no connection.start: %d.%d, %w", class, method, err)
	}
	response := "\x00" + user + "\x00" + password
	body := []byte{0, 10, 0, 11, 0, 0, 0, 0} // connection.start-ok, no properties
	body = append(body, byte(len("PLAIN")))
	body = append(body, "PLAIN"...)
	body = binary.BigEndian.AppendUint32(body, uint32(len(response)))
	body = append(body, response...)
	body = append(body, byte(len("en_US")))
	body = append(body, "en_US"...)
	out := append([]byte{1, 0, 0}, binary.BigEndian.AppendUint32(nil, uint32(len(body)))...)
	if _, err := conn.Write(append(append(out, body...), 0xCE)); err != nil {
		return false, err
	}
	class, method, err := frame(conn)
	if errors.Is(err, io.EOF) {
		return false, nil // how a client that announces no capability is refused
	}
	return err == nil && class == 10 && method == 30, err // connection.tune
}

// frame reads a frame and returns its method.
func frame(r io.Reader) (class, method uint16, err error) {
	var head [7]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, err
	}
	payload := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, 0, err
	}
	return binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:]), nil
}
