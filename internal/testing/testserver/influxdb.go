package testserver

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"
)

// InfluxDBServer is a running InfluxDB 1 with authentication on. It serves HTTPS.
type InfluxDBServer struct {
	web
}

// startInfluxDB starts the InfluxDB 1 that scripts/deps.sh builds. Measured on two cores: 0.2 s.
func startInfluxDB(ctx context.Context, _ struct{}) (*InfluxDBServer, error) {
	s := &InfluxDBServer{web{newServer("influxdb", false, nil, nil)}}
	return s, s.start(ctx, launch{
		program: "influxdb-1.7.11/influxd",
		conf:    []string{"influxdb.conf"}, data: confData{S: s},
		args: func() []string { return []string{"-config", s.path("influxdb.conf")} },
		// Anyone may create the first administrator. Later, the same statement by that administrator also succeeds.
		ready: func(ctx context.Context) error {
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

var sharedInfluxDB = shared(startInfluxDB)

// Query runs a statement as a user and returns the HTTP status and the body.
func (s *InfluxDBServer) Query(t testing.TB, user, password, statement string) (int, string) {
	t.Helper()
	status, body, err := s.query(context.Background(), user, password, statement)
	must(t, err, "influxdb")
	return status, string(body)
}

func (s *InfluxDBServer) query(ctx context.Context, user, password, statement string) (int, []byte, error) {
	form := url.Values{"q": {statement}}.Encode()
	return s.ask(ctx, http.MethodPost, "/query", []byte(form), func(r *http.Request) {
		r.SetBasicAuth(user, password)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	})
}
