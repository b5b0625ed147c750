package testserver

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// RabbitMQOptions configures RabbitMQ. The zero value serves the management API over HTTPS.
type RabbitMQOptions struct {
	// NoTLS serves the management API over HTTP instead.
	NoTLS bool
}

// RabbitMQServer is a running RabbitMQ. Port serves the management API.
type RabbitMQServer struct {
	Web
	// AMQPPort serves AMQP over TLS, or without it under NoTLS.
	AMQPPort int
}

//go:embed conf/enabled_plugins conf/rabbitmq.conf conf/rabbitmq.sh
var rabbitMQFiles embed.FS

// StartRabbitMQ starts the machine's RabbitMQ with the management plugin, as a node with its own port mapper (epmd).
// Measured on two cores: 6 s. Stop and Halt kill it, because an orderly shutdown takes six more seconds.
func StartRabbitMQ(ctx context.Context, o RabbitMQOptions) (*RabbitMQServer, error) {
	// Debian's rabbitmq-server in PATH requires the user rabbitmq.
	if _, err := Find(Release()+"/usr/lib/rabbitmq/bin/rabbitmq-server", "deps"); err != nil {
		return nil, err
	}
	s := &RabbitMQServer{Web: Web{Server: NewServer("rabbitmq", o.NoTLS, nil, nil)}}
	options := struct {
		RabbitMQOptions
		Distribution, Mapper int // ports
	}{RabbitMQOptions: o}
	return s, s.Start(ctx, Launch{
		Program: "/bin/sh",
		Ports:   []*int{&s.AMQPPort, &options.Distribution, &options.Mapper},
		Files:   rabbitMQFiles, S: s, O: &options,
		Args: func() []string { return []string{s.Path("rabbitmq.sh")} },
		// See StartRabbitMQ.
		Signal: "KILL",
		Ready: func(ctx context.Context) error {
			status, _, err := s.call(ctx, http.MethodGet, "/api/whoami", nil)
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

// RabbitMQ starts a RabbitMQ that ends with the test.
var RabbitMQ = During(StartRabbitMQ)

// SharedRabbitMQ returns this test binary's RabbitMQ with these options. Tests share its users: use Unique for names.
var SharedRabbitMQ = Shared(StartRabbitMQ)

// Call calls the management API as the administrator, such as PUT "/api/users/app", with body as JSON. It returns the
// status and the body of the response.
func (s *RabbitMQServer) Call(t testing.TB, method, path string, body any) (int, string) {
	t.Helper()
	status, answer, err := s.call(context.Background(), method, path, body)
	Must(t, err, "rabbitmq")
	return status, answer
}

func (s *RabbitMQServer) call(ctx context.Context, method, path string, body any) (int, string, error) {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return 0, "", err
		}
	}
	status, answer, err := s.Ask(ctx, method, path, content, Basic(s.User, s.Password))
	return status, strings.TrimSpace(string(answer)), err
}
