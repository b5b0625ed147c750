package mysql_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// rich creates a user with rights of every kind, and returns its database.
func (f *fixture) rich() (user, password, database string) {
	f.t.Helper()
	user, password = f.user("localhost")
	database = testserver.Unique("a TO b FROM `c` ON ")
	quoted := "`" + strings.ReplaceAll(database, "`", "``") + "`"
	role, other := testserver.Unique("role_"), testserver.Unique("other_")
	f.sql("CREATE DATABASE "+quoted,
		"CREATE TABLE "+quoted+".t (a int, `b,(c` int, `d)` int)",
		"CREATE PROCEDURE "+quoted+".p() SELECT 1",
		"CREATE FUNCTION "+quoted+".f() RETURNS int DETERMINISTIC RETURN 1",
		"CREATE ROLE "+role+", "+other)
	f.t.Cleanup(func() { f.sql("DROP DATABASE "+quoted, "DROP ROLE "+role+", "+other) })
	a := account(user, "localhost")
	f.sql("GRANT PROCESS, REPLICATION CLIENT ON *.* TO "+a,
		"GRANT SELECT, INSERT ON "+quoted+".* TO "+a+" WITH GRANT OPTION",
		"GRANT UPDATE (a, `b,(c`), SELECT (`d)`), DELETE ON "+quoted+".t TO "+a,
		"GRANT EXECUTE ON PROCEDURE "+quoted+".p TO "+a,
		"GRANT EXECUTE ON FUNCTION "+quoted+".f TO "+a,
		"GRANT "+role+" TO "+a,
		"GRANT "+other+" TO "+a+" WITH ADMIN OPTION",
		"ALTER USER "+a+" REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 4000 MAX_USER_CONNECTIONS 50 PASSWORD EXPIRE "+
			"INTERVAL 90 DAY")
	if f.name == "mariadb" {
		f.sql("SET DEFAULT ROLE "+role+" FOR "+a, "ALTER USER "+a+" WITH MAX_STATEMENT_TIME 12.5")
	} else {
		f.sql("ALTER USER "+a+" DEFAULT ROLE "+role+", "+other,
			"GRANT BACKUP_ADMIN, SHOW_ROUTINE ON *.* TO "+a,
			"GRANT RESOURCE_GROUP_ADMIN ON *.* TO "+a+" WITH GRANT OPTION",
			"ALTER USER "+a+` PASSWORD HISTORY 3 PASSWORD REUSE INTERVAL 2 DAY PASSWORD REQUIRE CURRENT `+
				`FAILED_LOGIN_ATTEMPTS 9 PASSWORD_LOCK_TIME UNBOUNDED ATTRIBUTE '{"team": {"a": 1, "b": "it\'s"}}'`)
	}
	return user, password, quoted
}

// sameAttributes checks that two users have the same attributes, except passwords.
func (f *fixture) sameAttributes(user, other, host string) {
	f.t.Helper()
	hash := regexp.MustCompile(`(?s) (IDENTIFIED WITH '[a-z0-9_]+' AS|IDENTIFIED BY PASSWORD) '.*?'` +
		`( (DEFAULT ROLE|REQUIRE|WITH|PASSWORD) |$)`)
	cut := func(name string) string {
		s := strings.ReplaceAll(f.created(name, host), name, "USER")
		if !hash.MatchString(s) {
			f.t.Fatalf("no password in %s", s)
		}
		s, _, _ = strings.Cut(hash.ReplaceAllString(s, "$2"), " ATTRIBUTE ") // belongs to one account
		return s
	}
	if a, b := cut(user), cut(other); a != b {
		f.t.Errorf("the users differ:\n%s\n%s", a, b)
	}
}

func TestAlternatingUsersHaveTheSameRights(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first, _ := f.rich()
		clone := user + "_clone"
		f.set(f.alternating(user, first, clone, "Second-Pw-2"))
		f.opens(clone, true, "Second-Pw-2")
		f.opens(user, true, first)
		f.sameRights(user, clone, "localhost")
		f.sameAttributes(user, clone, "localhost")
		if rows := f.granted(clone, "localhost"); len(rows) < 7 {
			t.Errorf("only %d rows of rights: %q", len(rows), rows)
		}
		r := f.alternating(clone, "Second-Pw-2", user, "Third-Pw-3")
		f.set(r)
		f.set(r)
		f.opens(clone, true, "Second-Pw-2")
		f.opens(user, true, "Third-Pw-3")
		f.opens(user, false, first)
		f.sameRights(user, clone, "localhost")
		f.sameAttributes(user, clone, "localhost")
	})
}

