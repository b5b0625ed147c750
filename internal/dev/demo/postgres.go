package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	embedded "github.com/fergusstrange/embedded-postgres"

	"example.com/rotator/internal/testing/testserver"
)

// startPostgres starts the machine's PostgreSQL. If there is none, it fetches embedded-postgres and starts that.
func (s *stage) startPostgres(ctx context.Context) (err error) {
	s.pg, err = testserver.StartPostgres(ctx, testserver.PostgresOptions{})
	if !errors.Is(err, testserver.ErrMissing) {
		return err
	}
	s.say("no PostgreSQL on this machine: fetching one")
	if fetching := fetchPostgres(); fetching != nil {
		return fmt.Errorf("%w, and none could be fetched: %w", err, fetching)
	}
	s.pg, err = testserver.StartPostgres(ctx, testserver.PostgresOptions{})
	return err
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
