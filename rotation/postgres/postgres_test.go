package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
	"example.com/rotator/rotation/operator"
	"example.com/rotator/rotation/postgres"
)

// servers are the versions of PostgreSQL that every test of the engine's SQL runs against: version 16 changed
// CREATEROLE.
var servers = map[string]testserver.PostgresOptions{
	"15": {},
	"18": {Major: 18},
}

// observed logs every statement and login, and has uncommon settings. Tests with it share a server.
var observed = testserver.PostgresOptions{Config: `log_statement = 'all'
log_min_duration_statement = 0
log_min_error_statement = 'debug5'
log_error_verbosity = 'verbose'
log_connections = on
shared_preload_libraries = 'passwordcheck'
datestyle = 'sql, dmy'
timezone = 'Asia/Kolkata'
rds.restrict_password_commands = on`}

// logged returns a function that returns what the server has logged from now on.
func logged(t *testing.T, pg *testserver.PostgresServer) func() string {
	read := func() string {
		t.Helper()
		text, err := pg.Logs()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	from := len(read())
	return func() string { return read()[from:] }
}

// each runs a test against every server.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	for name, o := range servers {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, testserver.SharedPostgres(t, o))) })
	}
}

func TestSingleUser(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user, old := w.role("")
		arn := w.secret(w.value(user, old, "note", `{"n": 1e400}`, "port", fmt.Sprintf("%q", fmt.Sprint(w.pg.Port))))
		for range 2 {
			if err := w.rotate(arn); err != nil {
				t.Fatal(err)
			}
			w.opens(arn)
			if _, err := w.connect(user, old); !refused(err) {
				t.Fatalf("the old password: %v, want a refusal", err)
			}
			_, old = w.current(arn)
		}
		out, err := w.client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &arn})
		if err != nil || !strings.Contains(*out.SecretString, `{"n": 1e400}`) {
			t.Errorf("a field of the secret was lost: %v", err)
		}
	})
}

func refused(err error) bool {
	return pgsession.Code(err) == "28P01"
}

// TestAlternatingUsers checks what AWS's template gets wrong: attributes, settings and memberships of the clone, and
// objects that either user creates.
func TestAlternatingUsers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user, password := w.role("CREATEDB CONNECTION LIMIT 7")
		group := testserver.Unique("group_")
		w.sql("CREATE ROLE %I", group)
		w.sql("GRANT %I TO %I", group, user)
		w.sql(`ALTER ROLE %I SET search_path TO "$user", public, "odd "" name, x"`, user)
		w.sql("ALTER ROLE %I IN DATABASE postgres SET work_mem TO '8MB'", user)
		w.sql("ALTER ROLE %I SET \"my.setting\" TO 'it''s \\ %%'", user)
		w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		arn := w.secret(w.value(user, password, "masterarn", fmt.Sprintf("%q", admin)))
		exec := func(conn *pgx.Conn, format string, args ...any) {
			t.Helper()
			if _, err := conn.Exec(t.Context(), fmt.Sprintf(format, args...)); err != nil {
				t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
			}
		}
		first := w.opens(arn)
		exec(first, "CREATE TABLE %s.one (id int)", user)
		for round := range 4 {
			before := w.opens(arn)
			if err := w.rotate(arn); err != nil {
				t.Fatalf("rotation %d: %v", round+1, err)
			}
			now, _ := w.current(arn)
			if want := []string{user + "_clone", user}[round%2]; now != want {
				t.Fatalf("rotation %d: the user is %s, want %s", round+1, now, want)
			}
			conn := w.opens(arn)
			exec(conn, "INSERT INTO %s.one VALUES (%d)", user, round)
			exec(conn, "CREATE TABLE %s.made_%d (id int)", user, round)
			exec(before, "SELECT * FROM %s.made_%d", user, round)
			exec(before, "DROP TABLE %s.made_%d", user, round)
			exec(conn, "CREATE TABLE %s.kept_%d (id int)", user, round)
			for setting, want := range map[string]string{"search_path": `"$user", public, "odd "" name, x"`, "work_mem": "8MB", "my.setting": `it's \ %`} {
				var got string
				if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&got); err != nil || got != want {
					t.Errorf("rotation %d: %s is %q, want %q (%v)", round+1, setting, got, want, err)
				}
			}
			var create bool
			var limit int
			var member bool
			if err := conn.QueryRow(t.Context(), "SELECT rolcreatedb, rolconnlimit, pg_has_role(session_user, $1, 'MEMBER') FROM pg_roles WHERE rolname = session_user", group).Scan(&create, &limit, &member); err != nil || !create || limit != 7 || !member {
				t.Errorf("rotation %d: CREATEDB %v, limit %d, member %v (%v)", round+1, create, limit, member, err)
			}
		}
		// What is revoked stays revoked, whichever user is current.
		w.sql("REVOKE %I FROM %I", group, user)
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
		var member bool
		if err := w.opens(arn).QueryRow(t.Context(), "SELECT pg_has_role(session_user, $1, 'MEMBER')", group).Scan(&member); err != nil || member {
			t.Errorf("a membership that was revoked came back (%v)", err)
		}
	})
}

