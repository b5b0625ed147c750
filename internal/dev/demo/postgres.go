package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	embedded "github.com/fergusstrange/embedded-postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"example.com/rotator/internal/testing/testserver"
)

// startPostgres starts the machine's PostgreSQL. If there is none, it fetches embedded-postgres and starts that.
func startPostgres(ctx context.Context, out *screen) (*testserver.PostgresServer, error) {
	pg, err := testserver.StartPostgres(ctx, testserver.PostgresOptions{})
	if !errors.Is(err, testserver.ErrMissing) {
		return pg, err
	}
	out.say("no PostgreSQL on this machine: fetching one")
	if fetching := fetchPostgres(); fetching != nil {
		return nil, fmt.Errorf("%w, and none could be fetched: %w", err, fetching)
	}
	return testserver.StartPostgres(ctx, testserver.PostgresOptions{})
}

// fetchPostgres adds the programs of embedded-postgres to PATH.
func fetchPostgres() error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	port, err := testserver.FreePort()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "rotator", "postgres")
	// Starting it unpacks the programs; the server is then started like any other.
	e := embedded.NewDatabase(embedded.DefaultConfig().
		BinariesPath(cache).RuntimePath(cache + "-run").Port(uint32(port)).Logger(io.Discard))
	if err := e.Start(); err != nil {
		return err
	}
	if err := e.Stop(); err != nil {
		return err
	}
	return os.Setenv("PATH", filepath.Join(cache, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// sql runs a statement as the server's administrator.
func (s *stage) sql(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, s.pg.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

func (s *stage) login(user, password string) login {
	return login{Engine: "postgres", Host: s.pg.Host, Port: s.pg.Port, Username: user, Password: password,
		DBName: "postgres"}
}

func (s *stage) try(ctx context.Context, l login) error {
	conn, err := pgx.Connect(ctx, s.pg.URLFor(l.Username, l.Password, l.DBName))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// refused reports whether the server said that the password is wrong.
func refused(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "28P01"
}