func TestWhatWasRevokedStaysRevoked(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first, database := f.rich()
		clone := user + "_clone"
		r := f.alternating(user, first, clone, "Second-Pw-2")
		f.set(r)
		a := account(user, "localhost")
		f.sql("REVOKE INSERT ON "+database+".* FROM "+a, "REVOKE GRANT OPTION ON "+database+".* FROM "+a,
			"REVOKE UPDATE (a) ON "+database+".t FROM "+a, "REVOKE EXECUTE ON PROCEDURE "+database+".p FROM "+a,
			"REVOKE PROCESS ON *.* FROM "+a, "GRANT ALL ON "+database+".t TO "+a)
		if f.name == "mysql" {
			f.sql("REVOKE SHOW_ROUTINE ON *.* FROM "+a, "ALTER USER "+a+" DEFAULT ROLE NONE")
		} else {
			f.sql("SET DEFAULT ROLE NONE FOR " + a)
		}
		f.sql("ALTER USER " + a + " REQUIRE NONE WITH MAX_QUERIES_PER_HOUR 0 PASSWORD EXPIRE NEVER")
		want := strings.Join(f.granted(user, "localhost"), "\n")
		f.set(r)
		f.sameRights(user, clone, "localhost")
		f.sameAttributes(user, clone, "localhost")
		if got := strings.Join(f.granted(clone, "localhost"), "\n"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		// The first user keeps a right that only the second loses, with a warning.
		f.sql("REVOKE SELECT ON " + database + ".* FROM " + account(clone, "localhost"))
		r, log := f.logged(f.alternating(clone, "Second-Pw-2", user, "Third-Pw-3"))
		f.set(r)
		warned(t, *log, "keeps a right", "REVOKE SELECT ON "+database+".* FROM "+account(user, "localhost"))
		if got := strings.Join(f.granted(user, "localhost"), "\n"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// The next user's password is new, and the expired one's does not expire again once it is set.
func TestExpiredPasswordIsNotCopied(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, r, _ := f.pair(f.admin())
		f.sql("ALTER USER " + account(user, "%") + " PASSWORD EXPIRE")
		f.set(r)
		f.set(f.alternating(user+"_clone", "Second-Pw-2", user, "Third-Pw-3"))
		f.opens(user, true, "Third-Pw-3")
		f.sameAttributes(user, user+"_clone", "%")
	})
}

// A DBA knows only the first user, and grants to it while the second is current.
func TestGrantToTheFirstUserIsNeverLost(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		database := f.server.Database(t)
		user, r, _ := f.pair(f.admin())
		clone, first := user+"_clone", r.Current
		old, _ := first.Text("password")
		f.sql("GRANT INSERT ON " + database + ".* TO " + account(user, "%"))
		back, log := f.logged(f.alternating(clone, "Second-Pw-2", user, "Third-Pw-3"))
		if err := f.engine.DryRun(t.Context(), back); err != nil {
			t.Fatal(err)
		}
		warned(t, *log, "keeps a right", "INSERT", database)
		f.set(back)
		for _, next := range []*engine.Request{back, f.alternating(user, "Third-Pw-3", clone, "Fourth-Pw-4")} {
			f.set(next)
			if rows := strings.Join(f.granted(user, "%"), "\n"); !strings.Contains(rows, "INSERT") {
				t.Errorf("the grant is lost: %s", rows)
			}
		}
		f.sameRights(user, clone, "%")
		// A grant to the current user reaches the other, in both directions.
		f.sql("GRANT DELETE ON " + database + ".* TO " + account(clone, "%"))
		f.set(f.alternating(clone, "Fourth-Pw-4", user, "Fifth-Pw-5"))
		f.sameRights(user, clone, "%")
		f.opens(user, false, old)
	})
}

