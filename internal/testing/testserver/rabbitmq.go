package testserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
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
	web
	// AMQPPort serves AMQP over TLS, or without it under NoTLS.
	AMQPPort int
}

// StartRabbitMQ starts the machine's RabbitMQ with the management plugin, as a node with its own port mapper (epmd).
// Measured on two cores: 6 s. Stop and Halt kill it, because an orderly shutdown takes six more seconds.
func StartRabbitMQ(ctx context.Context, o RabbitMQOptions) (*RabbitMQServer, error) {
	// Debian's rabbitmq-server in PATH requires the user rabbitmq.
	script := release() + "/usr/lib/rabbitmq/bin/rabbitmq-server"
	if _, err := os.Stat(script); err != nil {
		return nil, missing("rabbitmq-server", "deps")
	}
	server, err := prepare("rabbitmq", o.NoTLS, nil, nil)
	if err != nil {
		return nil, err
	}
	s := &RabbitMQServer{web: web{*server}}
	env := []string{
		"RABBITMQ_NODENAME=" + Unique("rotator") + "@localhost",
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_CONFIG_FILE=" + s.path("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + s.path("none"),
		"RABBITMQ_GENERATED_CONFIG_DIR=" + s.path("generated"),
		"RABBITMQ_SCHEMA_DIR=" + s.path("schema"),
		"RABBITMQ_MNESIA_BASE=" + s.path("data"),
		"RABBITMQ_LOG_BASE=" + s.Dir,
		"RABBITMQ_LOGS=-",
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + s.path("plugins"),
		"RABBITMQ_PID_FILE=" + s.path("pid"),
		// The script execs the node instead of waiting for it, so signals reach the node. The node does not read input.
		"RABBITMQ_ALLOW_INPUT=true",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-noinput",
		"ERL_EPMD_ADDRESS=127.0.0.1",
	}
	var distribution, mapper int // ports
	return s, s.start(ctx, launch{
		files: func(port int) map[string]string {
			// Without a port, the server does not start.
			for _, other := range []*int{&s.AMQPPort, &distribution, &mapper} {
				*other, _ = FreePort()
			}
			return map[string]string{"plugins": "[rabbitmq_management].\n", "rabbitmq.conf": s.config(port)}
		},
		command: func(int) []string {
			// Erlang would start its port mapper as a daemon that outlives the node. It uses a running one instead: the
			// guard's child.
			return []string{"sh", "-c",
				`PATH=$1:$PATH; export RABBITMQ_DIST_PORT=$2 ERL_EPMD_PORT=$3; epmd & mapper=$!
				until epmd -names >/dev/null; do kill -0 $mapper || exit 1; sleep 0.05; done; exec "$0"`,
				script, release() + "/usr/lib/erlang/bin", strconv.Itoa(distribution), strconv.Itoa(mapper)}
		},
		env: env,
		// See StartRabbitMQ.
		signal: "KILL",
		ready: func(ctx context.Context) error {
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

func (s *RabbitMQServer) config(port int) string {
	config := fmt.Sprintf("default_user = %s\ndefault_pass = %s\nloopback_users = none\nlog.console.level = info\n",
		s.User, s.Password)
	if s.NoTLS {
		return config + fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\n"+
			"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = %d\n", s.AMQPPort, port)
	}
	config += fmt.Sprintf("listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:%d\n"+
		"management.ssl.ip = 127.0.0.1\nmanagement.ssl.port = %d\n", s.AMQPPort, port)
	for _, section := range []string{"ssl_options", "management.ssl"} {
		config += fmt.Sprintf("%[1]s.cacertfile = %[2]s\n%[1]s.certfile = %[3]s\n%[1]s.keyfile = %[4]s\n",
			section, s.CAFile, s.path("server.crt"), s.path("server.key"))
	}
	return config + "ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n"
}

// RabbitMQ starts a RabbitMQ that ends with the test.
var RabbitMQ = during(StartRabbitMQ)

// SharedRabbitMQ returns this test binary's RabbitMQ with these options. Tests share its users: use Unique for names.
var SharedRabbitMQ = shared(StartRabbitMQ)

// Call calls the management API as the administrator, such as PUT "/api/users/app", with body as JSON. It returns the
// status and the body of the response.
func (s *RabbitMQServer) Call(t testing.TB, method, path string, body any) (int, string) {
	t.Helper()
	status, answer, err := s.call(context.Background(), method, path, body)
	if err != nil {
		t.Fatalf("testserver: rabbitmq: %v", err)
	}
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
	status, answer, err := s.ask(ctx, method, path, content, basic(s.User, s.Password))
	return status, strings.TrimSpace(string(answer)), err
}
