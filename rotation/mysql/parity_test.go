package mysql_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
)

// owner creates a login that owns a database that the superuser does not.
func (f *fixture) owner() (c client, name, database string) {
	name, password := f.user()
	database = f.server.Database(f.t)
	f.sql("GRANT ALL ON " + database + ".* TO " + account(name, "%") + " WITH GRANT OPTION")
	return (&harness{fixture: f}).as(name, password, database), name, database
}

// weak creates a superuser that may grant only the mark.
func (f *fixture) weak() engine.Value {
	name, password := f.user()
	f.sql("GRANT CREATE USER ON *.* TO "+account(name, "%"), "GRANT SELECT ON mysql.* TO "+account(name, "%"))
	f.sql("GRANT SHOW VIEW ON `rotator-%`.* TO " + account(name, "%") + " WITH GRANT OPTION")
	return f.value(name, password)
}

// pair rotates a new user to its second one, with the superuser's login, and returns the request.
func (f *fixture) pair(superuser engine.Value) (user string, r *engine.Request, log *[]string) {
	user, first := f.user()
	r, log = f.logged(f.alternating(user, first, user+"_clone", "Second-Pw-2"))
	r.Login = superuser
	f.set(r)
	*log = nil
	return user, r, log
}

func (c client) must(t *testing.T, statements ...string) {
	t.Helper()
	if err := c.run(t.Context(), statements...); err != nil {
		t.Fatal(err)
	}
}

func warned(t *testing.T, log []string, words ...string) {
	t.Helper()
	all := strings.Join(log, "\n")
	for _, w := range append(words, "WARN") {
		if !strings.Contains(all, w) {
			t.Errorf("%q is not in the log:\n%s", w, all)
		}
	}
}

func TestRightThatCannotBeGrantedAffectsNoOther(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, _, database := f.owner()
		user, r, log := f.pair(f.admin())
		owner.must(t, "CREATE TABLE t (a int, b int)", "CREATE VIEW v AS SELECT a FROM t", "CREATE TABLE gone (a int)",
			"GRANT SELECT (a, b), INSERT ON t TO "+account(user, "%")+" WITH GRANT OPTION",
			"GRANT SELECT (a), DELETE ON v TO "+account(user, "%"), "GRANT SELECT ON gone TO "+account(user, "%"),
			"ALTER TABLE t DROP COLUMN a", "DROP TABLE gone")
		f.set(r)
		rows := strings.Join(f.granted(user+"_clone", "%"), "\n")
		for _, want := range []string{"GRANT GRANT INSERT ON OPTION SELECT TO USER WITH `b` `" + database + "`.`t`",
			"DELETE"} {
			if !strings.Contains(rows, want) {
				t.Errorf("%q is missing: %s", want, rows)
			}
		}
		if all := strings.Join(*log, "\n"); strings.Contains(all, "WARN") {
			t.Errorf("a right that nobody can use is reported: %s", all)
		}
	})
}

func TestForeignRightOfTheCurrentUserDoesNotStopARotation(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, name, database := f.owner()
		for what, grant := range map[string]string{
			"INSERT ON `" + database + "`.*": "GRANT INSERT ON " + database + ".* TO ",
			"INSERT ON `" + database + "`.`": "GRANT INSERT ON t TO ",
			"EXECUTE ON PROCEDURE":           "GRANT EXECUTE ON PROCEDURE p TO ",
			"PROXY ON":                       "GRANT PROXY ON " + account(name, "%") + " TO ",
		} {
			user, first := f.user()
			r, log := f.logged(f.alternating(user, first, user+"_clone", "Second-Pw-2"))
			r.Login = f.weak()
			owner.must(t, "CREATE TABLE IF NOT EXISTS t (a int)", "CREATE PROCEDURE IF NOT EXISTS p() SELECT 1",
				grant+account(user, "%"))
			for range 2 { // the first rotation and a later one
				*log = nil
				if err := f.engine.DryRun(t.Context(), r); err != nil {
					t.Errorf("%s: %v", grant, err)
				}
				warned(t, *log, what, user+"_clone")
				*log = nil
				f.set(r)
				warned(t, *log, what, user+"_clone")
				f.opens(user+"_clone", true, "Second-Pw-2")
			}
		}
	})
}

