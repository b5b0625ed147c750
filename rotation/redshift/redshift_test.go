package redshift

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
	"example.com/rotator/rotation/pair"
)

// cluster is a PostgreSQL that stores MD5 digests and has Redshift's views in a database.
type cluster struct {
	*testserver.PostgresServer
	t        *testing.T
	engine   *Engine
	admin    *pgx.Conn // in the database
	database string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, PostgresServer: testserver.SharedPostgres(t, testserver.PostgresOptions{
		HBA: "hostssl all all 127.0.0.1/32 md5", Config: "password_encryption = 'md5'\nlog_statement = 'all'"})}
	c.engine = New(engine.TLSPolicy{ExtraCAs: c.CA.PEM})
	c.database = c.Database(t)
	c.admin = c.Connect(t, c.database)
	c.exec(c.admin, shim)
	return c
}

func (c *cluster) exec(conn *pgx.Conn, sql string, args ...any) {
	c.t.Helper()
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		c.t.Fatalf("%s: %v", sql, err)
	}
}

func (c *cluster) ask(conn *pgx.Conn, sql string, args ...any) (answer bool) {
	c.t.Helper()
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&answer); err != nil {
		c.t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

// value is a secret's value for the cluster.
func (c *cluster) value(user, password string) engine.Value {
	c.t.Helper()
	b, err := json.Marshal(map[string]any{"engine": "redshift", "host": "localhost", "port": c.Port, "dbname": c.database, "username": user, "password": password, "ssl": true})
	if err != nil {
		c.t.Fatal(err)
	}
	return engine.StringValue(string(b))
}

func (c *cluster) superuser() engine.Value { return c.value(c.User, c.Password) }

func (c *cluster) user(password string) string {
	c.t.Helper()
	u := testserver.Unique("u")
	c.exec(c.admin, "CREATE USER "+u+" PASSWORD '"+password+"'")
	return u
}

func ctx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func want(t *testing.T, cause engine.Cause, err error) {
	t.Helper()
	if cause == "" && err != nil || cause != "" && (err == nil || engine.CauseOf(err) != cause) {
		t.Errorf("error %v, want cause %q", err, cause)
	}
}

const old, new1, new2 = "Old-password1", "New-password1", "Newer-password2"

func TestASingleUserChangesItsOwnPasswordAndTheServerNeverSeesIt(t *testing.T) {
	c := newCluster(t)
	u := c.user(old)
	r := &engine.Request{Version: "v", Strategy: engine.SingleUser, Current: c.value(u, old), Pending: c.value(u, new1), Login: c.value(u, old)}
	want(t, "", c.engine.DryRun(ctx(t), r))
	want(t, "", c.engine.Verify(ctx(t), r, r.Current))
	want(t, engine.LoginRefused, c.engine.Verify(ctx(t), r, r.Pending))
	want(t, "", c.engine.Set(ctx(t), r))
	want(t, "", c.engine.Verify(ctx(t), r, r.Pending))
	want(t, engine.LoginRefused, c.engine.Set(ctx(t), r))
	r.Login = r.Pending // as the ladder does after an interrupted step
	want(t, "", c.engine.Set(ctx(t), r))
	logs, err := c.Logs()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(logs, new1) {
		t.Error("the server's log has the new password")
	}
	if !strings.Contains(logs, "ALTER USER") {
		t.Error("the server's log has no statement: the search proves nothing")
	}
}

func TestASuperuserChangesASingleUser(t *testing.T) {
	c := newCluster(t)
	u := c.user(old)
	r := &engine.Request{Version: "v", Strategy: engine.SingleUser, Current: c.value(u, old), Pending: c.value(u, new1), Login: c.superuser(), Superuser: true, SuperuserChanges: true}
	want(t, "", c.engine.DryRun(ctx(t), r))
	want(t, "", c.engine.Verify(ctx(t), r, r.Current))
	want(t, engine.LoginRefused, c.engine.Verify(ctx(t), r, r.Pending))
	for range 2 { // a repeated step has the same outcome
		want(t, "", c.engine.Set(ctx(t), r))
		want(t, "", c.engine.Verify(ctx(t), r, r.Pending))
		want(t, engine.LoginRefused, c.engine.Verify(ctx(t), r, r.Current))
	}
	logs, err := c.Logs()
	if err != nil || strings.Contains(logs, new1) {
		t.Errorf("the server's log has the new password, or %v", err)
	}
}

func TestTheSecondUserHasTheFirstsRightsAndNoMore(t *testing.T) {
	c := newCluster(t)
	u := c.user(old)
	clone := u + "_clone"
	g, stray := testserver.Unique("g"), testserver.Unique("g")
	for _, sql := range []string{
		"CREATE SCHEMA s", `CREATE TABLE s."odd "" TO name" (a int, b int)`, "CREATE TABLE s.own (a int)", "CREATE TABLE s.revoked (a int)",
		"CREATE FUNCTION s.f(a int, b character varying) RETURNS int LANGUAGE sql AS 'SELECT 1'", "REVOKE EXECUTE ON FUNCTION s.f FROM PUBLIC",
		"CREATE GROUP " + g, "CREATE GROUP " + stray,
		"GRANT USAGE ON SCHEMA s TO " + u, `GRANT SELECT ON s."odd "" TO name" TO ` + u + " WITH GRANT OPTION", `GRANT UPDATE (b) ON s."odd "" TO name" TO ` + u,
		"ALTER TABLE s.own OWNER TO " + u, "GRANT SELECT ON s.revoked TO " + u, "GRANT EXECUTE ON FUNCTION s.f TO " + u,
		"GRANT TEMPORARY ON DATABASE " + c.database + " TO " + u, "ALTER GROUP " + g + " ADD USER " + u,
		"ALTER USER " + u + " CREATEDB CONNECTION LIMIT 7", "ALTER USER " + u + " SET search_path TO s, '$user', 'with \"quote'",
		"ALTER USER " + u + " VALID UNTIL '2099-01-02 03:04:05'", "ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO " + u,
	} {
		c.exec(c.admin, sql)
	}
	r := &engine.Request{Version: "v", Strategy: engine.AlternatingUsers, Current: c.value(u, old), Pending: c.value(clone, new1), Login: c.superuser(), Superuser: true}

	want(t, "", c.engine.DryRun(ctx(t), r))
	if c.ask(c.admin, "SELECT EXISTS (SELECT FROM pg_user WHERE usename = $1)", clone) {
		t.Fatal("the dry run left a user")
	}
	for range 2 { // a repeated step has the same outcome
		want(t, "", c.engine.Set(ctx(t), r))
	}
	want(t, "", c.engine.Verify(ctx(t), r, r.Pending))
	want(t, "", c.engine.Verify(ctx(t), r, r.Current))
	for _, q := range []string{
		`SELECT has_table_privilege($1, 's."odd "" TO name"', 'SELECT WITH GRANT OPTION')`, `SELECT has_column_privilege($1, 's."odd "" TO name"', 'b', 'UPDATE')`,
		`SELECT NOT has_column_privilege($1, 's."odd "" TO name"', 'a', 'UPDATE')`, "SELECT has_table_privilege($1, 's.own', 'DELETE')",
		"SELECT has_function_privilege($1, 's.f(int, character varying)', 'EXECUTE')", "SELECT pg_has_role($1, '" + g + "', 'MEMBER')",
		"SELECT usecreatedb AND valuntil = '2099-01-02 03:04:05' FROM pg_user WHERE usename = $1", "SELECT rolconnlimit = 7 FROM pg_roles WHERE rolname = $1",
		"SELECT useconfig::text = (SELECT useconfig::text FROM pg_user WHERE usename = '" + u + "') FROM pg_user WHERE usename = $1",
		"SELECT count(*) = 1 FROM svv_default_privileges WHERE grantee_name = $1",
	} {
		if !c.ask(c.admin, q, clone) {
			t.Errorf("not so: %s", q)
		}
	}

	// Rotate back, after an administrator revoked rights from the first and granted some to the second.
	c.exec(c.admin, "REVOKE SELECT ON s.revoked FROM "+clone)
	c.exec(c.admin, "ALTER GROUP "+stray+" ADD USER "+u)
	c.exec(c.admin, "ALTER USER "+clone+" NOCREATEDB")
	c.exec(c.admin, "ALTER USER "+clone+" RESET ALL")
	r = &engine.Request{Version: "w", Strategy: engine.AlternatingUsers, Current: c.value(clone, new1), Pending: c.value(u, new2), Login: c.superuser(), Superuser: true}
	want(t, "", c.engine.DryRun(ctx(t), r))
	want(t, "", c.engine.Set(ctx(t), r))
	want(t, "", c.engine.Verify(ctx(t), r, r.Pending))
	for _, q := range []string{
		"SELECT NOT has_table_privilege($1, 's.revoked', 'SELECT')", "SELECT NOT pg_has_role($1, '" + stray + "', 'MEMBER')",
		"SELECT NOT usecreatedb AND useconfig IS NULL FROM pg_user WHERE usename = $1", "SELECT has_table_privilege($1, 's.own', 'SELECT')",
	} {
		if !c.ask(c.admin, q, u) {
			t.Errorf("not so after the way back: %s", q)
		}
	}
}

func TestOtherUsersAreNotChanged(t *testing.T) {
	c := newCluster(t)
	u, boss := c.user(old), testserver.Unique("boss")
	c.exec(c.admin, "CREATE USER "+u+"_clone PASSWORD '"+old+"'")
	c.exec(c.admin, "CREATE USER "+boss+" SUPERUSER PASSWORD '"+old+"'")
	c.exec(c.admin, "CREATE USER "+boss+"_clone PASSWORD '"+old+"'")
	c.exec(c.admin, `CREATE USER "`+c.User+`_clone" PASSWORD '`+old+`'`)
	t.Cleanup(func() { c.exec(c.admin, `DROP USER "`+c.User+`_clone"`) })
	for current, other := range map[string]string{u: u + "_clone", boss + "_clone": boss, c.User + "_clone": c.User} {
		r := &engine.Request{Version: "v", Strategy: engine.AlternatingUsers, Current: c.value(current, old), Pending: c.value(other, new1), Login: c.superuser(), Superuser: true}
		want(t, engine.TakeoverRefused, c.engine.DryRun(ctx(t), r))
		want(t, engine.TakeoverRefused, c.engine.Set(ctx(t), r))
		r.Pending = c.value(other, old)
		if other != c.User {
			want(t, "", c.engine.Verify(ctx(t), r, r.Pending))
		}
	}
	r := &engine.Request{Version: "v", Strategy: engine.AlternatingUsers, Current: c.value(u, old), Pending: c.value(u+"_clone", new1), Login: c.superuser(), Superuser: true}
	r.Proofs = []engine.Value{r.Current, r.Pending}
	want(t, "", c.engine.Set(ctx(t), r))
	r.Proofs = nil
	r.Pending = c.value(u+"_clone", new2)
	want(t, "", c.engine.Set(ctx(t), r)) // it is marked now
	single := &engine.Request{Version: "v", Strategy: engine.SingleUser, Current: c.value(boss, old), Pending: c.value(boss, new1), Login: c.superuser(), Superuser: true}
	want(t, engine.TakeoverRefused, c.engine.Set(ctx(t), single))
}

// An application may keep a key in a setting of its user.
func TestErrorsLeaveSettingsValuesOut(t *testing.T) {
	c := newCluster(t)
	current := &user{name: c.user(old), settings: []string{"app.key=it's a-key TO us", "work_mem=a-key-in-a-setting"}}
	other := &user{name: c.user(old)}
	err := c.engine.With(ctx(t), c.superuser(), func(s *pgsession.Session) error {
		return s.Transaction(ctx(t), &engine.Request{}, true, func(w *pgsession.Work) error {
			return (&target{w}).attributes(ctx(t), current, other)
		})
	})
	want(t, engine.TargetFailed, err)
	if !strings.Contains(fmt.Sprint(err), `SET "work_mem"`) || strings.Contains(fmt.Sprint(err), "a-key") {
		t.Errorf("%v", err)
	}
}

// The database's owner puts first in the search path a schema with a function that gives away a superuser's powers and
// a view that shows no group.
func TestTheSuperuserReadsNothingOfTheDatabasesOwner(t *testing.T) {
	c := newCluster(t)
	u, mole := c.user(old), c.user(old)
	for _, sql := range []string{
		"CREATE SCHEMA evil", "GRANT USAGE ON SCHEMA evil TO PUBLIC",
		`CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
	IF pg_catalog.current_setting('is_superuser') = 'on' THEN EXECUTE 'ALTER ROLE ` + mole + ` SUPERUSER'; END IF;
	RETURN pg_catalog.lower($1);
END $$`,
		"CREATE VIEW evil.pg_group AS SELECT * FROM pg_catalog.pg_group WHERE false", "GRANT SELECT ON evil.pg_group TO PUBLIC",
		"ALTER DATABASE " + c.database + " SET search_path = evil, pg_catalog, public",
	} {
		c.exec(c.admin, sql)
	}
	r := &engine.Request{Version: "v", Strategy: engine.AlternatingUsers, Current: c.value(u, old), Pending: c.value(u+"_clone", new1), Login: c.superuser(), Superuser: true}
	want(t, "", c.engine.DryRun(ctx(t), r))
	for range 2 {
		want(t, "", c.engine.Set(ctx(t), r))
	}
	want(t, "", c.engine.Verify(ctx(t), r, r.Pending))
	if c.ask(c.Connect(t, "postgres"), "SELECT usesuper FROM pg_user WHERE usename = $1", mole) {
		t.Error("the owner's other user is a superuser now")
	}
}

func TestAWrongFormIsRefusedWithEveryFault(t *testing.T) {
	_, err := New(engine.TLSPolicy{}).Next(context.Background(), &engine.Request{Current: engine.StringValue(`{"engine":"redshift","port":"x"}`)})
	want(t, engine.InvalidSecret, err)
	for _, field := range []string{"host", "username", "password", "port"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q does not name %s", err, field)
		}
	}
	_, err = New(engine.TLSPolicy{}).Parse(engine.StringValue(`{"host":"h","username":"PUBLIC","password":"p"}`))
	want(t, engine.InvalidSecret, err)
}

