package testserver

import (
	"context"
	"embed"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresOptions configures PostgreSQL. The zero value starts the newest installed version, which accepts only TLS
// connections with SCRAM.
type PostgresOptions struct {
	// Major is a major version such as 18; 0 means the newest installed version.
	Major int
	// NoTLS starts a server without TLS, for tests of "ssl": false.
	NoTLS bool
	// HBA replaces the lines of pg_hba.conf. By default they admit all users with scram-sha-256 over TLS (or without it
	// under NoTLS), and no others.
	HBA string
	// Config is appended to postgresql.conf, such as "log_statement = 'all'".
	Config string
	// CA issues the certificate; nil creates a CA.
	CA *CA
	// Cert is the server's certificate; nil is one for localhost and 127.0.0.1.
	Cert *Certificate
}

// PostgresServer is a running PostgreSQL. Its administrator is a superuser, and it has the database "postgres".
type PostgresServer struct {
	Server
	Major int
}

//go:embed conf/postgresql.conf conf/pg_hba.conf
var postgresFiles embed.FS

// StartPostgres creates and starts a new cluster. Measured on two idle cores: 1.0 s for 15 from Debian and for 18 from
// npm, mostly initdb; Stop takes 0.05 s.
func StartPostgres(ctx context.Context, o PostgresOptions) (*PostgresServer, error) {
	bin, major, err := postgresBin(o.Major)
	if err != nil {
		return nil, err
	}
	s := &PostgresServer{NewServer("postgres", o.NoTLS, o.CA, o.Cert), major}
	return s, s.Start(ctx, Launch{
		Program: filepath.Join(bin, "postgres"),
		Files:   postgresFiles, S: s, O: o,
		Setup: func(ctx context.Context) error {
			if err := s.write("password", s.Password+"\n"); err != nil {
				return err
			}
			return s.Run(ctx, nil, filepath.Join(bin, "initdb"), "-D", s.Path("data"), "-U", s.User,
				"--pwfile="+s.Path("password"), "-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C")
		},
		Args: func() []string {
			return []string{"-D", s.Path("data"), "-c", "config_file=" + s.Path("postgresql.conf")}
		},
		// SIGINT is PostgreSQL's fast shutdown: clients are disconnected.
		// https://www.postgresql.org/docs/current/server-shutdown.html
		Signal: "INT",
		Ready: func(ctx context.Context) error {
			// The last line is "ready" once the server accepts connections; pg_ctl checks it also.
			pid, err := os.ReadFile(s.Path("data/postmaster.pid"))
			if err == nil && !strings.HasSuffix(strings.TrimSpace(string(pid)), "ready") {
				err = fmt.Errorf("postmaster.pid is %q", pid)
			}
			// With these options the administrator may be unable to log in.
			if err != nil || o.HBA != "" || o.Cert != nil {
				return err
			}
			conn, err := pgx.Connect(ctx, s.URL("postgres"))
			if err != nil {
				return err
			}
			return conn.Close(ctx)
		},
	})
}

// Postgres starts a PostgreSQL that ends with the test.
var Postgres = During(StartPostgres)

// SharedPostgres returns this test binary's PostgreSQL with these options. Tests share its roles: use Unique for names.
var SharedPostgres = Shared(StartPostgres)

// URL returns the administrator's connection string for a database, with TLS verified against the server's CA.
func (s *PostgresServer) URL(database string) string {
	return s.URLFor(s.User, s.Password, database)
}

// URLFor is URL for any user.
func (s *PostgresServer) URLFor(user, password, database string) string {
	query := url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.CAFile}, "connect_timeout": {"10"}}
	if s.NoTLS {
		query = url.Values{"sslmode": {"disable"}, "connect_timeout": {"10"}}
	}
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword(user, password), Host: s.Addr(),
		Path: "/" + database, RawQuery: query.Encode(),
	}).String()
}

// Connect logs the administrator in to a database until the test's end.
func (s *PostgresServer) Connect(t testing.TB, database string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(database))
	Must(t, err, "log in as the administrator")
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// Database creates a database with a unique name and returns the name. It is dropped at the test's end, even if clients
// are still connected.
func (s *PostgresServer) Database(t testing.TB) string {
	t.Helper()
	conn, name := s.Connect(t, "postgres"), Unique("db_")
	_, err := conn.Exec(context.Background(), "CREATE DATABASE "+name)
	Must(t, err, "create a database")
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("testserver: drop the database: %v", err)
		}
	})
	return name
}

// postgresBin finds the directory with initdb and postgres of a major version, or of the newest if major is 0. It
// searches Debian's and Ubuntu's directories, PATH and, for a given major, those from scripts/deps.sh. It also returns
// the major version.
func postgresBin(major int) (string, int, error) {
	files, _ := filepath.Glob(Release() + "/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil && !next {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			files = append(files, real)
		}
	}
	what := "postgres"
	if major != 0 {
		what += fmt.Sprintf(" %d", major)
		if npm, err := cached(fmt.Sprintf("postgres-%d/native/bin/initdb", major), "deps"); err == nil {
			files = append(files, npm)
		}
	}
	bin, newest := "", 0
	for _, file := range files {
		dir := filepath.Dir(file)
		m, err := postgresMajor(filepath.Join(dir, "postgres"))
		if err == nil && m > newest && (major == 0 || m == major) {
			bin, newest = dir, m
		}
	}
	if bin == "" {
		return "", 0, missing(what, "deps")
	}
	return bin, newest, nil
}

// postgresMajor returns a postgres program's major version, from "postgres (PostgreSQL) 15.18 …".
func postgresMajor(path string) (int, error) {
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return 0, err
	}
	var major int
	_, err = fmt.Sscanf(string(out), "postgres (PostgreSQL) %d", &major)
	return major, err
}