// TestPairOfAWSTemplate takes over the pair that AWS's template leaves: a clone that is only a member, with separate
// objects and grants.
func TestPairOfAWSTemplate(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user, oldPassword := w.role("")
		clone, password := user+"_clone", "clone-Passw0rd-1"
		w.sql("CREATE ROLE %I LOGIN PASSWORD %L", clone, password)
		w.sql("GRANT %I TO %I", user, clone)
		w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
		w.sql("CREATE TABLE %I.stray (id int)", user)
		w.sql("ALTER TABLE %I.stray OWNER TO %I", user, clone)
		w.sql("CREATE TABLE %I.granted (id int, secret int)", user)
		w.sql("GRANT SELECT (id) ON %I.granted TO %I WITH GRANT OPTION", user, clone)
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		extra := []string{"masterarn", fmt.Sprintf("%q", admin)}
		made := func() string {
			arn := w.secret(w.value(user, oldPassword, extra...))
			if _, err := w.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String(w.value(clone, password, extra...))}); err != nil {
				t.Fatal(err)
			}
			return arn
		}
		wantCause(t, w.rotate(made()), engine.TakeoverRefused, "rotatorctl adopt")
		arn := made()
		w.env["ADOPT_PAIRS"] = "true"
		for range 2 {
			if err := w.rotate(arn); err != nil {
				t.Fatal(err)
			}
			conn := w.opens(arn)
			for _, q := range []string{"SELECT * FROM %s.stray", "DELETE FROM %s.stray", "SELECT id FROM %s.granted"} {
				if _, err := conn.Exec(t.Context(), fmt.Sprintf(q, user)); err != nil {
					now, _ := w.current(arn)
					t.Errorf("as %s: %s: %v", now, q, err)
				}
			}
		}
	})
}

// TestTakeoverByNameIsRefused: a login named like another user's second user must not make a superuser hand over that
// other user.
func TestTakeoverByNameIsRefused(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	boss, bossPassword := w.role("")
	low, lowPassword := boss+"_clone", "low-Passw0rd-1"
	w.sql("CREATE ROLE %I LOGIN PASSWORD %L", low, lowPassword)
	stranger, strangerPassword := w.role("")
	w.sql("CREATE ROLE %I LOGIN PASSWORD 'stranger'", stranger+"_clone")
	admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
	for name, value := range map[string]string{
		"the clone's name gives the boss":  w.value(low, lowPassword, "masterarn", admin),
		"a clone that is somebody else's":  w.value(stranger, strangerPassword, "masterarn", admin),
		"the superuser's own name":         w.value(w.pg.User, w.pg.Password, "masterarn", admin),
		"a user whose password is unknown": w.value(boss, "guessed", "masterarn", admin),
	} {
		arn := w.secret(value)
		err := w.rotate(arn)
		want := engine.TakeoverRefused
		if strings.Contains(name, "unknown") {
			want = engine.LoginRefused
		}
		if engine.CauseOf(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if n := w.versions(arn); n != 1 {
			t.Errorf("%s: %d versions have a value, want 1", name, n)
		}
	}
	if _, err := w.connect(boss, bossPassword); err != nil {
		t.Errorf("the boss was locked out: %v", err)
	}
	if _, err := w.connect(stranger+"_clone", "stranger"); err != nil {
		t.Errorf("the stranger's second user was changed: %v", err)
	}
}

// TestRotatorThatIsNoSuperuser rotates with only CREATEROLE, like RDS's master user.
func TestRotatorThatIsNoSuperuser(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		master, masterPassword := w.role("CREATEROLE CREATEDB")
		m, err := w.connect(master, masterPassword)
		if err != nil {
			t.Fatal(err)
		}
		user, password := testserver.Unique("app_"), "first-Passw0rd-1"
		if _, err := m.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", user, password)); err != nil {
			t.Fatal(err)
		}
		admin := w.secret(w.value(master, masterPassword))
		arn := w.secret(w.value(user, password, "masterarn", fmt.Sprintf("%q", admin)))
		for range 3 {
			if err := w.rotate(arn); err != nil {
				t.Fatal(err)
			}
			w.opens(arn)
		}
		// A missing right is reported before anything is stored.
		other, otherPassword := w.role("")
		weak, weakPassword := w.role("")
		admin = w.secret(w.value(weak, weakPassword))
		arn = w.secret(w.value(other, otherPassword, "masterarn", fmt.Sprintf("%q", admin)))
		wantCause(t, w.rotate(arn), engine.PrivilegeMissing, "createSecret")
		if n := w.versions(arn); n != 1 {
			t.Errorf("%d versions have a value, want 1", n)
		}
	})
}