func TestAnswersOfRedshiftHaveTheirCause(t *testing.T) {
	target := engine.Target{Host: "h", Port: 5439}
	for _, row := range []struct {
		err   error
		cause engine.Cause
	}{
		{&pgconn.PgError{Code: "28000", Message: `password authentication failed for user "app"`}, engine.LoginRefused},
		{&pgconn.PgError{Code: "28P01", Message: `password authentication failed for user "app"`}, engine.LoginRefused},
		{&pgconn.PgError{Code: "28000", Message: `no pg_hba.conf entry for host "10.0.0.1", user "app", database "dev", SSL off`}, engine.PrivilegeMissing},
		{&pgconn.PgError{Code: "42501", Message: "permission denied"}, engine.PrivilegeMissing},
		{&pgconn.PgError{Code: "3D000", Message: `database "x" does not exist`}, engine.InvalidSecret},
		{&pgconn.PgError{Code: "XX000", Message: "Insufficient privileges"}, engine.TargetFailed},
	} {
		want(t, row.cause, (&pgsession.Session{Target: target}).Classify("no login", fmt.Errorf("driver: %w", row.err)))
	}
}

func TestTheDigestIsRedshifts(t *testing.T) {
	// The example of AWS's page on CREATE USER: SELECT md5('ez' || 'user1').
	if got := digest("ez", "user1"); got != "md5153c434b4b77c89e6b94f12c5393af5b" {
		t.Errorf("%s", got)
	}
}

