package influxdb

import (
	"context"
	"embed"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

// influxServer is a running InfluxDB 1 with authentication on. It serves HTTPS.
type influxServer struct {
	testserver.Web
}

//go:embed testdata/influxdb.conf
var serverFiles embed.FS

// startServer starts the InfluxDB 1 that scripts/deps.sh builds. Measured on two cores: 0.2 s.
func startServer(ctx context.Context, _ struct{}) (*influxServer, error) {
	s := &influxServer{Web: testserver.Web{Server: testserver.NewServer("influxdb", false, nil, nil)}}
	return s, s.Start(ctx, testserver.Launch{
		Program: "influxdb-1.7.11/influxd",
		Files:   serverFiles, S: s,
		Args: func() []string { return []string{"-config", s.Path("influxdb.conf")} },
		// Anyone may create the first administrator. Later, the same statement by that administrator also succeeds.
		Ready: func(ctx context.Context) error {
			statement := fmt.Sprintf("CREATE USER %s WITH PASSWORD '%s' WITH ALL PRIVILEGES", s.User, s.Password)
			status, _, err := s.query(ctx, s.User, s.Password, statement)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("the first user: status %d", status)
			}
			return err
		},
	})
}

// sharedServer returns this test binary's InfluxDB 1. Tests share its users: use Unique for names.
var sharedServer = testserver.Shared(startServer)

// Query runs a statement as a user and returns the HTTP status and the body.
func (s *influxServer) Query(t testing.TB, user, password, statement string) (int, string) {
	t.Helper()
	status, body, err := s.query(context.Background(), user, password, statement)
	testserver.Must(t, err, "influxdb")
	return status, string(body)
}

func (s *influxServer) query(ctx context.Context, user, password, statement string) (int, []byte, error) {
	form := url.Values{"q": {statement}}.Encode()
	return s.Ask(ctx, http.MethodPost, "/query", []byte(form), func(r *http.Request) {
		r.SetBasicAuth(user, password)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	})
}

func TestServer(t *testing.T) {
	s := testserver.During(startServer)(t, struct{}{})
	app := testserver.Unique("app")
	if status, body := s.Query(t, s.User, s.Password,
		"CREATE USER "+app+" WITH PASSWORD 'fixture'"); status != http.StatusOK || strings.Contains(body, "error") {
		t.Errorf("create a user: %d %s", status, body)
	}
	if status, _ := s.Query(t, app, "fixture", "SHOW DATABASES"); status != http.StatusOK {
		t.Errorf("the password: %d", status)
	}
	if status, _ := s.Query(t, app, "wrong", "SHOW DATABASES"); status != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d", status)
	}
	testserver.CheckTLS(t, &s.Server)
	testserver.CheckStop(t, &s.Server)
}
