package influxdb2

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

// influxServer is the part of InfluxDB 2.7 for users, sessions and tokens: InfluxDB's own packages without the time
// series (see testdata/server). It serves HTTPS. Its administrator and Token have all rights.
type influxServer struct {
	testserver.Web
	Token string
}

// startServer starts the program that scripts/deps.sh builds. Measured on two cores: 0.1 s.
func startServer(ctx context.Context, _ struct{}) (*influxServer, error) {
	s := &influxServer{Web: testserver.Web{Server: testserver.NewServer("influxdb2", false, nil, nil)},
		Token: testserver.Unique("operator-")}
	s.Password = testserver.Unique("Operator-") // with every kind of character that the server requires
	return s, s.Start(ctx, testserver.Launch{
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

// sharedServer returns this test binary's InfluxDB 2. Tests share its users: use Unique for names.
var sharedServer = testserver.Shared(startServer)

// Call calls the API with a token, such as POST "/api/v2/users", with body as JSON. It returns the status and the body
// of the response.
func (s *influxServer) Call(ctx context.Context, token, method, path string, body any) (int, []byte, error) {
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
func (s *influxServer) SignIn(ctx context.Context, user, password string) (int, error) {
	status, _, err := s.Ask(ctx, http.MethodPost, "/api/v2/signin", nil, func(r *http.Request) {
		r.SetBasicAuth(user, password)
	})
	return status, err
}

func TestServer(t *testing.T) {
	s := testserver.During(startServer)(t, struct{}{})
	if status, err := s.SignIn(t.Context(), s.User, s.Password); status != http.StatusNoContent {
		t.Errorf("the password: %d, %v", status, err)
	}
	if status, err := s.SignIn(t.Context(), s.User, "wrong"); status != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d, %v", status, err)
	}
	for token, want := range map[string]int{s.Token: http.StatusOK, "wrong": http.StatusUnauthorized} {
		if status, body, err := s.Call(t.Context(), token, http.MethodGet, "/api/v2/orgs", nil); status != want {
			t.Errorf("orgs: %d, %v: %s", status, err, body)
		}
	}
	testserver.CheckTLS(t, &s.Server)
	testserver.CheckStop(t, &s.Server)
}