// TestNothingReachesTheServersLog searches the server's log, with all DDL in it, for passwords and verifiers.
func TestNothingReachesTheServersLog(t *testing.T) {
	pg := testserver.SharedPostgres(t, observed)
	logs := logged(t, pg)
	w := newWorld(t, pg)
	user, password := w.role("")
	admin := w.secret(w.value(pg.User, pg.Password))
	single := w.secret(w.value(user, password))
	if err := w.rotate(single); err != nil {
		t.Fatal(err)
	}
	_, password = w.current(single)
	alternating := w.secret(w.value(user, password, "masterarn", fmt.Sprintf("%q", admin)))
	if err := w.rotate(alternating); err != nil {
		t.Fatal(err)
	}
	_, password2 := w.current(alternating)
	log := logs()
	if !strings.Contains(log, "CREATE ROLE") || !strings.Contains(log, `ALTER ROLE "`+user+`" PASSWORD`) {
		t.Fatal("the server does not log its statements, so this test proves nothing")
	}
	for _, hidden := range []string{password, password2, "SCRAM-SHA-256$"} {
		if strings.Contains(log, hidden) {
			t.Errorf("the server's log has a credential")
		}
		if strings.Contains(w.log.String(), hidden) {
			t.Errorf("the function's log has a credential")
		}
	}
}

// TestSetIsTheSameEveryTime: a repeated step stores the same bytes, and concurrent steps do not interfere.
func TestSetIsTheSameEveryTime(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user, password := w.role("")
		e := postgres.New(w.tls)
		r := engine.Request{Secret: "arn", Version: "v1", Strategy: engine.SingleUser, Current: engine.StringValue(w.value(user, password)), Pending: engine.StringValue(w.value(user, "next-Passw0rd-1"))}
		stored := func() (s string) {
			if err := w.pg.Connect(t, "postgres").QueryRow(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", user).Scan(&s); err != nil {
				t.Fatal(err)
			}
			return s
		}
		r.Login = r.Current
		if err := e.Set(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
		first := stored()
		errs := make(chan error)
		for range 12 {
			go func() {
				r := r
				r.Login = r.Pending
				errs <- e.Set(t.Context(), &r)
			}()
		}
		for range 12 {
			if err := <-errs; err != nil {
				t.Errorf("at once: %v", err)
			}
		}
		if stored() != first {
			t.Error("a repeated Set stored another verifier")
		}
		r.Version = "v2"
		r.Login = r.Pending
		if err := e.Set(t.Context(), &r); err != nil || stored() == first {
			t.Errorf("another version has the same salt (%v)", err)
		}
	})
}