// The superuser secret can name another user later, for example if superusers alternate.
func TestAnotherSuperuserContinues(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, b := f.weak(), f.weak()
		user, _, _ := f.pair(a)
		clone := user + "_clone"
		as := func(login engine.Value, r *engine.Request) *engine.Request { r.Login = login; return r }
		f.set(as(b, f.alternating(clone, "Second-Pw-2", user, "Third-Pw-3")))
		for i, login := range []engine.Value{b, a} {
			f.set(as(login, f.alternating(user, "Third-Pw-3", clone, fmt.Sprint("Fourth-Pw-", i))))
		}
		f.sql("DROP USER " + account(clone, "%"))
		f.set(as(b, f.alternating(user, "Third-Pw-3", clone, "Fifth-Pw-5")))
		f.opens(clone, true, "Fifth-Pw-5")
	})
}

func TestIncompleteSecondUserIsCompleted(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first, database := f.rich()
		clone := user + "_clone"
		f.set(f.alternating(user, first, clone, "Second-Pw-2"))
		// This looks as if the first call had died after its first GRANT.
		f.sql("REVOKE SELECT, INSERT ON "+database+".* FROM "+account(clone, "localhost"),
			"REVOKE EXECUTE ON FUNCTION "+database+".f FROM "+account(clone, "localhost"))
		f.set(f.alternating(user, first, clone, "Second-Pw-2"))
		f.sameRights(user, clone, "localhost")
	})
}

func TestTakeoverByNameIsRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		boss, bossPassword := f.user()
		low := boss + "_clone"
		f.sql("CREATE USER " + account(low, "%") + " IDENTIFIED BY 'Low-Pw-1'")
		if f.name == "mysql" {
			// With this privilege a user can write its own ATTRIBUTE.
			f.sql("GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO " + account(low, "%"))
		}
		before := f.created(boss, "%")
		r := f.alternating(low, "Low-Pw-1", boss, "Taken-Pw-2")
		fails(t, f.engine.DryRun(context.Background(), r), engine.TakeoverRefused, boss)
		fails(t, f.engine.Set(context.Background(), r), engine.TakeoverRefused, boss, "GRANT SHOW VIEW ON `rotator-")
		r.Proofs = []engine.Value{f.value(boss, "not boss's password")}
		fails(t, f.engine.Set(context.Background(), r), engine.TakeoverRefused, "GRANT SHOW VIEW ON `rotator-")
		r.Proofs = []engine.Value{f.value(boss, bossPassword)}
		f.sql("GRANT CREATE USER ON *.* TO " + account(boss, "%"))
		fails(t, f.engine.Set(context.Background(), r), engine.TakeoverRefused, boss, "an administrator")
		if f.created(boss, "%") != before {
			t.Error("boss was changed")
		}
		// In the other direction, a stranger's user gets no rights.
		f.sql("REVOKE CREATE USER ON *.* FROM " + account(boss, "%"))
		r = f.alternating(boss, bossPassword, low, "Taken-Pw-2")
		fails(t, f.engine.Set(context.Background(), r), engine.TakeoverRefused, low)
		f.opens(low, true, "Low-Pw-1")

		for _, r := range []*engine.Request{
			f.alternating("x_clone", "x", f.server.User, "Taken-Pw-2"),
			f.alternating(f.server.User, f.server.Password, f.server.User+"_clone", "Taken-Pw-2"),
		} {
			fails(t, f.engine.Set(context.Background(), r), engine.TakeoverRefused, "superuser itself")
		}
	})
}

func TestSecondUserIsAdoptedByProofOrMark(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user()
		clone := user + "_clone"
		f.sql("CREATE USER " + account(clone, "%") + " IDENTIFIED BY 'Old-Pw-1'")
		r := f.alternating(user, first, clone, "Second-Pw-2")
		r.Proofs = []engine.Value{r.Current, f.value(clone, "Old-Pw-1")}
		f.set(r)
		f.opens(clone, true, "Second-Pw-2")

		user, first = f.user()
		clone = user + "_clone"
		f.sql("CREATE USER " + account(clone, "%") + " IDENTIFIED BY 'Old-Pw-1'")
		r = f.alternating(user, first, clone, "Second-Pw-2")
		err := f.engine.Set(context.Background(), r)
		fails(t, err, engine.TakeoverRefused)
		_, statements, _ := strings.Cut(err.Error(), "administrator of the target: ")
		f.sql(strings.TrimSuffix(statements, ")"))
		f.set(r)
		f.opens(clone, true, "Second-Pw-2")
	})
}

