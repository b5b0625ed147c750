package testserver

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresOptions configures PostgreSQL. The zero value is the newest that is installed, which
// accepts only TLS connections with SCRAM.
type PostgresOptions struct {
	// Major is a major version such as 18; 0 is the newest that is installed.
	Major int
	// Bin is the directory of initdb and postgres. If it is set, Major is ignored.
	Bin string
	// NoTLS starts a server without TLS, for tests of "ssl": false.
	NoTLS bool
	// HBA replaces the lines of pg_hba.conf. By default they admit all users with scram-sha-256
	// over TLS (or without it under NoTLS) and refuse the rest.
	HBA string
	// Config is appended to postgresql.conf, such as "log_statement = 'all'".
	Config string
	// CA issues the certificate; nil makes a new CA.
	CA *CA
	// Cert is the server's certificate; nil is one for localhost and 127.0.0.1.
	Cert *Certificate
}

// PostgresServer is a running PostgreSQL. Its administrator is a superuser, and it has the database
// "postgres".
type PostgresServer struct {
	Server
	Major int
	NoTLS bool

	bin string
}

// StartPostgres creates and starts a new cluster. Measured on two idle cores: 1.0 s for 15 from
// Debian and for 18 from npm, mostly initdb; Stop takes 0.05 s.
func StartPostgres(ctx context.Context, o PostgresOptions) (*PostgresServer, error) {
	bin, major, err := postgresBin(o.Major, o.Bin)
	if err != nil {
		return nil, err
	}
	server, err := prepare("postgres", o.CA, o.Cert)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	s := &PostgresServer{Server: *server, Major: major, NoTLS: o.NoTLS, bin: bin}
	if err := s.initialize(ctx, o); err != nil {
		os.RemoveAll(s.Dir)
		return nil, fmt.Errorf("postgres %d: %w", major, err)
	}
	// With these options the administrator may be unable to log in.
	if err := s.serve(ctx, o.HBA == "" && o.Cert == nil); err != nil {
		return nil, fmt.Errorf("postgres %d: %w", major, err)
	}
	return s, nil
}

// StartStandby starts a hot standby, which follows a running primary and refuses writes. The
// administrator and the certificate are the primary's. It needs pg_basebackup, which Debian's
// packages have and npm's do not. Measured on two idle cores: 0.6 s.
func StartStandby(ctx context.Context, primary *PostgresServer) (*PostgresServer, error) {
	certPEM, err := os.ReadFile(primary.path("server.crt"))
	if err != nil {
		return nil, fmt.Errorf("postgres standby: %w", err)
	}
	keyPEM, err := os.ReadFile(primary.path("server.key"))
	if err != nil {
		return nil, fmt.Errorf("postgres standby: %w", err)
	}
	server, err := prepare("postgres", primary.CA, &Certificate{certPEM, keyPEM})
	if err != nil {
		return nil, fmt.Errorf("postgres standby: %w", err)
	}
	s := &PostgresServer{Server: *server, Major: primary.Major, NoTLS: primary.NoTLS, bin: primary.bin}
	s.Password = primary.Password
	source, err := url.Parse(primary.URL(""))
	if err == nil {
		source.User = url.User(primary.User)
		err = s.run(ctx, []string{"PGPASSWORD=" + primary.Password}, filepath.Join(s.bin, "pg_basebackup"),
			"--pgdata="+s.path("data"), "--write-recovery-conf", "--wal-method=stream",
			"--checkpoint=fast", "--no-sync",
			"--dbname="+source.String())
	}
	if err != nil {
		os.RemoveAll(s.Dir)
		return nil, fmt.Errorf("postgres standby: %w", err)
	}
	if err := s.serve(ctx, true); err != nil {
		return nil, fmt.Errorf("postgres standby: %w", err)
	}
	return s, nil
}

