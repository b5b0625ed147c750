package mysql_test

import (
	"context"
	"crypto/tls"
	"database/sql"
	"embed"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"example.com/rotator/internal/testing/testserver"
)

// serverOptions configures MariaDB or MySQL. The zero value accepts only TLS.
type serverOptions struct {
	// NoTLS starts a server without TLS.
	NoTLS bool
	// AllowPlaintext lets clients choose, as RDS does if require_secure_transport is off.
	AllowPlaintext bool
	// Config is appended to the server's section of its option file, such as "plugin_load_add = simple_password_check".
	Config string
}

// server is a running MariaDB or MySQL. Its administrator is admin@'%' with all privileges and GRANT OPTION.
type server struct {
	testserver.Server
	// GeneralLog contains every statement that the server received, and SlowLog every statement that it ran. Tests
	// search them for passwords.
	GeneralLog, SlowLog string
}

// startMariaDB starts the machine's MariaDB with the plugin auth_ed25519. Measured on two cores: 1.1 s, mostly
// mariadb-install-db.
func startMariaDB(ctx context.Context, o serverOptions) (*server, error) {
	install, err := testserver.Find("mariadb-install-db", "deps")
	if err != nil {
		return nil, err
	}
	return launchServer(ctx, "mariadb", o, "mariadbd", testserver.Release()+"/usr", install,
		"--auth-root-authentication-method=normal", "--skip-test-db")
}

//go:embed testdata/my.cnf testdata/init.sql
var serverFiles embed.FS

// launchServer starts a mariadbd or mysqld after the program install has filled its data directory.
func launchServer(ctx context.Context, name string, o serverOptions, program, basedir, install string, args ...string) (
	*server, error) {
	s := &server{Server: testserver.NewServer(name, o.NoTLS, nil, nil)}
	s.GeneralLog, s.SlowLog = s.Path("general.log"), s.Path("slow.log")
	options := struct {
		serverOptions
		Name, BaseDir string
	}{o, name, basedir}
	return s, s.Start(ctx, testserver.Launch{
		Program: program,
		Setup: func(ctx context.Context) error {
			return s.Run(ctx, nil, install, append([]string{"--no-defaults", "--basedir=" + basedir,
				"--datadir=" + s.Path("data")}, args...)...)
		},
		// The server runs init.sql at every start.
		Files: serverFiles, S: s, O: options,
		Args: func() []string { return []string{"--defaults-file=" + s.Path("my.cnf")} },
		Ready: func(ctx context.Context) error {
			db, err := s.open("")
			if err != nil {
				return err
			}
			defer db.Close()
			return db.PingContext(ctx)
		},
	})
}

// sharedMariaDB returns this test binary's MariaDB with these options. Tests share its users: use Unique for names.
var sharedMariaDB = testserver.Shared(startMariaDB)

// Config returns a client's configuration for a user, with TLS verified against the server's CA if the server has TLS.
func (s *server) Config(user, password, database string) *driver.Config {
	config := driver.NewConfig()
	config.User, config.Passwd, config.DBName = user, password, database
	config.Net, config.Addr = "tcp", s.Addr()
	config.Timeout = 10 * time.Second
	// Tests expect refused logins: keep them off standard error.
	config.Logger = &driver.NopLogger{}
	config.TLS = s.ClientTLS()
	return config
}

// open returns a database handle of the administrator.
func (s *server) open(database string) (*sql.DB, error) {
	connector, err := driver.NewConnector(s.Config(s.User, s.Password, database))
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// Connect opens the administrator's database handle until the test's end.
func (s *server) Connect(t testing.TB, database string) *sql.DB {
	t.Helper()
	db, err := s.open(database)
	testserver.Must(t, err, "open a database")
	t.Cleanup(func() { db.Close() })
	testserver.Must(t, db.Ping(), "log in as the administrator")
	return db
}

// Database creates a database with a unique name, dropped at the test's end, and returns the name.
func (s *server) Database(t testing.TB) string {
	t.Helper()
	db, name := s.Connect(t, ""), testserver.Unique("db_")
	_, err := db.Exec("CREATE DATABASE " + name)
	testserver.Must(t, err, "create a database")
	t.Cleanup(func() {
		if _, err := db.Exec("DROP DATABASE " + name); err != nil {
			t.Errorf("testserver: drop the database: %v", err)
		}
	})
	return name
}

func TestMariaDB(t *testing.T) { testServer(t, startMariaDB) }

func testServer(t *testing.T, start func(context.Context, serverOptions) (*server, error)) {
	s := testserver.During(start)(t, serverOptions{})
	db := s.Connect(t, "")
	var version string
	if err := db.QueryRow("SELECT version()").Scan(&version); err != nil {
		t.Fatal(err)
	}
	t.Log(version)
	for _, path := range []string{s.GeneralLog, s.SlowLog} {
		// MySQL writes the slow log after it has answered.
		testserver.Eventually(t, "the statement is in "+path, func() bool {
			log, err := os.ReadFile(path)
			return err == nil && strings.Contains(string(log), "SELECT version()")
		})
	}
	ping := func(change func(*driver.Config)) error {
		config := s.Config(s.User, s.Password, "")
		change(config)
		connector, err := driver.NewConnector(config)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		defer db.Close()
		return db.Ping()
	}
	other, err := testserver.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	var unverified *tls.CertificateVerificationError
	if err := ping(func(c *driver.Config) { c.TLS = other.ClientTLS("localhost") }); !errors.As(err, &unverified) {
		t.Errorf("an unrelated CA: %v, want a verification error", err)
	}
	if err := ping(func(c *driver.Config) { c.TLS = nil }); err == nil {
		t.Error("a connection without TLS is accepted")
	}
	if err := ping(func(c *driver.Config) { c.Passwd = "wrong" }); err == nil {
		t.Error("a wrong password is accepted")
	}
	testserver.CheckStop(t, &s.Server)
}

func TestMariaDBWithoutTLS(t *testing.T) {
	s := sharedMariaDB(t, serverOptions{NoTLS: true})
	s.Connect(t, s.Database(t))
	config := s.Config(s.User, s.Password, "")
	config.TLS = s.CA.ClientTLS("localhost")
	connector, err := driver.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := sql.OpenDB(connector).Ping(); err == nil {
		t.Error("TLS is accepted")
	}
}
