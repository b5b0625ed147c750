package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// privileged creates a user that may keep its old password next to a new one, which MariaDB does not allow.
func (f *fixture) privileged() (name, password string) {
	f.t.Helper()
	name, password = f.user()
	f.sql("GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO " + account(name, "%"))
	return name, password
}

func TestSingleUserKeepsTheOldPasswordWhereTheServerAllowsIt(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		user, first := f.privileged()
		f.set(f.single(user, first, "Second-Pw-2"))
		f.opens(user, true, first, "Second-Pw-2")

		// The next rotation retires the oldest.
		f.set(f.single(user, "Second-Pw-2", "Third-Pw-3"))
		f.opens(user, true, "Second-Pw-2", "Third-Pw-3")
		f.opens(user, false, first)
	})
}

func TestRepeatedSetDoesNotDiscardTheOldPassword(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		user, first := f.privileged()
		r := f.single(user, first, "Second-Pw-2")
		for range 3 {
			f.set(r)
			f.opens(user, true, first, "Second-Pw-2")
		}
		// A retry that logs in with the new password also changes nothing.
		again := *r
		again.Login = r.Pending
		f.set(&again)
		f.opens(user, true, first, "Second-Pw-2")
	})
}

func TestSetAfterAnAbandonedRotationKeepsWhatWorks(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		user, first := f.privileged()
		f.set(f.single(user, first, "Abandoned-Pw-2"))
		// The operator abandoned that rotation: first is current, and for MySQL it is the retained password.
		r := f.single(user, first, "Third-Pw-3")
		f.set(r)
		f.opens(user, true, first, "Third-Pw-3")
		f.opens(user, false, "Abandoned-Pw-2")
		f.set(r)
		f.opens(user, true, first, "Third-Pw-3")
	})
}

func TestConcurrentSetsHaveOneOutcome(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		user, first := f.privileged()
		r := f.single(user, first, "Second-Pw-2")
		errs := make(chan error)
		for range 8 {
			go func() { errs <- f.engine.Set(context.Background(), r) }()
		}
		for range 8 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		f.opens(user, true, first, "Second-Pw-2")
	})
}

func TestSingleUserWithoutThePrivilegeIsRotatedWithoutOverlap(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user()
		r := f.single(user, first, "Second-Pw-2")
		f.set(r)
		f.opens(user, true, "Second-Pw-2")
		f.opens(user, false, first)

		err := f.engine.Set(context.Background(), r)
		fails(t, err, engine.LoginRefused) // the ladder then tries the pending value
		again := *r
		again.Login = r.Pending
		f.set(&again)
		f.opens(user, true, "Second-Pw-2")
	})
}

// kinds returns functions that create users: one that may keep its old password, where there is such a user, and one
// that may not.
func (f *fixture) kinds() []func(...string) (name, password string) {
	kinds := []func(...string) (string, string){f.user}
	if f.name == "mysql" {
		kinds = append(kinds, func(...string) (string, string) { return f.privileged() })
	}
	return kinds
}

// A superuser once kept a second password, and the user changes its own since then.
func TestSecondPasswordOfMariaDBIsReported(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		user, first := f.user()
		f.set(f.bySuperuser(user, first, "Second-Pw-2"))
		r, log := f.logged(f.single(user, "Second-Pw-2", "Third-Pw-3"))
		f.set(r)
		warned(t, *log, "second password", "IDENTIFIED BY")
		f.opens(user, true, first)
		f.sql("ALTER USER " + account(user, "%") + " IDENTIFIED BY 'Third-Pw-3'") // the warning's advice
		f.opens(user, false, first, "Second-Pw-2")
	})
}

func TestDryRunAndVerifyChangeNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, user := range f.kinds() {
			user, first := user()
			before := f.created(user, "%")
			r := f.single(user, first, "Second-Pw-2")
			if err := f.engine.DryRun(context.Background(), r); err != nil {
				t.Fatal(err)
			}
			if err := f.engine.Verify(context.Background(), r, r.Current); err != nil {
				t.Fatal(err)
			}
			if after := f.created(user, "%"); after != before {
				t.Errorf("before %s\nafter %s", before, after)
			}
			fails(t, f.engine.Verify(context.Background(), r, r.Pending), engine.LoginRefused)
		}
	})
}

func TestEveryCallIsOneLoginAndNoneIsRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		logins := func(r *engine.Request) int {
			t.Helper()
			read := func() string {
				b, err := os.ReadFile(f.server.GeneralLog)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			before := len(read())
			f.set(r)
			log := read()[before:]
			if strings.Contains(log, "Access denied") {
				t.Error("a login was refused")
			}
			return strings.Count(log, "Connect\t")
		}
		for i, user := range f.kinds() {
			user, first := user()
			if n := logins(f.single(user, first, "Second-Pw-2")); n != 3 {
				t.Errorf("kind %d: %d logins for DryRun, Set and Verify, want 3", i, n)
			}
		}
		user, first := f.user()
		if n := logins(f.alternating(user, first, user+"_clone", "Second-Pw-2")); n != 3 {
			t.Errorf("alternating: %d logins, want 3", n)
		}
		if n := logins(f.alternating(user+"_clone", "Second-Pw-2", user, "Third-Pw-3")); n != 3 {
			t.Errorf("alternating back: %d logins, want 3", n)
		}
	})
}

