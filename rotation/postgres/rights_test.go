package postgres_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/postgres"
)

// pairOf creates a user with the given attributes, and its secret with a superuser.
func (w *world) pairOf(attributes string, fields ...string) (arn, user string) {
	w.t.Helper()
	user, password := w.role(attributes)
	admin := w.secret(w.value(w.pg.User, w.pg.Password))
	return w.secret(w.value(user, password, append([]string{"masterarn", fmt.Sprintf("%q", admin)}, fields...)...)), user
}

// opensIn is opens for another database.
func (w *world) opensIn(arn, database string) *pgx.Conn {
	w.t.Helper()
	user, password := w.current(arn)
	conn, err := pgx.Connect(w.t.Context(), w.pg.URLFor(user, password, database))
	if err != nil {
		w.t.Fatalf("AWSCURRENT does not open the database %s: %v", database, err)
	}
	w.t.Cleanup(func() { conn.Close(w.t.Context()) })
	return conn
}

// TestMembershipWithoutItsRightsIsCompleted: from version 16 on, a member may lack the rights of a role and be unable
// to become it.
func TestMembershipWithoutItsRightsIsCompleted(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{Major: 18}))
	for _, options := range []string{"INHERIT FALSE, SET FALSE", "SET FALSE", "INHERIT FALSE"} {
		arn, user := w.pairOf("")
		w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
		w.sql("GRANT %I TO %I WITH "+options, user, user+"_clone")
		for range 2 {
			if err := w.rotate(arn); err != nil {
				t.Errorf("%s: %v", options, err)
				break
			}
			w.exec(w.opens(arn), "CREATE TABLE "+user+"."+testserver.Unique("t_")+" (id int)")
		}
	}
}

// TestSessionsThatDoNotBecomeTheFirstUser: testSecret detects them in the session itself.
func TestSessionsThatDoNotBecomeTheFirstUser(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		db := w.pg.Database(t)
		arn, user := w.pairOf("", "dbname", fmt.Sprintf("%q", db))
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
		if err := w.rotate(arn); err != nil { // the first user is current
			t.Fatal(err)
		}
		// Its own setting for the database takes precedence over the first user's, which the engine has read.
		w.sql("ALTER ROLE %I IN DATABASE %I SET role = 'none'", user, db)
		wantCause(t, w.rotate(arn), engine.PrivilegeMissing, "do not become the first user")
	})
}

// TestRoleThatADatabaseSets: the second user's sessions also get it.
func TestRoleThatADatabaseSets(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		db, owner := w.pg.Database(t), testserver.Unique("owner_")
		arn, user := w.pairOf("", "dbname", fmt.Sprintf("%q", db))
		w.sql("CREATE ROLE %I", owner)
		w.sql("GRANT %I TO %I", owner, user)
		w.sql("ALTER DATABASE %I SET role TO %I", db, owner)
		for range 3 {
			if now := w.text(w.opensIn(arn, db), "SELECT current_user::text"); now != owner {
				t.Errorf("the sessions are %s, want %s", now, owner)
			}
			if err := w.rotate(arn); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestSecondUserMayConnectBeforeItBecomesTheFirst: this holds even if the first user does not inherit.
func TestSecondUserMayConnectBeforeItBecomesTheFirst(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		db := w.pg.Database(t)
		arn, user := w.pairOf("NOINHERIT", "dbname", fmt.Sprintf("%q", db))
		w.sql("REVOKE CONNECT ON DATABASE %I FROM PUBLIC", db)
		w.sql("GRANT CONNECT ON DATABASE %I TO %I", db, user)
		for range 3 {
			if err := w.rotate(arn); err != nil {
				t.Fatal(err)
			}
			w.opensIn(arn, db)
		}
		if inherits := w.text(w.pg.Connect(t, "postgres"), "SELECT rolinherit::text FROM pg_roles WHERE rolname = $1", user); inherits != "false" {
			t.Error("the first user inherits now")
		}
	})
}

