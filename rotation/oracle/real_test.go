//go:build oracle

package oracle

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	_ "github.com/sijms/go-ora/v2" // the driver "oracle"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// real is an external Oracle Database, such as the one in docs/engines/compose.yaml. ROTATOR_TEST_ORACLE_DSN is its
// administrator's connection string, in the driver's format oracle://system:PASSWORD@localhost:1521/SERVICE; "ssl=true"
// in it means TCPS, and ROTATOR_TEST_ORACLE_CA names the file of the server's CA.
type real struct {
	t      *testing.T
	db     *sql.DB
	dsn    *url.URL
	engine *Engine
}

func newReal(t *testing.T) *real {
	t.Helper()
	text := os.Getenv("ROTATOR_TEST_ORACLE_DSN")
	if text == "" {
		t.Fatal("set ROTATOR_TEST_ORACLE_DSN: the tests behind the build tag oracle need a real server")
	}
	dsn, err := url.Parse(text)
	if err != nil {
		t.Fatal("ROTATOR_TEST_ORACLE_DSN is not a URL")
	}
	db, err := sql.Open("oracle", text)
	if err != nil {
		t.Fatal("ROTATOR_TEST_ORACLE_DSN is not the driver's")
	}
	t.Cleanup(func() { db.Close() })
	var ca []byte
	if name := os.Getenv("ROTATOR_TEST_ORACLE_CA"); name != "" {
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

func (r *real) count(query string, args ...any) (n int) {
	r.t.Helper()
	if err := r.db.QueryRowContext(context.Background(), query, args...).Scan(&n); err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	return n
}

func (r *real) value(user, password string) engine.Value {
	v := engine.StringValue(`{"engine":"oracle"}`).With("host", r.dsn.Hostname()).With("port", r.dsn.Port()).
		With("dbname", strings.Trim(r.dsn.Path, "/"))
	if !strings.EqualFold(r.dsn.Query().Get("ssl"), "true") {
		v = v.WithJSON("ssl", []byte("false"))
	}
	return v.With("username", user).With("password", password)
}

func (r *real) admin() engine.Value {
	password, _ := r.dsn.User.Password()
	return r.value(r.dsn.User.Username(), password)
}

// user creates a user that is dropped with its clone at the end of the test.
func (r *real) user(more string) string {
	r.t.Helper()
	name := strings.ToUpper(testserver.Unique("u"))
	r.exec("CREATE USER " + quoted(name) + " IDENTIFIED BY " + quoted(old) + " " + more)
	r.exec("GRANT CREATE SESSION TO " + quoted(name))
	r.t.Cleanup(func() {
		r.exec("DROP USER " + quoted(name) + " CASCADE")
		if r.count("SELECT COUNT(*) FROM dba_users WHERE username = :1", name+"_CLONE") == 1 {
			r.exec("DROP USER " + quoted(name+"_CLONE") + " CASCADE")
		}
	})
	return name
}

func TestRealEngine(t *testing.T) {
	for _, alternating := range []bool{false, true} {
		t.Run(fmt.Sprintf("alternating=%t", alternating), func(t *testing.T) {
			enginetest.Run(t, func(t *testing.T) enginetest.Harness {
				o := newReal(t)
				h := &harness{engine: o.engine, target: o.dsn.Host}
				var fields struct {
					Database string `json:"dbname"`
					TLS      *bool  `json:"ssl,omitempty"`
				}
				if err := json.Unmarshal(o.admin().Reveal(), &fields); err != nil {
					t.Fatal(err)
				}
				h.database = fields.Database
				if fields.TLS != nil {
					h.fields = `,"ssl":false`
				}
				if alternating {
					h.admin = o.admin()
				}
				h.make = func(user, password string) error {
					t.Cleanup(func() {
						for _, name := range []string{user, user + "_CLONE"} {
							if o.count("SELECT COUNT(*) FROM dba_users WHERE username = :1", name) == 1 {
								o.exec("DROP USER " + quoted(name) + " CASCADE")
							}
						}
					})
					if _, err := o.db.ExecContext(context.Background(),
						"CREATE USER "+quoted(user)+" IDENTIFIED BY "+quoted(password)); err != nil {
						return err
					}
					_, err := o.db.ExecContext(context.Background(), "GRANT CREATE SESSION TO "+quoted(user))
					return err
				}
				h.restore = func(user, password string) error {
					_, err := o.db.ExecContext(context.Background(),
						"ALTER USER "+quoted(user)+" IDENTIFIED BY "+quoted(password))
					return err
				}
				h.open = func(ctx context.Context, user, password string) error {
					other := *o.dsn
					other.User = url.UserPassword(user, password)
					db, err := sql.Open("oracle", other.String())
					if err != nil {
						return err
					}
					defer db.Close()
					if err = db.PingContext(ctx); code(err) == 1017 {
						return fmt.Errorf("%w: %w", engine.LoginRefused, err)
					}
					return err
				}
				return h
			})
		})
	}
}

func TestRealSingleUser(t *testing.T) {
	o := newReal(t)
	name := o.user("")
	r := &engine.Request{Strategy: engine.SingleUser, Current: o.value(name, old),
		Pending: o.value(strings.ToLower(name), new1), Login: o.value(name, old)}
	want(t, "", o.engine.DryRun(enginetest.Within(t), r))
	want(t, "", o.engine.Set(enginetest.Within(t), r))
	want(t, "", o.engine.Verify(enginetest.Within(t), r, r.Pending))
	want(t, engine.LoginRefused, o.engine.Verify(enginetest.Within(t), r, r.Current))
	want(t, engine.InvalidSecret, o.engine.Verify(enginetest.Within(t), r, r.Pending.With("dbname", "no_such_service")))
	r.Login = r.Pending
	want(t, "", o.engine.Set(enginetest.Within(t), r))
	o.exec("ALTER USER " + quoted(name) + " ACCOUNT LOCK")
	want(t, engine.PrivilegeMissing, o.engine.Verify(enginetest.Within(t), r, r.Pending))
}

func TestRealRollover(t *testing.T) {
	o := newReal(t)
	profile := strings.ToUpper(testserver.Unique("p"))
	o.exec("CREATE PROFILE " + profile + " LIMIT PASSWORD_ROLLOVER_TIME 1/24")
	t.Cleanup(func() { o.exec("DROP PROFILE " + profile + " CASCADE") })
	name := o.user("PROFILE " + profile)
	r := &engine.Request{Strategy: engine.SingleUser, Current: o.value(name, old), Pending: o.value(name, new1),
		Login: o.value(name, old)}
	for range 2 {
		want(t, "", o.engine.Set(enginetest.Within(t), r))
	}
	want(t, "", o.engine.Verify(enginetest.Within(t), r, r.Current))
	want(t, "", o.engine.Verify(enginetest.Within(t), r, r.Pending))
}

func TestRealAlternatingUsers(t *testing.T) {
	o := newReal(t)
	owner, name := o.user("QUOTA UNLIMITED ON USERS"), o.user("QUOTA 1M ON USERS")
	clone := name + "_CLONE"
	o.exec("CREATE TABLE " + quoted(owner) + `."Odd table" (a NUMBER, b NUMBER)`)
	o.exec("GRANT SELECT ON " + quoted(owner) + `."Odd table" TO ` + quoted(name) + " WITH GRANT OPTION")
	o.exec("GRANT UPDATE (a, b) ON " + quoted(owner) + `."Odd table" TO ` + quoted(name))
	o.exec("GRANT CREATE VIEW TO " + quoted(name) + " WITH ADMIN OPTION")
	o.exec("GRANT RESOURCE TO " + quoted(name))
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: o.value(name, old), Pending: o.value(clone, new1),
		Login: o.admin(), Superuser: true}
	want(t, "", o.engine.DryRun(enginetest.Within(t), r))
	for range 2 {
		want(t, "", o.engine.Set(enginetest.Within(t), r))
	}
	want(t, "", o.engine.Verify(enginetest.Within(t), r, r.Pending))
	want(t, "", o.engine.Verify(enginetest.Within(t), r, r.Current))
	for _, view := range []string{"dba_role_privs", "dba_sys_privs", "dba_tab_privs", "dba_col_privs"} {
		if a, b := o.count("SELECT COUNT(*) FROM "+view+" WHERE grantee = :1", name),
			o.count("SELECT COUNT(*) FROM "+view+" WHERE grantee = :1", clone); a != b || a == 0 {
			t.Errorf("%s: %d rows and %d", view, a, b)
		}
	}
	o.exec("REVOKE CREATE VIEW FROM " + quoted(clone))
	r.Current, r.Pending = o.value(clone, new1), o.value(name, new2)
	want(t, "", o.engine.Set(enginetest.Within(t), r))
	want(t, "", o.engine.Verify(enginetest.Within(t), r, r.Pending))
	if o.count("SELECT COUNT(*) FROM dba_sys_privs WHERE grantee = :1 AND privilege = 'CREATE VIEW'", name) != 0 {
		t.Error("a revoked privilege came back")
	}
	boss := o.user("")
	r.Current, r.Pending = o.value(name, new2), o.value(boss, new1)
	want(t, engine.TakeoverRefused, o.engine.Set(enginetest.Within(t), r))
}
