package testserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// InfluxDB2Server is the part of InfluxDB 2.7 for users, sessions and tokens: InfluxDB's own packages without the time
// series (see the folder influxdb2). It serves HTTPS. Its administrator and Token have all rights.
type InfluxDB2Server struct {
	Web
	Token string
}

// startInfluxDB2 starts the program that scripts/deps.sh builds. Measured on two cores: 0.1 s.
func startInfluxDB2(ctx context.Context, _ struct{}) (*InfluxDB2Server, error) {
	s := &InfluxDB2Server{Web: Web{Server: NewServer("influxdb2", false, nil, nil)}, Token: Unique("operator-")}
	s.Password = Unique("Operator-") // with every kind of character that the server requires
	return s, s.Start(ctx, Launch{
		Program: "influxdb-2.7.12-1/influxdb2",
		Args: func() []string {
			return []string{"-listen", fmt.Sprintf("127.0.0.1:%d", s.Port), "-cert", s.Path("server.crt"),
				"-key", s.Path("server.key")}
		},
		Env: []string{"INFLUXDB2_USER=" + s.User, "INFLUXDB2_PASSWORD=" + s.Password, "INFLUXDB2_TOKEN=" + s.Token},
		Ready: func(ctx context.Context) error {
			status, body, err := s.Call(ctx, s.Token, http.MethodGet, "/api/v2/me", nil)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("status %d: %s", status, body)
			}
			return err
		},
	})
}

// SharedInfluxDB2 returns this test binary's InfluxDB 2. Tests share its users: use Unique for names.
func SharedInfluxDB2(t testing.TB) *InfluxDB2Server {
	t.Helper()
	return sharedInfluxDB2(t, struct{}{})
}

var sharedInfluxDB2 = Shared(startInfluxDB2)

// Call calls the API with a token, such as POST "/api/v2/users", with body as JSON. It returns the status and the body
// of the response.
func (s *InfluxDB2Server) Call(ctx context.Context, token, method, path string, body any) (int, []byte, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	return s.Ask(ctx, method, path, content, func(r *http.Request) {
		r.Header.Set("Authorization", "Token "+token)
		r.Header.Set("Content-Type", "application/json")
	})
}

// SignIn returns the HTTP status of a user's login. It does not keep the session.
func (s *InfluxDB2Server) SignIn(ctx context.Context, user, password string) (int, error) {
	status, _, err := s.Ask(ctx, http.MethodPost, "/api/v2/signin", nil, Basic(user, password))
	return status, err
}