// TestBadInput: each fault has its cause and is reported before anything changes.
func TestBadInput(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	w.limit = 4 * time.Second
	silent := testserver.Blackhole(t)
	expired, expiredPassword := w.role("VALID UNTIL '2020-01-01'")
	nologin, nologinPassword := w.role("")
	w.sql("ALTER ROLE %I NOLOGIN", nologin)
	user, password := w.role("")
	clear := testserver.SharedPostgres(t, testserver.PostgresOptions{NoTLS: true})
	reason := func(s string) string { return fmt.Sprintf("%q", s) }
	for name, tc := range map[string]struct {
		value string
		cause engine.Cause
		text  string
	}{
		"not JSON":            {"just-a-password", engine.InvalidSecret, "not a JSON object"},
		"wrong engine":        {w.value(user, password, "engine", `"sybase"`), engine.InvalidSecret, `"sybase"`},
		"no engine":           {w.value(user, password, "engine", ""), engine.InvalidSecret, "no engine"},
		"no host":             {w.value(user, password, "host", ""), engine.InvalidSecret, "host is missing"},
		"all missing at once": {`{"engine":"postgres"}`, engine.InvalidSecret, "host is missing, password is missing, username is missing"},
		"port is a word":      {w.value(user, password, "port", `"five"`), engine.InvalidSecret, "port"},
		"name too long":       {w.value(strings.Repeat("x", 64), password), engine.InvalidSecret, "63 bytes"},
		"unknown name":        {w.value(user, password, "host", `"no-such-host.invalid"`), engine.NameNotResolved, "resolve"},
		"closed port":         {w.value(user, password, "port", "1"), engine.Unreachable, "security groups"},
		"host is silent":      {w.value(user, password, "port", fmt.Sprint(silent)), engine.Unreachable, "does not answer"},
		"wrong password":      {w.value(user, "wrong"), engine.LoginRefused, "AWSCURRENT"},
		"unknown user":        {w.value("nobody_"+user, password), engine.LoginRefused, "AWSCURRENT"},
		"expired":             {w.value(expired, expiredPassword), engine.LoginRefused, "VALID UNTIL"},
		"may not log in":      {w.value(nologin, nologinPassword), engine.PrivilegeMissing, "LOGIN"},
		"unknown database":    {w.value(user, password, "dbname", `"nowhere"`), engine.InvalidSecret, "dbname"},
		"server without TLS":  {w.value(user, password, "port", fmt.Sprint(clear.Port)), engine.TLSFailed, "no TLS"},
		"ssl true, no TLS":    {w.value(user, password, "port", fmt.Sprint(clear.Port), "ssl", "true"), engine.TLSFailed, "no TLS"},
		"no masterarn":        {w.value(user, password, "masterarn", reason("arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf")), engine.InvalidSecret, "superuser"},
	} {
		t.Run(name, func(t *testing.T) {
			arn := w.secret(tc.value)
			begin := time.Now()
			wantCause(t, w.rotate(arn), tc.cause, tc.text)
			if took := time.Since(begin); took > w.limit {
				t.Errorf("it took %s of %s", took, w.limit)
			}
			if n := w.versions(arn); n != 1 {
				t.Errorf("%d versions have a value, want 1", n)
			}
			if out, err := w.client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &arn}); err != nil || *out.SecretString != tc.value {
				t.Errorf("the secret was changed (%v)", err)
			}
			for _, hidden := range []string{password, expiredPassword} {
				if strings.Contains(w.log.String(), hidden) {
					t.Error("the log has the password")
				}
			}
		})
	}
	if _, err := w.connect(user, password); err != nil {
		t.Errorf("the user was changed: %v", err)
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	for name, tc := range map[string]struct {
		cert func(ca, other *testserver.CA) *testserver.Certificate
		text string
	}{
		"another CA":   {func(_, other *testserver.CA) *testserver.Certificate { return issue(t, other, "localhost") }, "signed by unknown authority"},
		"another name": {func(ca, _ *testserver.CA) *testserver.Certificate { return issue(t, ca, "db.example") }, "not localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			ca, other := newCA(t), newCA(t)
			pg := testserver.Postgres(t, testserver.PostgresOptions{CA: ca, Cert: tc.cert(ca, other)})
			w := newWorld(t, pg)
			w.tls = engine.TLSPolicy{ExtraCAs: ca.PEM, AllowPlaintext: true}
			arn := w.secret(w.value("app", "password-1"))
			wantCause(t, w.rotate(arn), engine.TLSFailed, tc.text)
		})
	}
}

// TestCertificateOfAnAlias: a secret can name its host's certificate. That applies to the secret's own login; for the
// superuser's login, only the superuser secret applies.
func TestCertificateOfAnAlias(t *testing.T) {
	ca := newCA(t)
	cert, err := ca.Issue("localhost") // not the address in the secrets
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{CA: ca, Cert: cert}))
	user, password := w.role("")
	named := []string{"host", `"127.0.0.1"`, "tlsServerName", `"localhost"`}
	arn := w.secret(w.value(user, password, named...))
	if err := w.rotate(arn); err != nil {
		t.Fatal(err)
	}
	user, password = w.role("")
	wantCause(t, w.rotate(w.secret(w.value(user, password, named[:2]...))), engine.TLSFailed, "use the certificate's name")
	admin := w.secret(w.value(w.pg.User, w.pg.Password, named[:2]...))
	wantCause(t, w.rotate(w.secret(w.value(user, password, append(named, "masterarn", fmt.Sprintf("%q", admin))...))), engine.TLSFailed, "use the certificate's name")
	admin = w.secret(w.value(w.pg.User, w.pg.Password, named...))
	if err := w.rotate(w.secret(w.value(user, password, append(named, "masterarn", fmt.Sprintf("%q", admin))...))); err != nil {
		t.Error(err)
	}
}