// created returns SHOW CREATE USER.
func (f *fixture) created(user, host string) (statement string) {
	f.t.Helper()
	if err := f.db.QueryRow("SHOW CREATE USER " + account(user, host)).Scan(&statement); err != nil {
		f.t.Fatal(err)
	}
	return statement
}

func TestUserChangesTheAccountThatTheServerChose(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user("127.0.0.1", "%", "localhost")
		other := f.created(user, "%")
		f.set(f.single(user, first, "Second-Pw-2"))
		f.opens(user, true, "Second-Pw-2")
		if f.created(user, "%") != other {
			t.Error("the account for %, which localhost shadows, has changed")
		}
	})
}

func TestSuperuserSetsTheSingleUsersPassword(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.privilegedOverlap()
		r := f.single(user, "lost", "Third-Pw-3")
		r.Login, r.Superuser = f.admin(), true
		f.set(r)
		f.opens(user, true, "Third-Pw-3")
		f.opens(user, false, first, "Second-Pw-2")

		r = f.single(f.server.User, "lost", "Third-Pw-3")
		r.Login, r.Superuser = f.admin(), true
		fails(t, f.engine.Set(context.Background(), r), engine.TakeoverRefused, "superuser itself")

		boss, _ := f.user()
		f.sql("GRANT ALL ON *.* TO " + account(boss, "%") + " WITH GRANT OPTION")
		r = f.single(boss, "lost", "Third-Pw-3")
		r.Login, r.Superuser = f.admin(), true
		fails(t, f.engine.Set(context.Background(), r), engine.TakeoverRefused, boss)
		fails(t, f.engine.DryRun(context.Background(), r), engine.TakeoverRefused, boss)

		r = f.single(testserver.Unique("absent_"), "lost", "Third-Pw-3")
		r.Login, r.Superuser = f.admin(), true
		fails(t, f.engine.DryRun(context.Background(), r), engine.InvalidSecret, "no user")
	})
}

// bySuperuser returns a request to rotate a single user by the superuser.
func (f *fixture) bySuperuser(user, old, next string) *engine.Request {
	r := f.single(user, old, next)
	r.Login, r.Superuser, r.SuperuserChanges, r.KeepCurrent, r.Proofs = f.admin(), true, true,
		true, []engine.Value{r.Current}
	r.SecretFields = []string{"password"}
	return r
}

func TestSuperuserKeepsTheOldPassword(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user()
		r := f.bySuperuser(user, first, "Second-Pw-2")
		for range 3 {
			f.set(r)
			f.opens(user, true, first, "Second-Pw-2")
		}
		f.set(f.bySuperuser(user, "Second-Pw-2", "Abandoned-Pw-3"))
		f.opens(user, true, "Second-Pw-2", "Abandoned-Pw-3")
		f.opens(user, false, first)
		r = f.bySuperuser(user, "Second-Pw-2", "Fourth-Pw-4")
		f.set(r)
		r.KeepCurrent = false // as finishSecret does
		f.set(r)
		f.opens(user, true, "Second-Pw-2", "Fourth-Pw-4")
		f.opens(user, false, "Abandoned-Pw-3")
	})
}

// Two calls of one step, unaware of each other, change the password concurrently.
func TestConcurrentCallsBySuperuserKeepTheOldPassword(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user()
		lock, err := f.db.Conn(t.Context())
		if err == nil {
			_, err = lock.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK")
		}
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		ends := make(chan error)
		for range 2 {
			go func() { ends <- f.engine.Set(enginetest.Within(t), f.bySuperuser(user, first, "Second-Pw-2")) }()
		}
		waiting := func() (n int) {
			const waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'ALTER USER%'"
			if err := f.db.QueryRow(waiting).Scan(&n); err != nil {
				t.Error(err)
			}
			return n
		}
		for begin := time.Now(); waiting() < 2; time.Sleep(10 * time.Millisecond) {
			if time.Since(begin) > 4*time.Second {
				t.Fatal("two statements are not waiting")
			}
		}
		if _, err := lock.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
		f.opens(user, true, first, "Second-Pw-2")
	})
}

