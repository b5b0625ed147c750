//go:build mysql

package mysql_test

import (
	"context"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// Because of the tag, `make test` does not need what `make deps-mysql` downloads; it runs against MariaDB.
func init() {
	systems["mysql"] = sharedMySQL
	delete(systems, "mariadb")
}

// sharedMySQL is sharedMariaDB for MySQL.
var sharedMySQL = testserver.Shared(startMySQL)

// startMySQL starts the MySQL that `make deps-mysql` fetches: the newest in Debian unstable. Measured on two cores: 3 s
// idle, 6 s loaded, mostly --initialize; Stop takes 1.6 s.
func startMySQL(ctx context.Context, o serverOptions) (*server, error) {
	path, err := testserver.Find("sid-1/usr/sbin/mysqld", "deps-mysql")
	if err != nil {
		return nil, err
	}
	return launchServer(ctx, "mysql", o, path, strings.TrimSuffix(path, "/sbin/mysqld"), path, "--initialize-insecure")
}

// unusual returns a server with an unusual configuration.
func unusual(t *testing.T) *fixture {
	server := sharedMySQL(t, serverOptions{
		Config: "partial_revokes = ON\nperformance_schema_consumer_events_statements_history_long = ON"})
	return newFixture(t, "mysql", server)
}

func TestPartialRevokesAreKeptInBothDirections(t *testing.T) {
	f := unusual(t)
	user, first := f.user()
	clone := user + "_clone"
	f.sql("CREATE DATABASE d1", "CREATE DATABASE `d 2`",
		"GRANT SELECT, INSERT ON *.* TO "+account(user, "%"), "REVOKE INSERT ON mysql.* FROM "+account(user, "%"),
		"REVOKE SELECT ON d1.* FROM "+account(user, "%"))
	f.set(f.alternating(user, first, clone, "Second-Pw-2"))
	f.sameRights(user, clone, "%")
	if rows := strings.Join(f.granted(clone, "%"), "\n"); strings.Count(rows, "REVOKE") != 2 {
		t.Errorf("restrictions are missing:\n%s", rows)
	}
	// One restriction is removed, one is new, and one ends with its privilege.
	f.sql("GRANT SELECT ON d1.* TO "+account(user, "%"), "REVOKE SELECT ON `d 2`.* FROM "+account(user, "%"),
		"REVOKE INSERT ON *.* FROM "+account(user, "%"))
	want := strings.Join(f.granted(user, "%"), "\n")
	f.set(f.alternating(user, first, clone, "Third-Pw-3"))
	f.sameRights(user, clone, "%")
	if got := strings.Join(f.granted(user, "%"), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// The first user keeps a right on everything with its restriction, but not a restriction that ended.
	f.sql("REVOKE SELECT ON *.* FROM "+account(clone, "%"), "GRANT CREATE ON *.* TO "+account(user, "%"),
		"GRANT CREATE ON *.* TO "+account(clone, "%"), "REVOKE CREATE ON d1.* FROM "+account(user, "%"))
	f.set(f.alternating(clone, "Third-Pw-3", user, "Fourth-Pw-4"))
	if rows := strings.Join(f.granted(user, "%"), "\n"); strings.Count(rows, "REVOKE") != 1 ||
		strings.Contains(rows, "`d1`") {
		t.Errorf("%s", rows)
	}
}

// A superuser with restrictions passes them on with its rights, and can neither remove nor add any.
func TestSuperusersPartialRevokes(t *testing.T) {
	f := unusual(t)
	master := f.master()
	name, _ := master.Text("username")
	password, _ := master.Text("password")
	for who, grant := range map[string]func(user string){
		"an administrator": func(user string) {
			f.sql("GRANT SELECT, INSERT, CREATE ON *.* TO "+account(user, "%"),
				"REVOKE INSERT, CREATE ON mysql.* FROM "+account(user, "%"))
		},
		"the superuser": func(user string) {
			(&harness{fixture: f}).as(name, password, "").
				must(t, "GRANT SELECT, INSERT, CREATE ON *.* TO "+account(user, "%"))
		},
	} {
		user, first := f.user()
		grant(user)
		r := f.alternating(user, first, user+"_clone", "Second-Pw-2")
		r.Login = master
		f.set(r)
		f.sameRights(user, user+"_clone", "%")
		if rows := strings.Join(f.granted(user+"_clone", "%"), "\n"); !strings.Contains(rows, "REVOKE") {
			t.Errorf("%s granted it: %s", who, rows)
		}
	}
	user, first := f.user()
	f.sql("GRANT SELECT, INSERT ON *.* TO " + account(user, "%"))
	r := f.alternating(user, first, user+"_clone", "Second-Pw-2")
	r.Login = master
	fails(t, f.engine.DryRun(t.Context(), r), engine.TakeoverRefused, "an administrator by INSERT")
}

func TestPasswordPolicyIsCheckedBeforeAnythingChanges(t *testing.T) {
	f := unusual(t)
	f.sql("INSTALL COMPONENT 'file://component_validate_password'", "SET GLOBAL validate_password.length = 12")
	t.Cleanup(func() { f.sql("UNINSTALL COMPONENT 'file://component_validate_password'") })
	for _, user := range []string{"plain", "privileged"} {
		f.sql("CREATE USER " + user + " IDENTIFIED BY 'First-Password-1'")
		if user == "privileged" {
			f.sql("GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO privileged")
		}
		r := f.single(user, "First-Password-1", "Short-1")
		fails(t, f.engine.DryRun(t.Context(), r), engine.PolicyRejected, "PASSWORD_LENGTH")
		fails(t, f.engine.Set(t.Context(), r), engine.PolicyRejected, "PASSWORD_LENGTH")
		f.opens(user, true, "First-Password-1")
		f.set(f.single(user, "First-Password-1", "Second-Password-2"))
	}
	a := f.alternating("plain", "Second-Password-2", "plain_clone", "Short-1")
	fails(t, f.engine.DryRun(t.Context(), a), engine.PolicyRejected, "PASSWORD_LENGTH")
	f.set(f.alternating("plain", "Second-Password-2", "plain_clone", "Third-Password-3"))
}

func TestPasswordHistoryDoesNotStopARetry(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		user, first := f.privileged()
		f.sql("ALTER USER " + account(user, "%") + " PASSWORD HISTORY 5 PASSWORD REQUIRE CURRENT")
		again := func(r *engine.Request) {
			t.Helper()
			f.set(r)
			if err := f.engine.Set(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		again(f.single(user, first, "Second-Pw-2"))
		f.opens(user, true, first, "Second-Pw-2")
		f.set(f.single(user, "Second-Pw-2", "Third-Pw-3"))
		f.set(f.single(user, "Third-Pw-3", "Fourth-Pw-4"))
		fails(t, f.engine.Set(t.Context(), f.single(user, "Fourth-Pw-4", "Second-Pw-2")), engine.PolicyRejected)
		f.opens(user, true, "Third-Pw-3", "Fourth-Pw-4")

		again(f.alternating(user, "Fourth-Pw-4", user+"_clone", "Fifth-Pw-5"))
		f.opens(user+"_clone", true, "Fifth-Pw-5")
	})
}

// A user that must give its primary password cannot change it with the retained one, which AWSCURRENT has after an
// abandoned rotation. The machine then tries the version that the abandoned rotation left.
func TestRequireCurrentAfterAnAbandonedRotation(t *testing.T) {
	for _, rule := range []string{"PASSWORD REQUIRE CURRENT", "PASSWORD REQUIRE CURRENT DEFAULT"} {
		only(t, "mysql", func(t *testing.T, f *fixture) {
			if strings.HasSuffix(rule, "DEFAULT") {
				f.sql("SET GLOBAL password_require_current = ON")
				t.Cleanup(func() { f.sql("SET GLOBAL password_require_current = OFF") })
			}
			user, first := f.privileged()
			f.sql("ALTER USER " + account(user, "%") + " " + rule)
			f.set(f.single(user, first, "Abandoned-Pw-2"))
			r := f.single(user, first, "Third-Pw-3")
			for _, err := range []error{f.engine.DryRun(t.Context(), r), f.engine.Set(t.Context(), r)} {
				fails(t, err, engine.LoginRefused, "to the one in AWSCURRENT", "PASSWORD REQUIRE CURRENT OPTIONAL")
			}
			if err := f.engine.Verify(t.Context(), r, r.Current); err != nil {
				t.Errorf("AWSCURRENT opens the server anyway: %v", err)
			}
			r.Login = f.value(user, "Abandoned-Pw-2")
			f.set(r)
			f.opens(user, true, first, "Third-Pw-3")
			f.opens(user, false, "Abandoned-Pw-2")
			// The next attempt starts the ladder again.
			r.Login = r.Current
			if err := f.engine.Set(t.Context(), r); err != nil {
				t.Error(err)
			}
			f.opens(user, true, first, "Third-Pw-3")
			f.set(f.single(user, "Third-Pw-3", "Fourth-Pw-4"))
			f.opens(user, true, "Third-Pw-3", "Fourth-Pw-4")

			// An administrator can instead remove the requirement.
			f.sql("ALTER USER " + account(user, "%") + " PASSWORD REQUIRE CURRENT OPTIONAL")
			f.set(f.single(user, "Third-Pw-3", "Fifth-Pw-5"))
			f.opens(user, true, "Third-Pw-3", "Fifth-Pw-5")
		})
	}
}

func TestSecondUserKeepsNoRetainedPassword(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		user, first := f.user()
		clone := user + "_clone"
		f.set(f.alternating(user, first, clone, "Second-Pw-2"))
		f.sql("ALTER USER " + account(user, "%") + " IDENTIFIED BY 'Aside-Pw-3' RETAIN CURRENT PASSWORD")
		f.opens(user, true, first, "Aside-Pw-3")
		f.set(f.alternating(clone, "Second-Pw-2", user, "Fourth-Pw-4"))
		f.opens(user, true, "Fourth-Pw-4")
		f.opens(user, false, first, "Aside-Pw-3")
	})
}