// TestMemberOfRDSIAM: on RDS, members of rds_iam log in by PAM, with a token instead of a password. One user of a
// pair may have become a member.
func TestMemberOfRDSIAM(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{HBA: "hostssl all +rds_iam 127.0.0.1/32 pam\nhostssl all all 127.0.0.1/32 scram-sha-256\nlocal all all trust"}))
	w.sql("CREATE ROLE rds_iam")
	arn, user := w.pairOf("")
	for range 2 {
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
	}
	w.sql("GRANT rds_iam TO %I", user+"_clone")
	w.sql("CREATE ROLE %I IN ROLE rds_iam", "by_"+user) // a member of a member
	for _, role := range []string{"rds_iam", "by_" + user} {
		w.sql("REVOKE rds_iam FROM %I", user+"_clone")
		w.sql("GRANT %I TO %I", role, user+"_clone")
		before := w.versions(arn)
		err := w.rotate(arn)
		wantCause(t, err, engine.PrivilegeMissing, "REVOKE rds_iam FROM \""+user+"_clone\"")
		if !strings.HasPrefix(err.Error(), "createSecret") || w.versions(arn) != before {
			t.Errorf("%v, want it of createSecret, before a value is stored", err)
		}
		w.opens(arn)
		w.abandon(arn)
		w.sql("REVOKE %I FROM %I", role, user+"_clone")
	}
	w.sql("GRANT rds_iam TO %I", user) // and so to both
	err := w.rotate(arn)
	wantCause(t, err, engine.PrivilegeMissing, "REVOKE rds_iam FROM")
	w.abandon(arn)
	w.sql("REVOKE rds_iam FROM %I", user)
	if err := w.rotate(arn); err != nil {
		t.Fatal(err)
	}
	w.opens(arn)
}

// TestDatesSurviveTheServersOwnForm: the server expects the day first.
func TestDatesSurviveTheServersOwnForm(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, observed))
	arn, user := w.pairOf("VALID UNTIL '2040-05-04 12:00:00+00'")
	if err := w.rotate(arn); err != nil {
		t.Fatal(err)
	}
	if n := w.text(w.pg.Connect(t, "postgres"), "SELECT count(DISTINCT rolvaliduntil)::text FROM pg_roles WHERE rolname IN ($1, $2)", user, user+"_clone"); n != "1" {
		t.Error("the two users do not end on the same day")
	}
}

// TestServerThatStoresMD5: this is reported before the role gets SCRAM.
func TestServerThatStoresMD5(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{Config: "password_encryption = md5", HBA: "hostssl all all 127.0.0.1/32 md5"}))
	user, password := w.role("")
	if err := w.rotate(w.secret(w.value(user, password))); err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(w.log.String(), "pending value stored")
	if !strings.Contains(before, "password_encryption is md5") {
		t.Error("createSecret does not say that clients need SCRAM")
	}
}

// TestUserWithoutConnect: the rights that rotatorctl prints do not include it.
func TestUserWithoutConnect(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{}))
	w.sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
	user, password := w.role("")
	wantCause(t, w.rotate(w.secret(w.value(user, password))), engine.PrivilegeMissing,
		`GRANT CONNECT ON DATABASE "postgres" TO "`+user)
}

// TestWithoutPlpgsql: createSecret reports that nothing else keeps the verifier out of the server's log.
func TestWithoutPlpgsql(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{}))
	w.sql("REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC")
	user, password := w.role("")
	arn := w.secret(w.value(user, password))
	err := w.rotate(arn)
	wantCause(t, err, engine.PrivilegeMissing, "GRANT USAGE ON LANGUAGE plpgsql TO")
	if !strings.HasPrefix(err.Error(), "createSecret") {
		t.Errorf("%v, want it of createSecret", err)
	}
	w.sql("GRANT USAGE ON LANGUAGE plpgsql TO %I", user)
	if err := w.rotate(w.secret(w.value(user, password))); err != nil {
		t.Error(err)
	}
}