// Each view's rows are replaced with rows that only Redshift has.
func TestRightsThatOnlyRedshiftHasBecomeItsStatements(t *testing.T) {
	pg := testserver.SharedPostgres(t, testserver.PostgresOptions{})
	s, err := pgsession.Dial(ctx(t), engine.TLSPolicy{ExtraCAs: pg.CA.PEM},
		engine.Target{Host: pg.Host, Port: pg.Port, User: pg.User, Password: pg.Password, Database: "postgres", TLS: engine.TLSOn}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	work := &target{&pgsession.Work{Session: s}}
	for _, row := range []struct {
		of, rows   string
		give, take string
	}{
		{"svv_user_grants", `(VALUES ('r"x', false, 'u')) v (role_name, admin_option, user_name)`, `GRANT ROLE "r""x" TO "u"`, `REVOKE ROLE "r""x" FROM "u"`},
		{"svv_user_grants", `(VALUES ('r', true, 'u')) v (role_name, admin_option, user_name)`, `GRANT ROLE r TO "u" WITH ADMIN OPTION`, `REVOKE ROLE r FROM "u"`},
		{"svv_database_privileges", scopes("USAGE", "DATABASE", "database_name", "shared"), `GRANT USAGE ON DATABASE shared TO "u"`, `REVOKE USAGE ON DATABASE shared FROM "u"`},
		{"svv_database_privileges", scopes("SELECT", "TABLES", "database_name", "d"), `GRANT SELECT FOR TABLES IN DATABASE d TO "u"`, `REVOKE SELECT FOR TABLES IN DATABASE d FROM "u"`},
		{"svv_schema_privileges", scopes("EXECUTE", "FUNCTIONS", "namespace_name", "s"), `GRANT EXECUTE FOR FUNCTIONS IN SCHEMA s TO "u"`, `REVOKE EXECUTE FOR FUNCTIONS IN SCHEMA s FROM "u"`},
		{"svv_default_privileges", byDefault("PROCEDURE", "NULL"), `ALTER DEFAULT PRIVILEGES FOR USER o GRANT EXECUTE ON PROCEDURES TO "u"`, `ALTER DEFAULT PRIVILEGES FOR USER o REVOKE EXECUTE ON PROCEDURES FROM "u"`},
		{"svv_default_privileges", byDefault("FUNCTION", `'s "x'`), `ALTER DEFAULT PRIVILEGES FOR USER o IN SCHEMA "s ""x" GRANT EXECUTE ON FUNCTIONS TO "u"`, `ALTER DEFAULT PRIVILEGES FOR USER o IN SCHEMA "s ""x" REVOKE EXECUTE ON FUNCTIONS FROM "u"`},
	} {
		all := queries()
		query := all[slices.IndexFunc(all, func(q string) bool { return strings.Contains(q, row.of) })]
		query = strings.Replace(query, row.of, row.rows, 1)
		rights, err := work.read(ctx(t), []string{query}, "u", "u")
		if err != nil || !slices.Equal(rights, []pair.Right{{Give: row.give, Take: row.take}}) || strange(row.give) {
			t.Errorf("%+v, %v\nwant %q, %q", rights, err, row.give, row.take)
		}
	}
}

// scopes returns a row of a view of rights with a scope.
func scopes(right, scope, of, named string) string {
	return fmt.Sprintf("(VALUES ('%s', '%s', '%s', false, 'user', 'u')) v (privilege_type, privilege_scope, %s, admin_option, identity_type, identity_name)", right, scope, named, of)
}

// byDefault returns a row of the view of default privileges.
func byDefault(object, schema string) string {
	return fmt.Sprintf("(VALUES ('o', %s::text, 'EXECUTE', '%s', false, 'user', 'u')) v (owner_name, schema_name, privilege_type, object_type, admin_option, grantee_type, grantee_name)", schema, object)
}

func TestSilentServerDoesNotBlock(t *testing.T) {
	silent := testserver.Blackhole(t)
	limited, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	v := engine.StringValue(fmt.Sprintf(`{"host":"127.0.0.1","port":%d,"username":"u","password":"p"}`, silent))
	start := time.Now()
	want(t, engine.Unreachable, New(engine.TLSPolicy{}).Verify(limited, &engine.Request{}, v))
	if d := time.Since(start); d > 600*time.Millisecond {
		t.Errorf("the call took %s", d)
	}
}

func FuzzQuotedTextIsReadAsItIs(f *testing.F) {
	for _, s := range []string{"", "a", "it's", `\`, `\'`, "'; DROP", "%L", " TO ", "\n", "ü", `"`, "E'", `\\'`} {
		f.Add(s)
	}
	pg := testserver.SharedPostgres(f, testserver.PostgresOptions{})
	conn := pg.Connect(f, "postgres")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) || strings.ToValidUTF8(s, "") != s {
			return // ParseTarget refuses NUL, and JSON cannot hold invalid UTF-8
		}
		for _, conforming := range []string{"on", "off"} {
			if _, err := conn.Exec(context.Background(), "SET standard_conforming_strings = "+conforming); err != nil {
				t.Fatal(err)
			}
			var got string
			if err := conn.QueryRow(context.Background(), "SELECT "+pgsession.Literal(s)+"::text", pgx.QueryExecModeExec).Scan(&got); err != nil || got != s {
				t.Fatalf("%q came back as %q: %v", s, got, err)
			}
			rows, err := conn.Query(context.Background(), "SELECT 1 AS "+name(s+"x"), pgx.QueryExecModeExec)
			if err != nil {
				t.Fatal(err)
			}
			column := rows.FieldDescriptions()[0].Name
			rows.Close()
			if len(s) < 63 && column != s+"x" {
				t.Fatalf("the name %q was read as %q", s+"x", column)
			}
		}
	})
}
