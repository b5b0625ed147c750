package testserver

import (
	"context"
	"database/sql"
	"embed"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// MySQLOptions configures MariaDB or MySQL. The zero value accepts only TLS.
type MySQLOptions struct {
	// NoTLS starts a server without TLS.
	NoTLS bool
	// AllowPlaintext lets clients choose, as RDS does if require_secure_transport is off.
	AllowPlaintext bool
	// Config is appended to the server's section of its option file, such as "plugin_load_add = simple_password_check".
	Config string
}

// MySQLServer is a running MariaDB or MySQL. Its administrator is admin@'%' with all privileges and GRANT OPTION.
type MySQLServer struct {
	Server
	// GeneralLog contains every statement that the server received, and SlowLog every statement that it ran. Tests
	// search them for passwords.
	GeneralLog, SlowLog string
}

// StartMariaDB starts the machine's MariaDB with the plugin auth_ed25519. Measured on two cores: 1.1 s, mostly
// mariadb-install-db.
func StartMariaDB(ctx context.Context, o MySQLOptions) (*MySQLServer, error) {
	install, err := Find("mariadb-install-db", "deps")
	if err != nil {
		return nil, err
	}
	return startMySQL(ctx, "mariadb", o, "mariadbd", Release()+"/usr", install,
		"--auth-root-authentication-method=normal", "--skip-test-db")
}

// StartMySQL starts the MySQL that `make deps-mysql` fetches: the newest in Debian unstable. Measured on two cores: 3 s
// idle, 6 s loaded, mostly --initialize; Stop takes 1.6 s.
func StartMySQL(ctx context.Context, o MySQLOptions) (*MySQLServer, error) {
	path, err := Find("sid-1/usr/sbin/mysqld", "deps-mysql")
	if err != nil {
		return nil, err
	}
	return startMySQL(ctx, "mysql", o, path, strings.TrimSuffix(path, "/sbin/mysqld"), path, "--initialize-insecure")
}

//go:embed conf/my.cnf conf/init.sql
var mysqlFiles embed.FS

// startMySQL starts a mariadbd or mysqld after the program install has filled its data directory.
func startMySQL(ctx context.Context, name string, o MySQLOptions, program, basedir, install string, args ...string) (
	*MySQLServer, error) {
	s := &MySQLServer{Server: NewServer(name, o.NoTLS, nil, nil)}
	s.GeneralLog, s.SlowLog = s.Path("general.log"), s.Path("slow.log")
	options := struct {
		MySQLOptions
		Name, BaseDir string
	}{o, name, basedir}
	return s, s.Start(ctx, Launch{
		Program: program,
		Setup: func(ctx context.Context) error {
			return s.Run(ctx, nil, install, append([]string{"--no-defaults", "--basedir=" + basedir,
				"--datadir=" + s.Path("data")}, args...)...)
		},
		// The server runs init.sql at every start.
		Files: mysqlFiles, S: s, O: options,
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

// MariaDB starts a MariaDB that ends with the test.
var MariaDB = During(StartMariaDB)

// SharedMariaDB returns this test binary's MariaDB with these options. Tests share its users: use Unique for names.
var SharedMariaDB = Shared(StartMariaDB)

// SharedMySQL is SharedMariaDB for MySQL.
var SharedMySQL = Shared(StartMySQL)

// Config returns a client's configuration for a user, with TLS verified against the server's CA if the server has TLS.
func (s *MySQLServer) Config(user, password, database string) *mysql.Config {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = user, password, database
	config.Net, config.Addr = "tcp", s.Addr()
	config.Timeout = 10 * time.Second
	// Tests expect refused logins: keep them off standard error.
	config.Logger = &mysql.NopLogger{}
	config.TLS = s.ClientTLS()
	return config
}

// open returns a database handle of the administrator.
func (s *MySQLServer) open(database string) (*sql.DB, error) {
	connector, err := mysql.NewConnector(s.Config(s.User, s.Password, database))
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// Connect opens the administrator's database handle until the test's end.
func (s *MySQLServer) Connect(t testing.TB, database string) *sql.DB {
	t.Helper()
	db, err := s.open(database)
	Must(t, err, "open a database")
	t.Cleanup(func() { db.Close() })
	Must(t, db.Ping(), "log in as the administrator")
	return db
}

// Database creates a database with a unique name, dropped at the test's end, and returns the name.
func (s *MySQLServer) Database(t testing.TB) string {
	t.Helper()
	db, name := s.Connect(t, ""), Unique("db_")
	_, err := db.Exec("CREATE DATABASE " + name)
	Must(t, err, "create a database")
	t.Cleanup(func() {
		if _, err := db.Exec("DROP DATABASE " + name); err != nil {
			t.Errorf("testserver: drop the database: %v", err)
		}
	})
	return name
}
