package mysql_test

import (
	"context"
	"crypto/sha1"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/mysql"
)

// systems are the servers that every test runs against: MariaDB or, with the build tag mysql, MySQL.
var systems = map[string]func(testing.TB, serverOptions) *server{
	"mariadb": sharedMariaDB,
}

// each runs a test against each system.
func each(t *testing.T, test func(*testing.T, *fixture)) {
	for _, name := range slices.Sorted(maps.Keys(systems)) {
		t.Run(name, func(t *testing.T) {
			server := systems[name](t, serverOptions{AllowPlaintext: true})
			test(t, newFixture(t, name, server))
		})
	}
}

// only runs a test against one system, if it is among them.
func only(t *testing.T, name string, test func(*testing.T, *fixture)) {
	each(t, func(t *testing.T, f *fixture) {
		if f.name == name {
			test(t, f)
		}
	})
}

type fixture struct {
	t      testing.TB
	name   string
	server *server
	db     *sql.DB // as the administrator
	engine *mysql.Engine
	strict bool // the server accepts no hashes
}

func newFixture(t testing.TB, name string, server *server) *fixture {
	return &fixture{t: t, name: name, server: server, db: server.Connect(t, ""),
		engine: mysql.New(engine.TLSPolicy{ExtraCAs: server.CA.PEM})}
}

// text quotes a string by a session's default rules.
func text(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// sql runs statements as the administrator.
func (f *fixture) sql(statements ...string) {
	f.t.Helper()
	for _, s := range statements {
		if _, err := f.db.Exec(s); err != nil {
			f.t.Fatalf("%s: %v", s, err)
		}
	}
}

// user creates a user with a new name for every host, and returns the name and password.
func (f *fixture) user(hosts ...string) (name, password string) {
	f.t.Helper()
	name, password = testserver.Unique("app_"), testserver.Unique("First-Pw-")
	if hosts == nil {
		hosts = []string{"%"}
	}
	for _, h := range hosts {
		f.sql("CREATE USER " + account(name, h) + " IDENTIFIED " + f.by(password))
	}
	return name, password
}

// by returns what follows IDENTIFIED, in a form that keeps the password out of the server's log if it can.
func (f *fixture) by(password string) string {
	if f.name == "mariadb" && !f.strict {
		return "VIA mysql_native_password USING '*" + hashed(password) + "'"
	}
	return "BY " + text(password)
}

// hashed returns what MariaDB stores for a password.
func hashed(password string) string {
	once := sha1.Sum([]byte(password))
	return fmt.Sprintf("%X", sha1.Sum(once[:]))
}

func account(user, host string) string { return text(user) + "@" + text(host) }

func (f *fixture) value(user, password string) engine.Value {
	b, err := json.Marshal(map[string]any{"engine": f.name, "host": f.server.Host, "port": f.server.Port,
		"username": user, "password": password})
	if err != nil {
		f.t.Fatal(err)
	}
	return engine.StringValue(string(b))
}

// admin is the superuser's value.
func (f *fixture) admin() engine.Value { return f.value(f.server.User, f.server.Password) }

// single returns a request to rotate a single user.
func (f *fixture) single(user, old, next string) *engine.Request {
	current := f.value(user, old)
	return &engine.Request{Secret: "arn:" + user, Version: "v-" + next, Strategy: engine.SingleUser,
		Current: current, Pending: current.With("password", next), Login: current}
}

// alternating returns a request to rotate from one user to another.
func (f *fixture) alternating(user, password, other, next string) *engine.Request {
	current := f.value(user, password)
	return &engine.Request{Secret: "arn:" + strings.TrimSuffix(user, "_clone"), Version: "v-" + next,
		Strategy: engine.AlternatingUsers,
		Current:  current, Pending: f.value(other, next), Login: f.admin(), Superuser: true, SuperuserChanges: true}
}

// logged returns the request and its reports.
func (f *fixture) logged(r *engine.Request) (*engine.Request, *[]string) {
	var log []string
	r.Report = func(level slog.Level, text string) { log = append(log, level.String()+" "+text) }
	return r, &log
}

func (f *fixture) set(r *engine.Request) {
	f.t.Helper()
	if err := f.engine.DryRun(context.Background(), r); err != nil {
		f.t.Fatalf("DryRun: %v", err)
	}
	if err := f.engine.Set(context.Background(), r); err != nil {
		f.t.Fatalf("Set: %v", err)
	}
	if err := f.engine.Verify(context.Background(), r, r.Pending); err != nil {
		f.t.Fatalf("Verify: %v", err)
	}
}

// login tries a login without the engine and returns the server's error.
func (f *fixture) login(user, password string) error {
	connector, err := driver.NewConnector(f.server.Config(user, password, ""))
	if err != nil {
		f.t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = db.ExecContext(ctx, "DO 1")
	return err
}

// opens checks whether passwords open the server.
func (f *fixture) opens(user string, want bool, passwords ...string) {
	f.t.Helper()
	for i, p := range passwords {
		if err := f.login(user, p); (err == nil) != want {
			f.t.Errorf("password %d of %s: %v, want accepted = %v", i+1, user, err, want)
		}
	}
}

// fails checks that an error has the cause and that its text contains the words.
func fails(t *testing.T, err error, cause engine.Cause, words ...string) {
	t.Helper()
	if !errors.Is(err, cause) {
		t.Fatalf("got %v, want %s", err, cause)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

// granted returns the rights of an account, sorted, without its name, password and attributes.
func (f *fixture) granted(user, host string) []string {
	f.t.Helper()
	rows, err := f.db.Query("SHOW GRANTS FOR " + account(user, host))
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var row string
		if err := rows.Scan(&row); err != nil {
			f.t.Fatal(err)
		}
		row = strings.ReplaceAll(row, "`"+user+"`@`"+host+"`", "USER")
		if before, after, ok := strings.Cut(row, " IDENTIFIED BY PASSWORD '"); ok {
			row = before + after[41+1:]
		}
		// MariaDB lists columns in the order of a hash.
		words := strings.FieldsFunc(row, func(c rune) bool { return strings.ContainsRune(" ,()", c) })
		slices.Sort(words)
		list = append(list, strings.Join(words, " "))
	}
	slices.Sort(list)
	return list
}

// sameRights checks that two users have the same rights for a host.
func (f *fixture) sameRights(user, other, host string) {
	f.t.Helper()
	if a, b := f.granted(user, host), f.granted(other, host); !slices.Equal(a, b) {
		f.t.Errorf("for the host %s, the rights of %s and %s differ:\n%s\n\n%s", host, user, other,
			strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

func (f *fixture) logs() string {
	f.t.Helper()
	var b strings.Builder
	for _, path := range []string{f.server.GeneralLog, f.server.SlowLog, f.server.LogFile} {
		content, err := os.ReadFile(path)
		if err != nil {
			f.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", content)
	}
	return b.String()
}
