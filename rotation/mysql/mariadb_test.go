package mysql_test

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// strictMariaDB starts a server that accepts no hashes, with the general log off.
func strictMariaDB(t *testing.T, config string) *fixture {
	f := ownMariaDB(t, config)
	f.sql("SET GLOBAL general_log = OFF", "INSTALL SONAME 'simple_password_check'")
	f.strict = true
	return f
}

// ownMariaDB starts a separate server for a test.
func ownMariaDB(t *testing.T, config string) *fixture {
	server := testserver.During(startMariaDB)(t, serverOptions{AllowPlaintext: true, Config: config})
	return newFixture(t, "mariadb", server)
}

func TestEd25519IsKeptAndNeverOverlaps(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		user, first := f.user()
		f.sql("ALTER USER " + account(user, "%") + " IDENTIFIED VIA ed25519 USING PASSWORD(" + text(first) + ")")
		r := f.single(user, first, "Second-Pw-2")
		f.set(r)
		f.opens(user, true, "Second-Pw-2")
		f.opens(user, false, first)
		if s := f.created(user, "%"); !strings.Contains(s, "VIA ed25519 USING") {
			t.Errorf("the authentication method changed: %s", s)
		}
		f.set(f.alternating(user, "Second-Pw-2", user+"_clone", "Third-Pw-3"))
		f.opens(user+"_clone", true, "Third-Pw-3")
		if s := f.created(user+"_clone", "%"); !strings.Contains(s, "VIA ed25519 USING") {
			t.Errorf("the second user has another authentication method: %s", s)
		}
	})
}

func TestUnsupportedAuthenticationIsNotARefusal(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		for _, methods := range []string{
			"ed25519 USING PASSWORD('Other-Pw-1') OR mysql_native_password USING PASSWORD(%s)",
			"mysql_native_password USING PASSWORD('Other-Pw-1') OR mysql_native_password USING " +
				"PASSWORD('Other-Pw-2') OR mysql_native_password USING PASSWORD(%s)",
		} {
			user, first := f.user()
			// For a user that does not exist, MariaDB answers as it does for an existing account.
			t.Cleanup(func() { f.sql("DROP USER " + account(user, "%")) })
			f.sql("ALTER USER " + account(user, "%") + " IDENTIFIED VIA " + strings.ReplaceAll(methods, "%s",
				text(first)))
			err := f.engine.Set(context.Background(), f.single(user, first, "Second-Pw-2"))
			fails(t, err, engine.TargetFailed, "mysql_native_password first")
		}
	})
}

func TestSocketUserIsRefused(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		user := testserver.Unique("socket_")
		f.sql("CREATE USER " + account(user, "%") + " IDENTIFIED VIA unix_socket")
		fails(t, f.engine.DryRun(context.Background(), f.alternating(user, "x", user+"_clone", "Second-Pw-2")),
			engine.InvalidSecret, "with a password")
		fails(t, f.engine.DryRun(context.Background(), f.single(user, "x", "Second-Pw-2")),
			engine.LoginRefused, "with a password")
		f.sql("DROP USER " + account(user, "%"))
	})
}

// The password becomes the only method, which ends a login by another one.
func TestMethodThatEndsIsInTheLog(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		user, first := f.user()
		f.sql("ALTER USER " + account(user, "%") + " IDENTIFIED " + f.by(first) + " OR unix_socket")
		r, log := f.logged(f.reset(user, "Second-Pw-2"))
		f.set(r)
		if all := strings.Join(*log, "\n"); !strings.Contains(all, "IDENTIFIED WITH mysql_native_password") {
			t.Errorf("the log is %q", all)
		}
		*log = nil
		f.set(r)
		if *log != nil {
			t.Errorf("a repeated step logged %q", *log)
		}
	})
}