func TestBlockedAfterRefusedLogins(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		user, first := f.user()
		f.sql("ALTER USER " + account(user, "%") + " FAILED_LOGIN_ATTEMPTS 2 PASSWORD_LOCK_TIME 1")
		f.opens(user, false, "wrong", "wrong")
		fails(t, f.engine.Set(t.Context(), f.single(user, first, "Second-Pw-2")),
			engine.TargetFailed, "is blocked")
	})
}

func TestSha256UserKeepsItsAuthenticationMethod(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		user, first := f.user()
		f.sql("ALTER USER " + account(user, "%") + " IDENTIFIED WITH sha256_password BY " + text(first))
		f.set(f.alternating(user, first, user+"_clone", "Second-Pw-2"))
		if s := f.created(user+"_clone", "%"); !strings.Contains(s, "'sha256_password'") {
			t.Errorf("the second user has another authentication method: %s", s)
		}
	})
}

// performance_schema is also a log of statements.
func TestNoPasswordIsInPerformanceSchema(t *testing.T) {
	f := unusual(t)
	user, first := f.user()
	next := testserver.Unique("Second-Pw-")
	f.set(f.single(user, first, next))
	third := testserver.Unique("Third-Pw-")
	f.set(f.alternating(user, next, user+"_clone", third))
	var all string
	if err := f.db.QueryRow("SELECT CONCAT(JSON_ARRAYAGG(SQL_TEXT), JSON_ARRAYAGG(DIGEST_TEXT)) FROM " +
		"performance_schema.events_statements_history_long").Scan(&all); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(all, "<secret>") {
		t.Error("the history shows nothing of the rotation")
	}
	if strings.Contains(all, next) || strings.Contains(all, third) {
		t.Error("a password is in performance_schema")
	}
}

func TestMySQL(t *testing.T) { testServer(t, startMySQL) }