func newCA(t *testing.T) *testserver.CA {
	ca, err := testserver.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *testserver.CA, host string) *testserver.Certificate {
	c, err := ca.Issue(host)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPlaintextOnlyWhereItIsAskedFor: either the secret asks for it, or the operator allows it and the secret does not
// forbid it.
func TestPlaintextOnlyWhereItIsAskedFor(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{NoTLS: true}))
	for _, tc := range []struct {
		ssl   string
		allow bool
		want  bool
	}{{"", false, false}, {"", true, true}, {"false", false, true}, {`"false"`, false, true}, {"true", true, false}, {`"maybe"`, true, true}, {"1", false, false}} {
		user, password := w.role("")
		w.tls.AllowPlaintext = tc.allow
		err := w.rotate(w.secret(w.value(user, password, "ssl", tc.ssl)))
		if (err == nil) != tc.want || err != nil && engine.CauseOf(err) != engine.TLSFailed {
			t.Errorf("ssl %s, fallback %v: %v", tc.ssl, tc.allow, err)
		}
	}
}

// TestDatabaseNameSaysNothingOfTLS: the driver quotes the database's name in its errors, and a name may equal the
// text that identifies a server without TLS.
func TestDatabaseNameSaysNothingOfTLS(t *testing.T) {
	pg := testserver.Postgres(t, testserver.PostgresOptions{HBA: "host all all 127.0.0.1/32 scram-sha-256\nlocal all all trust"})
	w := newWorld(t, pg)
	const name = "server refused TLS connection"
	w.sql("CREATE DATABASE %I", name)
	user, password := w.role("")
	there := fmt.Sprintf("%q", name)
	wantCause(t, w.rotate(w.secret(w.value(user, "not-it", "dbname", there))), engine.LoginRefused, "AWSCURRENT")
	w.tls = engine.TLSPolicy{AllowPlaintext: true} // and the server's CA is unknown
	wantCause(t, w.rotate(w.secret(w.value(user, password))), engine.TLSFailed, "signed by unknown authority")
	wantCause(t, w.rotate(w.secret(w.value(user, password, "dbname", there))), engine.TLSFailed, "signed by unknown authority")
}

// TestOddNamesAndPasswords: the server's own parser checks all quoting.
func TestOddNamesAndPasswords(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	for _, name := range []string{`we"ird`, `it's`, `back\slash`, `semi;colon -- x`, "new\nline", `pg %I %L %%`, "ünïcödé-名", `"; DROP TABLE x; --`, "$1"} {
		user := testserver.Unique(name)
		w.sql("CREATE ROLE %I LOGIN PASSWORD 'first-Passw0rd-1'", user)
		arn := w.secret(w.value(user, "first-Passw0rd-1"))
		if err := w.rotate(arn); err != nil {
			t.Errorf("%q: %v", user, err)
			continue
		}
		w.opens(arn)
	}
	// An operator may set a password with every printable character.
	var all strings.Builder
	for c := ' '; c < 127; c++ {
		all.WriteRune(c)
	}
	user := testserver.Unique("app_")
	w.sql("CREATE ROLE %I LOGIN PASSWORD %L", user, all.String())
	w.env = map[string]string{"EXCLUDE_CHARACTERS": " ", "PASSWORD_LENGTH": "94"}
	arn := w.secret(w.value(user, all.String()))
	if err := w.rotate(arn); err != nil {
		t.Fatal(err)
	}
	w.opens(arn)
}