func TestConcurrentSetsCreateOneSecondUser(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first, _ := f.rich()
		r := f.alternating(user, first, user+"_clone", "Second-Pw-2")
		errs := make(chan error)
		for range 4 {
			go func() { errs <- f.engine.Set(context.Background(), r) }()
		}
		for range 4 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		f.opens(user+"_clone", true, "Second-Pw-2")
		f.sameRights(user, user+"_clone", "localhost")
	})
}

func TestRightThatTheSuperuserLacksIsReportedFirst(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first, _ := f.rich()
		weak, password := f.user()
		f.sql("GRANT CREATE USER ON *.* TO "+account(weak, "%"), "GRANT SELECT ON mysql.* TO "+account(weak, "%"))
		r := f.alternating(user, first, user+"_clone", "Second-Pw-2")
		r.Login = f.value(weak, password)
		fails(t, f.engine.DryRun(context.Background(), r), engine.PrivilegeMissing, "engine's page")
		var n int
		if err := f.db.QueryRow("SELECT COUNT(*) FROM mysql.user WHERE User IN (?, 'rotator-nobody')", user+"_clone").
			Scan(&n); err != nil || n != 0 {
			t.Errorf("%d accounts were created (%v)", n, err)
		}
	})
}

// The grants are the ones on the engine's page.
func TestSuperuserNeedsNoMoreThanThePageSays(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user("localhost")
		database, role := f.server.Database(t), testserver.Unique("role_")
		rotator, password := f.user()
		by := account(rotator, "%")
		if f.name == "mysql" {
			f.sql("GRANT CREATE USER, ROLE_ADMIN ON *.* TO " + by)
		} else {
			f.sql("GRANT CREATE USER ON *.* TO " + by)
		}
		f.sql("CREATE ROLE "+role, "GRANT SELECT ON mysql.* TO "+by, "GRANT SHOW VIEW ON `rotator-%`.* TO "+by+
			" WITH GRANT OPTION", "GRANT SELECT, INSERT ON "+database+".* TO "+by+" WITH GRANT OPTION")
		if f.name == "mariadb" {
			f.sql("GRANT "+role+" TO "+by+" WITH ADMIN OPTION", "GRANT UPDATE ON mysql.* TO "+by)
		}
		a := account(user, "localhost")
		f.sql("GRANT SELECT, INSERT ON "+database+".* TO "+a, "GRANT "+role+" TO "+a)
		if f.name == "mariadb" {
			f.sql("SET DEFAULT ROLE " + role + " FOR " + a)
		} else {
			f.sql("ALTER USER " + a + " DEFAULT ROLE " + role)
		}
		clone := user + "_clone"
		for i := range 3 {
			next := fmt.Sprintf("Next-Pw-%d", i)
			r := f.alternating(user, first, clone, next)
			r.Login = f.value(rotator, password)
			f.set(r)
			f.sameRights(user, clone, "localhost")
			f.sameAttributes(user, clone, "localhost")
			user, clone, first = clone, user, next
		}
	})
}

func TestNoSuperuserPathChangesAnAdministrator(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		powers := []string{"CREATE USER ON *.*", "SUPER ON *.*", "UPDATE ON *.*", "INSERT ON mysql.*",
			"UPDATE ON mysql.tables_priv", "DELETE ON `my%`.*"}
		if f.name == "mysql" {
			powers = append(powers, "ROLE_ADMIN ON *.*", "SYSTEM_USER ON *.*", "SET_ANY_DEFINER ON *.*")
		} else {
			powers = append(powers, "SET USER ON *.*")
		}
		for _, power := range powers {
			for _, inherited := range []bool{false, true} {
				boss, bossPassword := f.user()
				low, lowPassword := f.user()
				if inherited {
					role, inner := testserver.Unique("team_"), testserver.Unique("dba_")
					f.sql("CREATE ROLE "+role+", "+inner, "GRANT "+power+" TO "+inner, "GRANT "+inner+" TO "+role,
						"GRANT "+role+" TO "+account(boss, "%"))
					defer f.sql("DROP ROLE " + role + ", " + inner)
				} else {
					f.sql("GRANT " + power + " TO " + account(boss, "%"))
				}
				proofs := []engine.Value{f.value(boss, bossPassword), f.value(low, lowPassword)}
				for _, r := range []*engine.Request{f.reset(boss, "Taken-Pw-2"), f.alternating(low, lowPassword, boss,
					"Taken-Pw-2"), f.alternating(boss, bossPassword, low, "Taken-Pw-2")} {
					r.Proofs = proofs
					for _, err := range []error{f.engine.DryRun(t.Context(), r), f.engine.Set(t.Context(), r)} {
						fails(t, err, engine.TakeoverRefused, boss, "an administrator")
					}
				}
				f.opens(boss, true, bossPassword)
			}
		}
	})
}

