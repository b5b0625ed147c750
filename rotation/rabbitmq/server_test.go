package rabbitmq

import (
	"context"
	"embed"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

// server is a running RabbitMQ. Port serves the management API over HTTPS, or over HTTP under NoTLS.
type server struct {
	testserver.Web
	// AMQPPort serves AMQP over TLS, or without it under NoTLS.
	AMQPPort int
}

//go:embed testdata/enabled_plugins testdata/rabbitmq.conf testdata/rabbitmq.sh
var serverFiles embed.FS

// startServer starts the machine's RabbitMQ with the management plugin, as a node with its own port mapper (epmd).
// Measured on two cores: 6 s. Stop and Halt kill it, because an orderly shutdown takes six more seconds.
func startServer(ctx context.Context, noTLS bool) (*server, error) {
	// Debian's rabbitmq-server in PATH requires the user rabbitmq.
	if _, err := testserver.Find(testserver.Release()+"/usr/lib/rabbitmq/bin/rabbitmq-server", "deps"); err != nil {
		return nil, err
	}
	s := &server{Web: testserver.Web{Server: testserver.NewServer("rabbitmq", noTLS, nil, nil)}}
	var ports struct{ Distribution, Mapper int }
	return s, s.Start(ctx, testserver.Launch{
		Program: "/bin/sh",
		Ports:   []*int{&s.AMQPPort, &ports.Distribution, &ports.Mapper},
		Files:   serverFiles, S: s, O: &ports,
		Args: func() []string { return []string{s.Path("rabbitmq.sh")} },
		// See startServer.
		Signal: "KILL",
		Ready: func(ctx context.Context) error {
			status, _, err := s.request(ctx, s.User, s.Password, http.MethodGet, "/api/whoami", nil)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("whoami: status %d", status)
			}
			if err != nil {
				return err
			}
			// The AMQP port opens later than the management API's.
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp",
				net.JoinHostPort("127.0.0.1", strconv.Itoa(s.AMQPPort)))
			if err != nil {
				return err
			}
			return conn.Close()
		},
	})
}

// newServer starts a RabbitMQ that ends with the test.
var newServer = testserver.During(startServer)

// sharedServer returns this test binary's RabbitMQ. Tests share its users: use Unique for names.
var sharedServer = testserver.Shared(startServer)

// request calls the management API as a user, and returns the status and the body of the response.
func (s *server) request(ctx context.Context, user, password, method, path string, body []byte) (int, []byte, error) {
	return s.Ask(ctx, method, path, body, func(r *http.Request) {
		r.SetBasicAuth(user, password)
		r.Header.Set("Content-Type", "application/json")
	})
}

func TestServer(t *testing.T) {
	s := newServer(t, false)
	user := testserver.Unique("app")
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{http.MethodPut, "/api/users/" + user, `{"password":"fixture","tags":"monitoring"}`, http.StatusCreated},
		{http.MethodGet, "/api/users/" + user, "", http.StatusOK},
	} {
		status, answer, err := s.request(t.Context(), s.User, s.Password, c.method, c.path, []byte(c.body))
		if err != nil || status != c.want {
			t.Errorf("%s: %d %s, %v", c.method, status, answer, err)
		}
	}
	testserver.CheckTLS(t, &s.Server)
	testserver.CheckStop(t, &s.Server)
}