// TestPolicyRejectionIsToldBeforeTheValueIsStored uses the module passwordcheck, which refuses a password that is the
// user's name.
func TestPolicyRejectionIsToldBeforeTheValueIsStored(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, observed))
	user, password := w.role("")
	r := engine.Request{Version: "v", Strategy: engine.SingleUser, Current: engine.StringValue(w.value(user, password)), Pending: engine.StringValue(w.value(user, user))}
	r.Login = r.Current
	if err := postgres.New(w.tls).Set(t.Context(), &r); !errors.Is(err, engine.PolicyRejected) {
		t.Errorf("Set: %v", err)
	}
	if _, err := w.connect(user, password); err != nil {
		t.Errorf("a rejected password changed the user: %v", err)
	}
	// A value that is staged anyway is stuck until it is abandoned. At this length, it has no seal.
	w.env["PASSWORD_LENGTH"] = "10"
	arn := w.secret(w.value(user, password))
	w.interrupt = rotation.CreateSecret
	if err := w.rotate(arn); err == nil {
		t.Fatal("the rotation was not interrupted")
	}
	w.interrupt = ""
	d, err := w.client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	if err != nil {
		t.Fatal(err)
	}
	for id, labels := range d.VersionIdsToStages {
		if slices.Contains(labels, "AWSPENDING") {
			if _, err := w.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &arn, ClientRequestToken: &id, SecretString: aws.String(w.value(user, user)), VersionStages: []string{"AWSPENDING"}}); err != nil {
				t.Fatal(err)
			}
			wantCause(t, w.handle(t.Context(), rotation.Event{Step: rotation.FinishSecret, SecretID: arn, ClientRequestToken: id}), engine.PolicyRejected, "the target is unchanged: AWSCURRENT opens it (correct the password settings, then abandon this rotation with `rotatorctl recover --yes`")
		}
	}
	if diagnosis, err := operator.Recover(t.Context(), w.rotator(), arn); err != nil || !strings.Contains(diagnosis.Action, "removed AWSPENDING") {
		t.Fatalf("recover: %+v, %v", diagnosis, err)
	}
	delete(w.env, "PASSWORD_LENGTH")
	if err := w.rotate(arn); err != nil {
		t.Errorf("an ordinary password was rejected: %v", err)
	}
	w.opens(arn)
}

// TestHappyPathIsLean counts calls and logins; AWS's template needs 14 calls and a refused login.
func TestHappyPathIsLean(t *testing.T) {
	pg := testserver.SharedPostgres(t, observed)
	w := newWorld(t, pg)
	user, password := w.role("")
	arn := w.secret(w.value(user, password))
	calls, logs := w.countCalls(), logged(t, pg)
	if err := w.rotate(arn); err != nil {
		t.Fatal(err)
	}
	log := logs()
	logins := strings.Count(log, "connection authorized: user="+user)
	refusals := strings.Count(log, "password authentication failed")
	t.Logf("calls %d, logins %d, refused %d", calls(), logins, refusals)
	if calls() > 12 || logins > 4 || refusals != 0 {
		t.Errorf("%d calls of Secrets Manager, %d logins, %d refused; want at most 12, 4 and 0", calls(), logins, refusals)
	}
}

// TestPreflight sends what RotateSecret sends if it does not rotate immediately: only testSecret, with a copy of the
// current value.
func TestPreflight(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	user, password := w.role("")
	weak, weakPassword := w.role("")
	strong := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
	feeble := fmt.Sprintf("%q", w.secret(w.value(weak, weakPassword)))
	for name, tc := range map[string]struct {
		value string
		cause engine.Cause
	}{
		"single user":              {w.value(user, password), ""},
		"single, wrong password":   {w.value(user, "wrong"), engine.LoginRefused},
		"single, no form":          {w.value(user, password, "host", ""), engine.InvalidSecret},
		"alternating":              {w.value(user, password, "masterarn", strong), ""},
		"alternating, no right to": {w.value(user, password, "masterarn", feeble), engine.PrivilegeMissing},
		"alternating, wrong":       {w.value(user, "wrong", "masterarn", strong), engine.LoginRefused},
	} {
		arn := w.secret(tc.value)
		_, err := w.client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: &arn, RotationLambdaARN: aws.String(functionARN), RotateImmediately: aws.Bool(false)})
		if err != nil {
			t.Fatal(err)
		}
		_ = w.sim.WaitRotation(t.Context(), arn)
		if w.last == nil && tc.cause != "" || w.last != nil && engine.CauseOf(w.last) != tc.cause {
			t.Errorf("%s: %v, want %q", name, w.last, tc.cause)
		}
		if n := w.versions(arn); n != 1 {
			t.Errorf("%s: %d versions, want 1", name, n)
		}
	}
	var exists bool
	if err := w.pg.Connect(t, "postgres").QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", user+"_clone").Scan(&exists); err != nil || exists {
		t.Errorf("a test has made the second user (%v)", err)
	}
}