// TestAuditsHaveNoVerifier: neither an audit log of the statements inside a block nor, if a superuser acts,
// pg_stat_statements contains a verifier.
func TestAuditsHaveNoVerifier(t *testing.T) {
	for _, major := range []int{0, 18} {
		o := testserver.PostgresOptions{Major: major, Config: "shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track = all\nlog_statement = 'all'\nlog_min_duration_statement = 0"}
		if major == 0 { // pgaudit is packaged for Debian's own version
			o.Config = strings.Replace(o.Config, "pg_stat_statements'", "pg_stat_statements,pgaudit'\npgaudit.log = 'all'\npgaudit.log_parameter = on", 1)
		}
		w := newWorld(t, testserver.Postgres(t, o))
		w.sql("CREATE EXTENSION pg_stat_statements")
		if major == 0 {
			w.sql("CREATE EXTENSION pgaudit")
		}
		arn, user := w.pairOf("")
		w.sql("ALTER ROLE %I SET app.key = 'a-key-in-a-setting'", user)
		logs := logged(t, w.pg)
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
		single, password := w.role("")
		if err := w.rotate(w.secret(w.value(single, password))); err != nil {
			t.Fatal(err)
		}
		log := logs()
		if !strings.Contains(log, `ALTER ROLE "`+single+`" PASSWORD`) {
			t.Fatal("the log has no statement, so this test proves nothing")
		}
		if strings.Contains(log, "SCRAM-SHA-256$") {
			t.Errorf("version %d: a verifier is in the log", major)
		}
		if major == 18 && strings.Contains(log, "a-key-in-a-setting") { // pgaudit writes it
			t.Error("a setting's value is in the log")
		}
		if n := w.text(w.pg.Connect(t, "postgres"), "SELECT count(*)::text FROM pg_stat_statements WHERE query LIKE '%' || $1 || '% PASSWORD %SCRAM%'", user+"_clone"); n != "0" {
			t.Errorf("version %d: pg_stat_statements has %s verifiers that a superuser set", major, n)
		}
	}
}

// TestWhatIsGivenIsInTheLog: the log has every granted right and attribute, and what only the second user has.
func TestWhatIsGivenIsInTheLog(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		arn, user := w.pairOf("CREATEDB CONNECTION LIMIT 7")
		w.sql("ALTER ROLE %I SET app.key = 'a-key-in-a-setting'", user)
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
		clone := `\"` + user + `_clone\"` // as in the log's JSON
		for _, want := range []string{"the user " + user + "_clone is created", `GRANT \"` + user + `\" TO ` + clone, "ALTER ROLE " + clone + " LOGIN CREATEDB CONNECTION LIMIT 7",
			"ALTER ROLE " + clone + ` SET \"app\".\"key\" TO ...`, "ALTER ROLE " + clone + ` SET \"role\" TO ...`, "COMMENT ON ROLE " + clone + " IS 'rotator: second user of"} {
			if n := strings.Count(w.log.String(), "changed at the target: "+want); n != 1 {
				t.Errorf("the log says %d times: %s", n, want)
			}
		}
		w.log.Reset()
		w.sql("CREATE TABLE %I (id int)", user+"_theirs")
		w.sql("GRANT SELECT ON %I TO %I", user+"_theirs", user+"_clone")
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
		log := w.log.String()
		if strings.Contains(log, "changed at the target") ||
			!strings.Contains(log, "only the second user "+user+"_clone, not "+user+", is the holder of 1 objects or rights in the database postgres") {
			t.Errorf("the log of a rotation that changes no right:\n%s", log)
		}
		if strings.Contains(log, "a-key-in-a-setting") {
			t.Error("the log has a setting's value")
		}
	})
}

// TestNextUserCanLogIn: an administrator has taken LOGIN from the current user, which the next one must have.
func TestNextUserCanLogIn(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	user, password := w.role("")
	w.sql("ALTER ROLE %I NOLOGIN", user)
	r := &engine.Request{Strategy: engine.AlternatingUsers, Superuser: true, Login: engine.StringValue(w.value(w.pg.User, w.pg.Password)),
		Current: engine.StringValue(w.value(user, password)), Pending: engine.StringValue(w.value(user+"_clone", "Second-Passw0rd-2"))}
	e := postgres.New(w.tls)
	if err := e.Set(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := e.Verify(t.Context(), r, r.Pending); err != nil {
		t.Error(err)
	}
}

// TestServerTooOldForSCRAM: such a server would store a verifier as the password.
func TestServerTooOldForSCRAM(t *testing.T) {
	for version, want := range map[string]engine.Cause{"9.6.24": engine.InvalidSecret, "8.0.2": engine.InvalidSecret, "10.23 (Debian)": engine.Unreachable} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go greet(l, version)
		v := engine.StringValue(fmt.Sprintf(`{"engine":"postgres","host":"127.0.0.1","port":%d,"ssl":false,"username":"u","password":"p"}`, l.Addr().(*net.TCPAddr).Port))
		err = postgres.New(engine.TLSPolicy{}).Verify(enginetest.Within(t), &engine.Request{Current: v, Login: v}, v)
		if engine.CauseOf(err) != want {
			t.Errorf("version %s: %v, want %s", version, err, want)
		}
		l.Close()
	}
}

