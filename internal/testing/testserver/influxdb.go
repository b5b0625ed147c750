package testserver

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"
)

// InfluxDBOptions configures InfluxDB. The zero value serves HTTPS.
type InfluxDBOptions struct {
	// NoTLS serves HTTP instead.
	NoTLS bool
	// CA issues the certificate; nil makes a new CA.
	CA *CA
	// Cert is the server's certificate; nil is one for localhost and 127.0.0.1.
	Cert *Certificate
}

// InfluxDBServer is a running InfluxDB 1 with authentication on.
type InfluxDBServer struct {
	web
}

// StartInfluxDB starts the InfluxDB 1 that scripts/deps.sh builds. Measured on two cores: 0.2 s.
func StartInfluxDB(ctx context.Context, o InfluxDBOptions) (*InfluxDBServer, error) {
	influxd, ok := cached("influxdb-1.7.11/influxd")
	if !ok {
		return nil, missing("influxd", "deps")
	}
	server, err := prepare("influxdb", o.CA, o.Cert)
	if err != nil {
		return nil, fmt.Errorf("influxdb: %w", err)
	}
	s := &InfluxDBServer{web: web{*server, o.NoTLS}}
	err = s.start(ctx, launch{
		command: func(port int) []string {
			// The file contains the port, so it is written here. If that fails, the server does not
			// start.
			_ = s.write("influxdb.conf", fmt.Sprintf(`reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "%[1]s/meta"
[data]
dir = "%[1]s/data"
wal-dir = "%[1]s/wal"
[http]
bind-address = "127.0.0.1:%[2]d"
auth-enabled = true
https-enabled = %[3]t
https-certificate = "%[1]s/server.crt"
https-private-key = "%[1]s/server.key"
[monitor]
store-enabled = false
`, s.Dir, port, !o.NoTLS))
			return []string{influxd, "-config", s.path("influxdb.conf")}
		},
		// Without an administrator the server lets anyone create the first one. Later, the same
		// statement by that administrator also succeeds.
		ready: func(ctx context.Context) error {
			statement := fmt.Sprintf("CREATE USER %s WITH PASSWORD '%s' WITH ALL PRIVILEGES", s.User, s.Password)
			status, _, err := s.query(ctx, o.Cert != nil, s.User, s.Password, statement)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("the first user: status %d", status)
			}
			return err
		},
	})
	if err != nil {
		return nil, fmt.Errorf("influxdb: %w", err)
	}
	return s, nil
}

// InfluxDB starts an InfluxDB that ends with the test.
func InfluxDB(t testing.TB, o InfluxDBOptions) *InfluxDBServer {
	t.Helper()
	return during(t, StartInfluxDB, o)
}

var sharedInfluxDB pool[InfluxDBOptions, *InfluxDBServer]

// SharedInfluxDB returns this test binary's InfluxDB 1 with these options. Tests share its users:
// use Unique for names.
func SharedInfluxDB(t testing.TB, o InfluxDBOptions) *InfluxDBServer {
	t.Helper()
	return sharedInfluxDB.get(t, StartInfluxDB, o)
}

// Query runs a statement as a user and returns the HTTP status and the body.
func (s *InfluxDBServer) Query(t testing.TB, user, password, statement string) (int, string) {
	t.Helper()
	status, body, err := s.query(context.Background(), false, user, password, statement)
	if err != nil {
		t.Fatalf("testserver: influxdb: %v", err)
	}
	return status, body
}

func (s *InfluxDBServer) query(ctx context.Context, anyName bool,
	user, password, statement string) (int, string, error) {
	form := url.Values{"q": {statement}}.Encode()
	status, answer, err := s.ask(ctx,
		question{method: http.MethodPost, path: "/query", kind: "application/x-www-form-urlencoded", body: []byte(form),
			authorize: basic(user, password), anyName: anyName})
	return status, string(answer), err
}
