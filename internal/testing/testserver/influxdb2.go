package testserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// InfluxDB2Options configures InfluxDB 2. The zero value serves HTTPS.
type InfluxDB2Options struct {
	// NoTLS serves HTTP instead.
	NoTLS bool
	// CA issues the certificate; nil makes a new CA.
	CA *CA
	// Cert is the server's certificate; nil is one for localhost and 127.0.0.1.
	Cert *Certificate
}

// InfluxDB2Server is the part of InfluxDB 2.7 for users, sessions and tokens: its own packages
// without the time series (see the folder influxdb2). Its administrator and Token have all rights.
type InfluxDB2Server struct {
	web
	Token string
}

// StartInfluxDB2 starts the program that scripts/deps.sh builds. Measured on two cores: 0.1 s.
func StartInfluxDB2(ctx context.Context, o InfluxDB2Options) (*InfluxDB2Server, error) {
	path, ok := cached("influxdb-2.7.12-1/influxdb2")
	if !ok {
		return nil, missing("influxdb2", "deps")
	}
	server, err := prepare("influxdb2", o.CA, o.Cert)
	if err != nil {
		return nil, fmt.Errorf("influxdb2: %w", err)
	}
	s := &InfluxDB2Server{web: web{*server, o.NoTLS}, Token: Unique("operator-")}
	s.Password = Unique("Operator-") // with every kind of character that it requires
	err = s.start(ctx, launch{
		command: func(port int) []string {
			command := []string{path, "-listen", fmt.Sprintf("127.0.0.1:%d", port)}
			if o.NoTLS {
				return command
			}
			return append(command, "-cert", s.path("server.crt"), "-key", s.path("server.key"))
		},
		env: []string{"INFLUXDB2_USER=" + s.User, "INFLUXDB2_PASSWORD=" + s.Password, "INFLUXDB2_TOKEN=" + s.Token},
		ready: func(ctx context.Context) error {
			status, body, err := s.call(ctx, o.Cert != nil, s.byToken(s.Token), http.MethodGet, "/api/v2/me", nil)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("status %d: %s", status, body)
			}
			return err
		},
	})
	if err != nil {
		return nil, fmt.Errorf("influxdb2: %w", err)
	}
	return s, nil
}

var sharedInfluxDB2 pool[InfluxDB2Options, *InfluxDB2Server]

// SharedInfluxDB2 returns this test binary's InfluxDB 2 with these options. Tests share its users:
// use Unique for names.
func SharedInfluxDB2(t testing.TB, o InfluxDB2Options) *InfluxDB2Server {
	t.Helper()
	return sharedInfluxDB2.get(t, StartInfluxDB2, o)
}

// Call calls the API with a token, such as POST "/api/v2/users", sends body as JSON, and returns
// the status and the body of the response.
func (s *InfluxDB2Server) Call(ctx context.Context, token, method, path string, body any) (int, []byte, error) {
	return s.call(ctx, false, s.byToken(token), method, path, body)
}

// SignIn returns the HTTP status of a user's login. It does not keep the session.
func (s *InfluxDB2Server) SignIn(ctx context.Context, user, password string) (int, error) {
	status, _, err := s.call(ctx, false, basic(user, password), http.MethodPost, "/api/v2/signin", nil)
	return status, err
}

func (s *InfluxDB2Server) byToken(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Token "+token) }
}

func (s *InfluxDB2Server) call(ctx context.Context, anyName bool, authorize func(*http.Request), method, path string,
	body any) (int, []byte, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	return s.ask(ctx, question{method: method, path: path, kind: "application/json", body: content,
		authorize: authorize, anyName: anyName})
}
