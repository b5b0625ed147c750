package testserver

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
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
	server, err := program("mariadbd")
	if err != nil {
		return nil, err
	}
	install, err := program("mariadb-install-db")
	if err != nil {
		return nil, err
	}
	if o.NoTLS {
		o.Config = "skip_ssl\n" + o.Config
	}
	basedir := release() + "/usr"
	config := fmt.Sprintf("basedir = %s\nplugin_dir = %[1]s/lib/mysql/plugin\nplugin_load_add = auth_ed25519\n",
		basedir)
	return startMySQL(ctx, "mariadb", o, server, config+o.Config, func(ctx context.Context, s *MySQLServer) error {
		return s.run(ctx, nil, install, "--no-defaults", "--basedir="+basedir, "--datadir="+s.path("data"),
			"--auth-root-authentication-method=normal", "--skip-test-db")
	})
}

// StartMySQL starts the MySQL that `make deps-mysql` fetches: the newest in Debian unstable. Measured on two cores: 3 s
// idle, 6 s loaded, mostly --initialize; Stop takes 1.6 s.
func StartMySQL(ctx context.Context, o MySQLOptions) (*MySQLServer, error) {
	path, err := cached("sid-1/usr/sbin/mysqld", "deps-mysql")
	if err != nil {
		return nil, err
	}
	root := strings.TrimSuffix(path, "/usr/sbin/mysqld")
	if o.NoTLS {
		o.Config = "tls_version =\n" + o.Config
	}
	config := fmt.Sprintf("basedir = %s/usr\nsecure_file_priv = NULL\nmysqlx = OFF\n", root)
	return startMySQL(ctx, "mysql", o, path, config+o.Config, func(ctx context.Context, s *MySQLServer) error {
		return s.run(ctx, nil, path, "--no-defaults", "--initialize-insecure",
			"--basedir="+root+"/usr", "--datadir="+s.path("data"))
	})
}

// startMySQL starts a mariadbd or mysqld after initialize has filled its data directory.
func startMySQL(ctx context.Context, name string, o MySQLOptions, path string, config string,
	initialize func(context.Context, *MySQLServer) error) (*MySQLServer, error) {
	server, err := prepare(name, o.NoTLS, nil, nil)
	if err != nil {
		return nil, err
	}
	s := &MySQLServer{Server: *server, GeneralLog: server.path("general.log"),
		SlowLog: server.path("slow.log")}
	config = fmt.Sprintf(`[mysqld]
datadir = %s
bind_address = 127.0.0.1
socket = %s
pid_file = %s
init_file = %s
general_log = ON
general_log_file = %s
slow_query_log = ON
slow_query_log_file = %s
long_query_time = 0
innodb_flush_log_at_trx_commit = 0
`, s.path("data"), s.path("socket"), s.path("pid"), s.path("init.sql"), s.GeneralLog, s.SlowLog) + config + "\n"
	require := ""
	if !o.NoTLS {
		config += fmt.Sprintf("ssl_ca = %s\nssl_cert = %s\nssl_key = %s\n",
			s.CAFile, s.path("server.crt"), s.path("server.key"))
		if !o.AllowPlaintext {
			config += "require_secure_transport = ON\n"
			require = " REQUIRE SSL"
		}
	}
	// The server runs the file at every start.
	statements := fmt.Sprintf("CREATE USER IF NOT EXISTS admin@'%%' IDENTIFIED BY '%s'%s;\n"+
		"GRANT ALL ON *.* TO admin@'%%' WITH GRANT OPTION;\n", s.Password, require)
	return s, s.start(ctx, launch{
		setup: func(ctx context.Context) error { return initialize(ctx, s) },
		files: func(int) map[string]string { return map[string]string{"my.cnf": config, "init.sql": statements} },
		command: func(port int) []string {
			return []string{path, "--defaults-file=" + s.path("my.cnf"), "--port=" + strconv.Itoa(port)}
		},
		ready: func(ctx context.Context) error {
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
var MariaDB = during(StartMariaDB)

// SharedMariaDB returns this test binary's MariaDB with these options. Tests share its users: use Unique for names.
var SharedMariaDB = shared(StartMariaDB)

// SharedMySQL is SharedMariaDB for MySQL.
var SharedMySQL = shared(StartMySQL)

// Config returns a client's configuration for a user, with TLS verified against the server's CA if the server has TLS.
func (s *MySQLServer) Config(user, password, database string) *mysql.Config {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = user, password, database
	config.Net, config.Addr = "tcp", s.Addr()
	config.Timeout = 10 * time.Second
	// Tests expect refused logins: keep them off standard error.
	config.Logger = &mysql.NopLogger{}
	config.TLS = s.clientTLS()
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
	if err != nil {
		t.Fatalf("testserver: %v", err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Ping(); err != nil {
		t.Fatalf("testserver: log in as the administrator: %v", err)
	}
	return db
}

// Database creates a database with a unique name, dropped at the test's end, and returns the name.
func (s *MySQLServer) Database(t testing.TB) string {
	t.Helper()
	name := Unique("db_")
	db := s.Connect(t, "")
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatalf("testserver: create a database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := db.Exec("DROP DATABASE " + name); err != nil {
			t.Errorf("testserver: drop the database: %v", err)
		}
	})
	return name
}
