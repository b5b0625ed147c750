package testserver

import (
	"context"
	"embed"
	"fmt"
	"net/http"
	"net/url"
	"testing"
)

// InfluxDBServer is a running InfluxDB 1 with authentication on. It serves HTTPS.
type InfluxDBServer struct {
	Web
}

//go:embed conf/influxdb.conf
var influxDBFiles embed.FS

// startInfluxDB starts the InfluxDB 1 that scripts/deps.sh builds. Measured on two cores: 0.2 s.
func startInfluxDB(ctx context.Context, _ struct{}) (*InfluxDBServer, error) {
	s := &InfluxDBServer{Web{Server: NewServer("influxdb", false, nil, nil)}}
	return s, s.Start(ctx, Launch{
		Program: "influxdb-1.7.11/influxd",
		Files:   influxDBFiles, S: s,
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

// SharedInfluxDB returns this test binary's InfluxDB 1. Tests share its users: use Unique for names.
func SharedInfluxDB(t testing.TB) *InfluxDBServer {
	t.Helper()
	return sharedInfluxDB(t, struct{}{})
}

var sharedInfluxDB = Shared(startInfluxDB)

// Query runs a statement as a user and returns the HTTP status and the body.
func (s *InfluxDBServer) Query(t testing.TB, user, password, statement string) (int, string) {
	t.Helper()
	status, body, err := s.query(context.Background(), user, password, statement)
	Must(t, err, "influxdb")
	return status, string(body)
}

func (s *InfluxDBServer) query(ctx context.Context, user, password, statement string) (int, []byte, error) {
	form := url.Values{"q": {statement}}.Encode()
	return s.Ask(ctx, http.MethodPost, "/query", []byte(form), func(r *http.Request) {
		r.SetBasicAuth(user, password)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	})
}