// A server that checks passwords itself accepts no hash. Then the password is sent as text, but appears in no log.
func TestServerThatAcceptsNoHashes(t *testing.T) {
	f := strictMariaDB(t, "log_bin = binary\nserver_id = 1")
	weakly, first := "weakly", "First-Pw-1"
	f.sql("CREATE USER weakly IDENTIFIED BY 'First-Pw-1'")
	r := f.single(weakly, first, testserver.Unique("Second-Pw-"))
	second, _ := r.Pending.Text("password")
	f.set(r)
	f.opens(weakly, true, second)
	fails(t, f.engine.Set(context.Background(), f.single(weakly, second, "weakweakweak")), engine.PolicyRejected)

	f.sql("CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('First-Pw-1')")
	ed := f.single("ed", first, second)
	f.set(ed)
	f.opens("ed", true, second)

	for range 2 {
		f.set(f.alternating(weakly, second, "weakly_clone", second))
		f.opens("weakly_clone", true, second)
	}
	var log strings.Builder
	log.WriteString(f.logs())
	rows, err := f.db.Query("SHOW BINLOG EVENTS LIMIT 1000")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, kind, info string
		var from, id, to int
		if err := rows.Scan(&name, &from, &kind, &id, &to, &info); err != nil {
			t.Fatal(err)
		}
		log.WriteString(info)
	}
	if !strings.Contains(log.String(), "SET PASSWORD FOR 'weakly'@'%'") {
		t.Error("the logs show nothing of the rotation")
	}
	if strings.Contains(log.String(), second) {
		t.Error("the password is in a log")
	}

	f.sql("SET GLOBAL general_log = ON")
	r = f.single(weakly, second, "Third-Pw-3")
	fails(t, f.engine.DryRun(context.Background(), r), engine.PolicyRejected, "general_log")
	fails(t, f.engine.Set(context.Background(), r), engine.PolicyRejected, "general_log")
	f.opens(weakly, true, second)
	f.opens(weakly, false, "Third-Pw-3")
	// The administrator may turn the log off for its session.
	f.set(f.alternating(weakly, second, "weakly_clone", "Third-Pw-3"))
}

// A server older than 10.4 quotes statements that it cannot parse, including hashes.
func TestStatementThatTheServerCannotParseIsNotQuoted(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		user, old := f.user()
		p := testserver.Proxy(t, f.server.Addr())
		p.Filter(func(c testserver.Chunk) bool {
			if !c.FromServer { // a grammar without OR; the statement keeps its length
				copy(c.Bytes, bytes.ReplaceAll(c.Bytes, []byte("' OR mysql"), []byte("' 0R mysql")))
			}
			return true
		})
		r := f.bySuperuser(user, old, "Second-Pw-2")
		for _, v := range []*engine.Value{&r.Current, &r.Pending, &r.Login} {
			*v = v.WithJSON("port", []byte(strconv.Itoa(p.Port))).WithJSON("ssl", []byte("false"))
		}
		err := f.engine.Set(t.Context(), r)
		fails(t, err, engine.TargetFailed, "1064", "error in your SQL syntax")
		for _, hash := range []string{hashed(old), hashed("Second-Pw-2"), "USING"} {
			if strings.Contains(err.Error(), hash) {
				t.Errorf("part of the statement is in the error: %v", err)
			}
		}
	})
}

// RDS's master user does not have every right on a database, and can grant what it has.
func TestRightThatTheMasterLacksIsNamed(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		database := f.server.Database(t)
		for _, right := range []string{"DELETE HISTORY", "ALL PRIVILEGES"} {
			user, first := f.user()
			f.sql("GRANT " + right + " ON " + database + ".* TO " + account(user, "%"))
			r := f.alternating(user, first, user+"_clone", "Second-Pw-2")
			r.Login, r.Current = f.master(database), r.Current.With("dbname", database)
			fails(t, f.engine.DryRun(t.Context(), r), engine.PrivilegeMissing, right, database)
			f.sql("REVOKE "+right+" ON "+database+".* FROM "+account(user, "%"),
				"GRANT "+ofDatabase+" ON "+database+".* TO "+account(user, "%"))
			f.set(r)
			f.sameRights(user, user+"_clone", "%")
		}
	})
}
