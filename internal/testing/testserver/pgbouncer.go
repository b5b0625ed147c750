package testserver

import (
	"context"
	"embed"
)

// PgBouncerOptions configures a pooler: its server, and the pool mode ("session" or "transaction").
type PgBouncerOptions struct {
	Server *PostgresServer
	Mode   string
	// Users are the lines of the user file, such as `"app" "password"`. The administrator looks up other users at the
	// server at each login (auth_query).
	Users string
}

//go:embed conf/pgbouncer.ini conf/userlist.txt
var pgBouncerFiles embed.FS

// StartPgBouncer starts the PgBouncer of Debian 13, which `make deps-next` fetches. It returns the server as clients
// see it through the pooler, with the pooler's certificate. Measured on two cores: 0.2 s.
func StartPgBouncer(ctx context.Context, o PgBouncerOptions) (*PostgresServer, error) {
	s := *o.Server
	s.Server = NewServer("pgbouncer", false, o.Server.CA, nil)
	s.User, s.Password = o.Server.User, o.Server.Password
	return &s, s.Start(ctx, Launch{
		Program: "pgbouncer",
		Files:   pgBouncerFiles, S: &s, O: o,
		Args:  func() []string { return []string{s.Path("pgbouncer.ini")} },
		Ready: s.login,
	})
}

// PgBouncer starts a pooler that ends with the test.
var PgBouncer = During(StartPgBouncer)
