//go:build sqlserver

package sqlserver

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"testing"

	_ "github.com/microsoft/go-mssqldb" // the driver "sqlserver"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// real is an external SQL Server, such as the one in docs/engines/compose.yaml. ROTATOR_TEST_SQLSERVER_DSN is its
// administrator's connection string, in the driver's format sqlserver://sa:PASSWORD@localhost:1433; "encrypt=disable"
// in it means "ssl": false, and ROTATOR_TEST_SQLSERVER_CA names its CA's file.
type real struct {
	t      *testing.T
	db     *sql.DB
	dsn    *url.URL
	engine *Engine
}

func newReal(t *testing.T) *real {
	t.Helper()
	text := os.Getenv("ROTATOR_TEST_SQLSERVER_DSN")
	if text == "" {
		t.Fatal("set ROTATOR_TEST_SQLSERVER_DSN: the tests behind the build tag sqlserver need a real server")
	}
	dsn, err := url.Parse(text)
	if err != nil {
		t.Fatal("ROTATOR_TEST_SQLSERVER_DSN is not a URL")
	}
	db, err := sql.Open("sqlserver", text)
	if err != nil {
		t.Fatal("ROTATOR_TEST_SQLSERVER_DSN is not the driver's")
	}
	t.Cleanup(func() { db.Close() })
	var ca []byte
	if name := os.Getenv("ROTATOR_TEST_SQLSERVER_CA"); name != "" {
		if ca, err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return &real{t, db, dsn, New(engine.TLSPolicy{ExtraCAs: ca})}
}

func (r *real) exec(statement string) {
	r.t.Helper()
	if _, err := r.db.ExecContext(context.Background(), statement); err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
}

func (r *real) yes(query string) bool {
	r.t.Helper()
	var n sql.NullInt64
	if err := r.db.QueryRowContext(context.Background(), query).Scan(&n); err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	return n.Int64 == 1
}

func (r *real) value(user, password, database string) engine.Value {
	port, err := strconv.Atoi(r.dsn.Port())
	if err != nil {
		port = 1433
	}
	v := engine.StringValue(`{"engine":"sqlserver"}`).With("host", r.dsn.Hostname()).With("port", strconv.Itoa(port)).
		With("dbname", database)
	if r.dsn.Query().Get("encrypt") == "disable" {
		v = v.WithJSON("ssl", []byte("false"))
	}
	return v.With("username", user).With("password", password)
}

func (r *real) admin(database string) engine.Value {
	password, _ := r.dsn.User.Password()
	return r.value(r.dsn.User.Username(), password, database)
}

func TestRealEngine(t *testing.T) {
	for _, alternating := range []bool{false, true} {
		t.Run(fmt.Sprintf("alternating=%t", alternating), func(t *testing.T) {
			enginetest.Run(t, func(t *testing.T) enginetest.Harness {
				s := newReal(t)
				h := &harness{target: s.dsn.Host, engine: s.engine, query: s.dsn.Query()}
				if s.dsn.Port() == "" {
					h.target += ":1433"
				}
				if s.dsn.Query().Get("encrypt") == "disable" {
					h.fields = `,"ssl":false`
				}
				if alternating {
					h.admin = s.dsn.User
				}
				run := func(verb, user, password string) error {
					_, err := s.db.ExecContext(context.Background(),
						verb+identifier(user)+" WITH PASSWORD = "+text(password))
					return err
				}
				h.make = func(user, password string) error {
					t.Cleanup(func() {
						for _, name := range []string{user, user + "_clone"} {
							s.exec("IF SUSER_ID(" + text(name) + ") IS NOT NULL DROP LOGIN " + identifier(name))
						}
					})
					return run("CREATE LOGIN ", user, password)
				}
				h.password = func(user, password string) error { return run("ALTER LOGIN ", user, password) }
				return h
			})
		})
	}
}

func TestRealSingleLogin(t *testing.T) {
	s := newReal(t)
	name := testserver.Unique("a]p'p ")
	s.exec("CREATE LOGIN " + identifier(name) + " WITH PASSWORD = " + text(old))
	t.Cleanup(func() { s.exec("DROP LOGIN " + identifier(name)) })
	r := &engine.Request{Strategy: engine.SingleUser, Current: s.value(name, old, "master"),
		Pending: s.value(name, new1, "master"), Login: s.value(name, old, "master")}
	want(t, "", s.engine.DryRun(enginetest.Within(t), r))
	want(t, "", s.engine.Verify(enginetest.Within(t), r, r.Current))
	want(t, "", s.engine.Set(enginetest.Within(t), r))
	want(t, "", s.engine.Verify(enginetest.Within(t), r, r.Pending))
	want(t, engine.LoginRefused, s.engine.Verify(enginetest.Within(t), r, r.Current))
	r.Login = r.Pending
	want(t, "", s.engine.Set(enginetest.Within(t), r))
	r.Pending = s.value(name, "short", "master")
	want(t, engine.PolicyRejected, s.engine.Set(enginetest.Within(t), r))
	want(t, engine.InvalidSecret, s.engine.Verify(enginetest.Within(t), r, s.value(name, new1, "no_such_database")))
	s.exec("ALTER LOGIN " + identifier(name) + " DISABLE")
	want(t, engine.PrivilegeMissing, s.engine.Verify(enginetest.Within(t), r, s.value(name, new1, "master")))
}

func TestRealAlternatingLogins(t *testing.T) {
	s := newReal(t)
	name, database := testserver.Unique("app"), testserver.Unique("db")
	clone := name + "_clone"
	s.exec("CREATE DATABASE " + identifier(database))
	s.exec("CREATE LOGIN " + identifier(name) + " WITH PASSWORD = " + text(old))
	t.Cleanup(func() {
		s.exec("DROP DATABASE " + identifier(database))
		s.exec("DROP LOGIN " + identifier(name))
		s.exec("IF SUSER_ID(" + text(clone) + ") IS NOT NULL DROP LOGIN " + identifier(clone))
	})
	for _, statement := range []string{
		"CREATE USER " + identifier(name) + " FOR LOGIN " + identifier(name), "CREATE TABLE [o'r]]d] (a int, b int)",
		"CREATE SCHEMA other",
		"GRANT SELECT ON OBJECT::dbo.[o'r]]d] TO " + identifier(name) + " WITH GRANT OPTION",
		"GRANT UPDATE ON OBJECT::dbo.[o'r]]d] (b) TO " + identifier(name),
		"DENY DELETE ON OBJECT::dbo.[o'r]]d] TO " + identifier(name), "GRANT EXECUTE ON SCHEMA::other TO " +
			identifier(name), "ALTER ROLE db_datawriter ADD MEMBER " + identifier(name),
	} {
		s.exec(place(database).run(statement))
	}
	s.exec(server.run("GRANT VIEW SERVER STATE TO " + identifier(name)))
	has := func(user, securable, class, permission string) bool {
		return s.yes(place(database).run("EXECUTE AS LOGIN = " + text(user) + "; SELECT HAS_PERMS_BY_NAME(" +
			text(securable) + ", " + text(class) + ", " + text(permission) + "); REVERT"))
	}
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value(name, old, database),
		Pending: s.value(clone, new1, database), Login: s.admin(database), Superuser: true}
	want(t, "", s.engine.DryRun(enginetest.Within(t), r))
	for range 2 {
		want(t, "", s.engine.Set(enginetest.Within(t), r))
	}
	want(t, "", s.engine.Verify(enginetest.Within(t), r, r.Pending))
	want(t, "", s.engine.Verify(enginetest.Within(t), r, r.Current))
	if !has(clone, "dbo.[o'r]]d]", "OBJECT", "SELECT") || has(clone, "dbo.[o'r]]d]", "OBJECT", "DELETE") ||
		!has(clone, "other", "SCHEMA", "EXECUTE") || !has(clone, "dbo.[o'r]]d]", "OBJECT", "INSERT") {
		t.Error("the second login lacks the first's rights")
	}
	s.exec(place(database).run("REVOKE EXECUTE ON SCHEMA::other FROM " + identifier(clone)))
	r.Current, r.Pending = s.value(clone, new1, database), s.value(name, "Third-password3", database)
	want(t, "", s.engine.Set(enginetest.Within(t), r))
	want(t, "", s.engine.Verify(enginetest.Within(t), r, r.Pending))
	if has(name, "other", "SCHEMA", "EXECUTE") {
		t.Error("a revoked right came back")
	}
	stranger := testserver.Unique("boss")
	for _, n := range []string{stranger, stranger + "_clone"} {
		s.exec("CREATE LOGIN " + identifier(n) + " WITH PASSWORD = " + text(old))
		t.Cleanup(func() { s.exec("DROP LOGIN " + identifier(n)) })
	}
	r.Current, r.Pending = s.value(stranger, old, "master"), s.value(stranger+"_clone", new1, "master")
	want(t, engine.TakeoverRefused, s.engine.Set(enginetest.Within(t), r))
}

func TestRealContainedUsers(t *testing.T) {
	s := newReal(t)
	database := testserver.Unique("db")
	s.exec("EXEC sp_configure 'contained database authentication', 1; RECONFIGURE")
	s.exec("CREATE DATABASE " + identifier(database) + " CONTAINMENT = PARTIAL")
	t.Cleanup(func() { s.exec("DROP DATABASE " + identifier(database)) })
	s.exec(place(database).run("CREATE USER app WITH PASSWORD = " + text(old)))
	r := &engine.Request{Strategy: engine.SingleUser, Current: s.value("app", old, database),
		Pending: s.value("app", new1, database), Login: s.value("app", old, database)}
	want(t, "", s.engine.Set(enginetest.Within(t), r))
	want(t, "", s.engine.Verify(enginetest.Within(t), r, r.Pending))
	r = &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value("app", new1, database),
		Pending: s.value("app_clone", old, database), Login: s.admin(database), Superuser: true}
	want(t, engine.InvalidSecret, s.engine.Set(enginetest.Within(t), r))
}