// greet accepts every login as a server of some version, and then hangs up.
func greet(l net.Listener, version string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		size := make([]byte, 4)
		_, _ = io.ReadFull(c, size)
		_, _ = io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(size))-4)
		message := func(kind byte, body string) {
			_, _ = c.Write(append(append([]byte{kind}, binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))...), body...))
		}
		message('R', "\x00\x00\x00\x00")
		message('S', "server_version\x00"+version+"\x00")
		message('Z', "I")
		c.Close()
	}
}

// TestWhatTheSecondUserSees: the engine's page lists how a session of the second user differs from the first user's,
// and the remedies.
func TestWhatTheSecondUserSees(t *testing.T) {
	for _, major := range []int{0, 18} {
		w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{Major: major,
			HBA: "local all all trust\nhostssl all admin 127.0.0.1/32 scram-sha-256\nhostssl all +shop 127.0.0.1/32 scram-sha-256"}))
		w.sql("CREATE ROLE shop LOGIN PASSWORD 'first-Passw0rd-1'")
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		arn := w.secret(w.value("shop", "first-Passw0rd-1", "masterarn", fmt.Sprintf("%q", admin)))
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
		own, other := w.opens(arn), w.opens(arn) // by +shop in pg_hba.conf
		who := w.text(own, "SELECT session_user || ' ' || current_user")
		if who != "shop_clone shop" {
			t.Errorf("the session is of %s", who)
		}
		sees := func() (cancels, reads bool) {
			t.Helper()
			var may string
			err := own.QueryRow(t.Context(), "SELECT pg_cancel_backend($1)::text", int32(other.PgConn().PID())).Scan(&may)
			return err == nil, w.text(own, "SELECT (query IS NOT NULL AND query NOT LIKE '%insufficient privilege%')::text FROM pg_stat_activity WHERE pid = $1", int32(other.PgConn().PID())) == "true"
		}
		if cancels, reads := sees(); cancels || reads {
			t.Errorf("version %d: the session cancels %v, sees %v: the page says it does not", major, cancels, reads)
		}
		w.exec(own, "SET ROLE NONE")
		if cancels, reads := sees(); !cancels || !reads {
			t.Errorf("version %d: after SET ROLE NONE it cancels %v, sees %v", major, cancels, reads)
		}
		w.exec(own, "RESET ROLE")
		w.sql("GRANT pg_signal_backend, pg_read_all_stats TO shop")
		if cancels, reads := sees(); !cancels || !reads {
			t.Errorf("version %d: with the roles it cancels %v, sees %v", major, cancels, reads)
		}
	}
}

// TestManyPairsOfOneGroup rotates ten pairs concurrently, by a master that is not a superuser.
func TestManyPairsOfOneGroup(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		admin, master := w.master()
		group := testserver.Unique("group_")
		w.exec(master, "CREATE ROLE "+group)
		var arns []string
		for range 10 {
			user := testserver.Unique("app_")
			w.exec(master, "CREATE ROLE "+user+" LOGIN PASSWORD 'first-Passw0rd-1'", "GRANT "+group+" TO "+user)
			arns = append(arns, w.secret(w.value(user, "first-Passw0rd-1", "masterarn", fmt.Sprintf("%q", admin))))
		}
		for range 2 {
			var wg sync.WaitGroup
			for _, arn := range arns {
				wg.Go(func() { _ = w.rotate(arn) })
			}
			wg.Wait()
		}
		for _, arn := range arns {
			if now, _ := w.current(arn); strings.HasSuffix(now, "_clone") {
				t.Errorf("%s has not rotated twice:\n%s", now, w.log)
				break
			}
			w.opens(arn)
		}
	})
}

// TestUserNamedLikeASecondUser: the user that the engine creates is the second, although the first one's name has the
// suffix.
func TestUserNamedLikeASecondUser(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user, password := testserver.Unique("app_")+"_clone", "first-Passw0rd-1"
		w.sql("CREATE ROLE %I LOGIN PASSWORD %L", user, password)
		w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		arn := w.secret(w.value(user, password, "masterarn", fmt.Sprintf("%q", admin)))
		for range 3 {
			before := w.opens(arn)
			if err := w.rotate(arn); err != nil {
				t.Fatal(err)
			}
			table := user + "." + testserver.Unique("t_")
			w.exec(w.opens(arn), "CREATE TABLE "+table+" (id int)")
			w.exec(before, "DROP TABLE "+table)
		}
	})
}