func TestChangedRightsAreInTheLog(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first, database := f.rich()
		clone := user + "_clone"
		r, log := f.logged(f.alternating(user, first, clone, "Second-Pw-2"))
		if err := f.engine.DryRun(t.Context(), r); err != nil || len(*log) > 0 {
			t.Fatalf("a rehearsal: %v, reports %q", err, *log)
		}
		if err := f.engine.Set(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		all := strings.Join(*log, "\n")
		for _, want := range []string{
			"INFO changed at the target: the user " + clone + " is created",
			"GRANT SHOW VIEW ON `rotator-", "GRANT EXECUTE ON PROCEDURE ",
			" TO " + account(clone, "localhost") + " WITH ADMIN OPTION",
			"ALTER USER " + account(clone, "localhost") + " REQUIRE SSL",
		} {
			if !strings.Contains(all, want) {
				t.Errorf("%q is not in the log:\n%s", want, all)
			}
		}
		for _, secret := range []string{"Second-Pw-2", first, hashed("Second-Pw-2"), "it's", "team"} {
			if strings.Contains(all, secret) {
				t.Errorf("%q is in the log:\n%s", secret, all)
			}
		}
		*log = nil
		f.sql("REVOKE INSERT ON " + database + ".* FROM " + account(user, "localhost"))
		if err := f.engine.Set(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		want := "REVOKE INSERT ON " + database + ".* FROM " + account(clone, "localhost")
		if len(*log) != 1 || !strings.Contains((*log)[0], want) {
			t.Errorf("%q", *log)
		}
	})
}

// A login that may grant rights on its own database grants the second user some, and the superuser has no power over
// that database.
func TestForeignGrantDoesNotStopARotation(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user()
		clone := user + "_clone"
		rotator, password := f.user()
		database, other := f.server.Database(t), f.server.Database(t)
		f.sql("GRANT CREATE USER ON *.* TO "+account(rotator, "%"), "GRANT SELECT ON mysql.* TO "+account(rotator, "%"),
			"GRANT SHOW VIEW ON `rotator-%`.* TO "+account(rotator, "%")+" WITH GRANT OPTION",
			"GRANT SELECT ON "+database+".* TO "+account(rotator, "%")+" WITH GRANT OPTION",
			"GRANT SELECT ON "+database+".* TO "+account(user, "%"))
		r, log := f.logged(f.alternating(user, first, clone, "Second-Pw-2"))
		r.Login = f.value(rotator, password)
		f.set(r)
		f.sql("GRANT INSERT ON "+other+".* TO "+account(clone, "%"),
			"GRANT SELECT ON "+database+".* TO "+account(clone, "%")+" WITH GRANT OPTION")
		*log = nil
		f.set(r)
		if all := strings.Join(*log, "\n"); !strings.Contains(all, "WARN") || !strings.Contains(all, other) ||
			strings.Contains(all, "changed at the target: REVOKE INSERT") {
			t.Errorf("no warning of the foreign right: %s", all)
		}
		if rows := strings.Join(f.granted(clone, "%"), "\n"); strings.Contains(rows, "OPTION") {
			t.Errorf("what the superuser can take was left: %s", rows)
		}
	})
}

func TestLockIsReportedInTime(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user()
		held, err := f.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		if _, err := held.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK"); err != nil {
			t.Fatal(err)
		}
		limited, cancel := context.WithTimeout(t.Context(), 14*time.Second)
		defer cancel()
		err = f.engine.Set(limited, f.alternating(user, first, user+"_clone", "Second-Pw-2"))
		if _, uerr := held.ExecContext(t.Context(), "UNLOCK TABLES"); uerr != nil {
			t.Fatal(uerr)
		}
		fails(t, err, engine.TargetFailed, "holds a lock")
	})
}