// A right on the database that the secret names is the application's. One on its table may be from the table's owner.
func TestRightOnTheSecretsDatabaseIsNotLost(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		database := f.server.Database(t)
		user, first := f.user()
		f.sql("CREATE TABLE "+database+".t (a int)", "GRANT SELECT ON "+database+".* TO "+account(user, "%"),
			"GRANT INSERT ON "+database+".t TO "+account(user, "%"))
		r, log := f.logged(f.alternating(user, first, user+"_clone", "Second-Pw-2"))
		r.Login, r.Current = f.weak(), r.Current.With("dbname", database)
		requires := func() {
			t.Helper()
			for _, err := range []error{f.engine.DryRun(t.Context(), r), f.engine.Set(t.Context(), r)} {
				fails(t, err, engine.PrivilegeMissing, database)
			}
		}
		requires()
		f.sql("GRANT SELECT ON " + database + ".* TO " + account(user+"_clone", "%"))
		*log = nil
		f.set(r)
		warned(t, *log, "GRANT INSERT ON", "`t`")
		f.sql("REVOKE SELECT ON " + database + ".* FROM " + account(user+"_clone", "%"))
		requires()
	})
}

func TestRightOnEverythingIsNotLost(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, r, _ := f.pair(f.weak())
		f.sql("GRANT PROCESS ON *.* TO " + account(user, "%"))
		for _, err := range []error{f.engine.DryRun(t.Context(), r), f.engine.Set(t.Context(), r)} {
			fails(t, err, engine.PrivilegeMissing, "engine's page")
		}
		r.Login = f.admin()
		f.set(r)
		f.sameRights(user, user+"_clone", "%")
	})
}

func TestManyLockedTablesDelayARotationOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, _, _ := f.owner()
		user, first := f.user()
		r, log := f.logged(f.alternating(user, first, user+"_clone", "Second-Pw-2"))
		var locks []string
		for i := range 6 {
			name := fmt.Sprint("t", i)
			owner.must(t, "CREATE TABLE "+name+" (a int)", "GRANT SELECT (a) ON "+name+" TO "+account(user, "%"))
			locks = append(locks, name+" WRITE")
		}
		owner.must(t, "LOCK TABLES "+strings.Join(locks, ", "))
		// The first rotation and a later one.
		for i, do := range []func(context.Context, *engine.Request) error{f.engine.DryRun, f.engine.Set, f.engine.Set} {
			*log = nil
			begin := time.Now()
			if err := do(t.Context(), r); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
			if took := time.Since(begin); took > 6*time.Second {
				t.Errorf("call %d took %v", i, took)
			}
			warned(t, *log, "`t0`", "`t5`")
		}
		owner.must(t, "UNLOCK TABLES")
		f.set(r)
		f.sameRights(user, user+"_clone", "%")
	})
}

// A rotation waits for a table of a few databases, but not of every database that a stranger owns.
func TestLockedTablesOfManyDatabasesDelayARotationThreeTimes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		name, password := f.user()
		user, r, log := f.pair(f.admin())
		var grants, locks []string
		for range 5 {
			database := f.server.Database(t)
			f.sql("CREATE TABLE "+database+".t (a int)",
				"GRANT ALL ON "+database+".* TO "+account(name, "%")+" WITH GRANT OPTION")
			grants = append(grants, "GRANT SELECT (a) ON "+database+".t TO "+account(user, "%"))
			locks = append(locks, database+".t WRITE")
		}
		owner := (&harness{fixture: f}).as(name, password, "")
		owner.must(t, grants...)
		owner.must(t, "LOCK TABLES "+strings.Join(locks, ", "))
		if err := f.engine.Set(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		all := strings.Join(*log, "\n")
		lost, skipped := strings.Count(all, "does not get a right"), strings.Count(all, "a table is locked")
		if lost != 5 || skipped != 2 {
			t.Errorf("%d rights are lost, %d of them without waiting, want 5 and 2:\n%s", lost, skipped, all)
		}
		owner.must(t, "UNLOCK TABLES")
		f.set(r)
		f.sameRights(user, user+"_clone", "%")
	})
}

func TestRightsThatKeepChangingDoNotStopARotation(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, _, database := f.owner()
		user, r, _ := f.pair(f.admin())
		over, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			for {
				for _, s := range []string{"GRANT SELECT ON " + database + ".* TO ",
					"REVOKE SELECT ON " + database + ".* FROM "} {
					if err := owner.run(context.Background(), s+account(user, "%")); err != nil || over.Err() != nil {
						done <- err
						return
					}
				}
			}
		}()
		for range 20 {
			if err := f.engine.Set(t.Context(), r); err != nil {
				t.Error(err)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
