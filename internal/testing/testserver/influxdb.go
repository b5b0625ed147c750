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
	influxd, err := cached("influxdb-1.7.11/influxd", "deps")
	if err != nil {
		return nil, err
	}
	server, err := prepare("influxdb", false, nil, nil)
	if err != nil {
		return nil, err
	}
	s := &InfluxDBServer{web{*server}}
	return s, s.start(ctx, launch{
		files: func(port int) map[string]string {
			return map[string]string{"influxdb.conf": fmt.Sprintf(`reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "%[1]s/meta"
[data]
dir = "%[1]s/data"
wal-dir = "%[1]s/wal"
[http]
bind-address = "127.0.0.1:%[2]d"
auth-enabled = true
https-enabled = true
https-certificate = "%[1]s/server.crt"
https-private-key = "%[1]s/server.key"
[monitor]
store-enabled = false
`, s.Dir, port)}
		},
		command: func(int) []string { return []string{influxd, "-config", s.path("influxdb.conf")} },
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
	if err != nil {
		t.Fatalf("testserver: influxdb: %v", err)
	}
	return status, string(body)
}

func (s *InfluxDBServer) query(ctx context.Context, user, password, statement string) (int, []byte, error) {
	form := url.Values{"q": {statement}}.Encode()
	return s.ask(ctx, http.MethodPost, "/query", []byte(form), func(r *http.Request) {
		r.SetBasicAuth(user, password)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	})
}