func TestSuperuserKeepsNothingIfItCannot(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		unproved, old := f.user()
		r := f.bySuperuser(unproved, "wrong", "Second-Pw-2")
		r.Proofs = []engine.Value{f.value(unproved, old)}
		requests := []*engine.Request{r}
		if f.name == "mysql" {
			remembered, password := f.user()
			f.sql("ALTER USER " + account(remembered, "%") + " PASSWORD HISTORY 3")
			requests = append(requests, f.bySuperuser(remembered, password, "Second-Pw-2"))
		}
		if f.name == "mariadb" {
			ed, password := f.user()
			f.sql("ALTER USER " + account(ed, "%") + " IDENTIFIED VIA ed25519 USING PASSWORD(" + text(password) + ")")
			requests = append(requests, f.bySuperuser(ed, password, "Second-Pw-2"))
		}
		for _, r := range requests {
			user, _ := r.Pending.Text("username")
			if err := f.engine.Set(t.Context(), r); !errors.Is(err, engine.ErrOneAtATime) {
				t.Errorf("%s: %v", user, err)
			}
			f.opens(user, false, "Second-Pw-2")
			r.KeepCurrent = false
			f.set(r)
			f.opens(user, true, "Second-Pw-2")
			old, _ := r.Current.Text("password")
			f.opens(user, false, old)
		}
	})
}

// The server ends the session of a frozen function, which sends nothing while its connection stays open.
func TestFrozenFunctionLeavesNoSession(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user()
		proxy := testserver.Proxy(t, f.server.Addr())
		over := make(chan bool)
		t.Cleanup(func() { close(over) })
		var frozen atomic.Bool
		proxy.Filter(func(c testserver.Chunk) bool {
			if frozen.Load() {
				<-over
			}
			return true
		})
		lock, err := f.db.Conn(t.Context())
		if err == nil {
			_, err = lock.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK")
		}
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		r := f.single(user, first, "Second-Pw-2")
		r.Login = r.Login.WithJSON("port", fmt.Append(nil, proxy.Port))
		go func() { _ = f.engine.Set(context.Background(), r) }()
		sessions := func() (n int) {
			if err := f.db.QueryRow("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = ? AND (INFO IS "+
				"NOT NULL OR ?)", user, frozen.Load()).Scan(&n); err != nil {
				t.Error(err)
			}
			return n
		}
		for begin := time.Now(); sessions() == 0; time.Sleep(10 * time.Millisecond) {
			if time.Since(begin) > 20*time.Second {
				t.Fatal("no statement is waiting")
			}
		}
		frozen.Store(true)
		if _, err := lock.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
			t.Fatal(err)
		}
		for begin := time.Now(); sessions() > 0; time.Sleep(time.Second) {
			if time.Since(begin) > time.Minute {
				t.Fatal("the session still exists")
			}
		}
	})
}

// privilegedOverlap creates a user without privileges whose passwords are its first one and Second-Pw-2.
func (f *fixture) privilegedOverlap() (user, first string) {
	f.t.Helper()
	user, first = f.user()
	if f.name == "mariadb" {
		f.sql("ALTER USER " + account(user, "%") +
			" IDENTIFIED VIA mysql_native_password USING PASSWORD('Second-Pw-2') OR mysql_native_password USING " +
			"PASSWORD(" + text(first) + ")")
	} else {
		f.sql("ALTER USER " + account(user, "%") + " IDENTIFIED BY 'Second-Pw-2' RETAIN CURRENT PASSWORD")
	}
	f.opens(user, true, first, "Second-Pw-2")
	return user, first
}

func TestNoPasswordReachesTheServersLogs(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		// Separate passwords, which the test itself never sends in plain text.
		next := func(i int) string { return fmt.Sprintf("%s-Next.%d", testserver.Unique("Pw"), i) }
		var secrets []string
		rotate := func(user, first string) {
			for i := range 2 {
				second := next(i)
				secrets = append(secrets, second)
				f.set(f.single(user, first, second))
				f.set(f.single(user, first2(f, user, first, second), second))
				first = second
			}
		}
		for _, user := range f.kinds() {
			rotate(user())
		}
		user, first := f.user()
		clone := user + "_clone"
		for i := range 2 {
			second := next(i)
			secrets = append(secrets, second)
			f.set(f.alternating(user, first, clone, second))
			user, clone, first = clone, user, second
		}
		reset := next(9)
		secrets = append(secrets, reset)
		r := f.single(user, "lost", reset)
		r.Login, r.Superuser = f.admin(), true
		f.set(r)

		log := f.logs()
		if !strings.Contains(log, user) {
			t.Fatal("the logs show nothing of the rotations")
		}
		for i, s := range secrets {
			if strings.Contains(log, s) {
				t.Errorf("password %d is in the server's logs", i)
			}
		}
		// The administrator may turn the general log off for its session, so not even its hashes are in the log.
		if strings.Contains(log, hashed(reset)) {
			t.Error("the hash of a password that the administrator set is in the logs")
		}
	})
}

// first2 returns the password for a retry's login: the old one if it still works.
func first2(f *fixture, user, old, next string) string {
	if f.login(user, old) == nil {
		return old
	}
	return next
}