// serve starts the server with the data in its directory and waits until it accepts connections
// and, if login is set, the administrator's login.
func (s *PostgresServer) serve(ctx context.Context, login bool) error {
	return s.start(ctx, launch{
		command: func(port int) []string {
			return []string{filepath.Join(s.bin, "postgres"), "-D", s.path("data"), "-p", strconv.Itoa(port)}
		},
		// SIGINT is PostgreSQL's fast shutdown: clients are disconnected.
		// https://www.postgresql.org/docs/current/server-shutdown.html
		signal: "INT",
		ready: func(ctx context.Context) error {
			if err := s.readyFile(); err != nil || !login {
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

// Standby starts a hot standby of s that ends with the test.
func (s *PostgresServer) Standby(t testing.TB) *PostgresServer {
	t.Helper()
	return during(t, StartStandby, s)
}

// Postgres starts a PostgreSQL that ends with the test.
func Postgres(t testing.TB, o PostgresOptions) *PostgresServer {
	t.Helper()
	return during(t, StartPostgres, o)
}

var sharedPostgres pool[PostgresOptions, *PostgresServer]

// SharedPostgres returns this test binary's PostgreSQL with these options. Tests share its roles:
// use Unique for names.
func SharedPostgres(t testing.TB, o PostgresOptions) *PostgresServer {
	t.Helper()
	return sharedPostgres.get(t, StartPostgres, o)
}

func (s *PostgresServer) initialize(ctx context.Context, o PostgresOptions) error {
	if err := s.write("password", s.Password+"\n"); err != nil {
		return err
	}
	data := s.path("data")
	err := s.run(ctx, nil, filepath.Join(s.bin, "initdb"), "-D", data, "-U", s.User, "--pwfile="+s.path("password"),
		"-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C")
	if err != nil {
		return err
	}
	config := "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\nmax_connections = 60\n"
	hba := o.HBA
	if o.NoTLS {
		if hba == "" {
			hba = "host all all 127.0.0.1/32 scram-sha-256"
		}
	} else {
		config += "ssl = on\nssl_cert_file = '../server.crt'\nssl_key_file = '../server.key'\n"
		if hba == "" {
			hba = "hostssl all all 127.0.0.1/32 scram-sha-256\nhostssl replication all 127.0.0.1/32 scram-sha-256"
		}
	}
	f, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString("\n" + config + o.Config + "\n"); err != nil {
		return err
	}
	return s.write("data/pg_hba.conf", hba+"\n")
}

// readyFile checks the last line of postmaster.pid, which is "ready" once the server accepts
// connections, as pg_ctl does.
func (s *PostgresServer) readyFile() error {
	b, err := os.ReadFile(s.path("data/postmaster.pid"))
	if err != nil {
		return err
	}
	lines := splitLines(string(b))
	if last := lines[len(lines)-1]; last != "ready" && last != "standby" {
		return fmt.Errorf("postmaster.pid says %q", last)
	}
	return nil
}

// URL returns the administrator's connection string for a database, with TLS verified against the
// server's CA.
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
	if err != nil {
		t.Fatalf("testserver: log in as the administrator: %v", err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// Database creates a database with a unique name and returns the name. It is dropped at the test's
// end, even if clients are still connected.
func (s *PostgresServer) Database(t testing.TB) string {
	t.Helper()
	name := Unique("db_")
	conn := s.Connect(t, "postgres")
	if _, err := conn.Exec(context.Background(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("testserver: create a database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("testserver: drop the database: %v", err)
		}
	})
	return name
}

// postgresBin finds the directory with initdb and postgres of a major version, or of the newest if
// major is 0: among Debian's and Ubuntu's, then in PATH and, for a given major, among those from
// scripts/deps.sh. If bin is set, it returns bin and its major version.
func postgresBin(major int, bin string) (string, int, error) {
	if bin != "" {
		major, err := postgresMajor(filepath.Join(bin, "postgres"))
		if err != nil {
			return "", 0, fmt.Errorf("postgres in %s: %w", bin, err)
		}
		return bin, major, nil
	}
	found := map[int]string{}
	if path, err := exec.LookPath("initdb"); err == nil && !next {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			if m, err := postgresMajor(filepath.Join(filepath.Dir(real), "postgres")); err == nil {
				found[m] = filepath.Dir(real)
			}
		}
	}
	debian, _ := filepath.Glob(release() + "/usr/lib/postgresql/*/bin/initdb")
	for _, path := range debian {
		if m, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))); err == nil {
			found[m] = filepath.Dir(path)
		}
	}
	if major != 0 {
		npm, ok := cached(fmt.Sprintf("postgres-%d/native/bin/initdb", major))
		if ok && found[major] == "" {
			found[major] = filepath.Dir(npm)
		}
		if found[major] == "" {
			return "", 0, missing(fmt.Sprintf("postgres %d", major), "deps")
		}
		return found[major], major, nil
	}
	majors := make([]int, 0, len(found))
	for m := range found {
		majors = append(majors, m)
	}
	if len(majors) == 0 {
		return "", 0, missing("postgres", "deps")
	}
	sort.Ints(majors)
	newest := majors[len(majors)-1]
	return found[newest], newest, nil
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
