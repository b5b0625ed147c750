//go:build mysql

package mysql

import (
	"errors"
	"fmt"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// MySQL 5.7 cannot run here, but a newer server accepts the same statements.
func TestStatementsForServersWithoutRoles(t *testing.T) {
	server := testserver.SharedMySQL(t, testserver.MySQLOptions{AllowPlaintext: true})
	db := server.Connect(t, "")
	subject := New(engine.TLSPolicy{ExtraCAs: server.CA.PEM})
	old := func(user, password string) *session {
		t.Helper()
		s, err := subject.connect(t.Context(),
			engine.Target{Host: server.Host, Port: server.Port, User: user, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		s.dialect = &mysqld{session: s, version: 50744}
		return s
	}
	user := testserver.Unique("old_")
	clone := user + "_clone"
	for _, statement := range []string{
		"CREATE USER " + user + " IDENTIFIED BY 'First-Pw-1' WITH MAX_USER_CONNECTIONS 50 PASSWORD EXPIRE INTERVAL 9 " +
			"DAY",
		"GRANT PROCESS ON *.* TO " + user,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(old(user, "First-Pw-1").dialect.rehearse(t.Context(), "Second-Pw-2", "First-Pw-1"),
		old(user, "First-Pw-1").dialect.change(t.Context(), "Second-Pw-2", "First-Pw-1",
			"First-Pw-1", false)); err != nil {
		t.Fatal(err)
	}
	if err := old(user, "Second-Pw-2").dialect.change(t.Context(), "Other-Pw-3", "Second-Pw-2", "Second-Pw-2",
		true); !errors.Is(err, engine.ErrOneAtATime) {
		t.Errorf("the server keeps one password: %v", err)
	}
	if err := old(user, "Second-Pw-2").dialect.retire(t.Context(), "Second-Pw-2", "First-Pw-1"); err != nil {
		t.Error(err)
	}

	value := func(user, password string) engine.Value {
		return engine.StringValue(fmt.Sprintf(`{"username":%q,"password":%q}`, user, password))
	}
	superuser := value(server.User, server.Password)
	alternate := func(next string, rehearsal bool, proofs ...engine.Value) error {
		name, _ := superuser.Text("username")
		password, _ := superuser.Text("password")
		s := old(name, password)
		defer s.Close() // releases its lock
		r := &engine.Request{Secret: "arn", Strategy: engine.AlternatingUsers, Current: value(user, "Second-Pw-2"),
			Pending: value(clone, next), Proofs: append(proofs, value(user, "Second-Pw-2"))}
		s.request = r
		return target{session: s, change: pair.Change{Kind: subject.Kind(), Request: r, Rehearsal: rehearsal},
			current: user, pending: clone, password: next}.bySuperuser(t.Context())
	}
	// The last login would accept a user that has the pending password and no rights.
	weak := testserver.Unique("weak_")
	for _, statement := range []string{
		"CREATE USER " + weak + " IDENTIFIED BY 'Weak-Pw-1'",
		"GRANT CREATE USER ON *.* TO " + weak,
		"GRANT SELECT ON mysql.* TO " + weak,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	strong := superuser
	superuser = value(weak, "Weak-Pw-1")
	for range 2 {
		if err := alternate("Third-Pw-3", false); !errors.Is(err, engine.PrivilegeMissing) {
			t.Errorf("a superuser without the right: %v", err)
		}
	}
	if _, err := subject.connect(t.Context(), engine.Target{Host: server.Host, Port: server.Port, User: clone,
		Password: "Third-Pw-3"}); !errors.Is(err, engine.LoginRefused) {
		t.Errorf("the pending password opens a user without rights: %v", err)
	}
	superuser = strong
	for _, rehearsal := range []bool{true, false} {
		if err := alternate("Third-Pw-3", rehearsal); err != nil {
			t.Fatalf("rehearsal %v: %v", rehearsal, err)
		}
	}
	old(clone, "Third-Pw-3")
	var a, b string
	for name, into := range map[string]*string{user: &a, clone: &b} {
		if err := db.QueryRow("SELECT CONCAT_WS(' ', max_user_connections, password_lifetime, Process_priv, "+
			"account_locked) FROM mysql.user WHERE User = ?", name).Scan(into); err != nil {
			t.Fatal(err)
		}
	}
	if want := fmt.Sprint(50, " ", 9, " Y N"); a != want || b != want {
		t.Errorf("%q and %q, want %q", a, b, want)
	}
	// The mark proves the second user; without it, a stranger's user is refused.
	if err := alternate("Fifth-Pw-5", false); err != nil {
		t.Error(err)
	}
	old(clone, "Fifth-Pw-5")
	if _, err := db.Exec("REVOKE SHOW VIEW ON `" + mark(user, clone) + "`.* FROM " + clone); err != nil {
		t.Fatal(err)
	}
	if err := alternate("Sixth-Pw-6", false); !errors.Is(err, engine.TakeoverRefused) {
		t.Errorf("got %v", err)
	}
}
