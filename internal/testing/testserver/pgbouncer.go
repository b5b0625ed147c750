package testserver

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// PgBouncerOptions configures a pooler: its server, and the pool mode ("session" or "transaction").
type PgBouncerOptions struct {
	Server *PostgresServer
	Mode   string
	// Users are the lines of the user file, such as `"app" "password"`. Other users are looked up at the server at each
	// login (auth_query).
	Users string
}

// StartPgBouncer starts the PgBouncer of Debian 13, which `make deps-next` fetches. It returns the server as clients
// see it through the pooler, with the pooler's certificate. Measured on two cores: 0.2 s.
func StartPgBouncer(ctx context.Context, o PgBouncerOptions) (*PostgresServer, error) {
	path, err := cached(trixie+"/usr/sbin/pgbouncer", "deps-next")
	if err != nil {
		return nil, err
	}
	server, err := prepare("pgbouncer", false, o.Server.CA, nil)
	if err != nil {
		return nil, err
	}
	s := *o.Server
	s.Server = *server
	s.User, s.Password = o.Server.User, o.Server.Password
	lookup, password := Unique("lookup_"), Unique("lookup-")
	return &s, s.start(ctx, launch{
		setup: func(ctx context.Context) error { return o.Server.lookup(ctx, lookup, password) },
		files: func(port int) map[string]string {
			return map[string]string{"users": fmt.Sprintf("%q %q\n%s\n", lookup, password, o.Users),
				"pgbouncer.ini": fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
pool_mode = %s
max_db_connections = 40
client_tls_sslmode = require
client_tls_cert_file = %s
client_tls_key_file = %s
server_tls_sslmode = verify-full
server_tls_ca_file = %s
auth_type = scram-sha-256
auth_file = %s
auth_user = %s
auth_dbname = postgres
auth_query = SELECT name, verifier FROM public.%[8]s($1)
`, o.Server.Port, port, o.Mode, s.path("server.crt"), s.path("server.key"), s.CAFile, s.path("users"), lookup)}
		},
		command: func(int) []string { return []string{path, s.path("pgbouncer.ini")} },
		ready: func(ctx context.Context) error {
			conn, err := pgx.Connect(ctx, s.URL("postgres"))
			if err != nil {
				return err
			}
			return conn.Close(ctx)
		},
	})
}

// lookup creates a role that may only read one user's verifier at a time. For an unknown user it gets no row, because a
// row with NULL is an error to the pooler.
// Source: https://www.pgbouncer.org/config.html#auth_query
func (s *PostgresServer) lookup(ctx context.Context, role, password string) error {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, fmt.Sprintf(`CREATE ROLE %[1]s LOGIN PASSWORD '%[2]s';
CREATE FUNCTION public.%[1]s(text, OUT name name, OUT verifier text) RETURNS SETOF record
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
	AS 'SELECT usename, passwd FROM pg_shadow WHERE usename = $1';
REVOKE ALL ON FUNCTION public.%[1]s(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.%[1]s(text) TO %[1]s`, role, password))
	return err
}

// PgBouncer starts a pooler that ends with the test.
var PgBouncer = during(StartPgBouncer)
