package postgres_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/postgres"
)

// rdsRefusal is how RDS with rds.restrict_password_commands refuses to change a password.
// Source: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.RestrictPasswordMgmt.html
const rdsRefusal = "must be a member of rds_password to alter passwords"

// restricted starts a proxy in front of a server without TLS: only members may change passwords.
func restricted(t *testing.T, pg *testserver.PostgresServer, refusal string, members func() []string) (port int) {
	return testserver.Hostile(t, nil, func(client net.Conn) {
		server, err := net.Dial("tcp", pg.Addr())
		if err != nil {
			return
		}
		defer server.Close()
		go func() { _, _ = io.Copy(client, server); client.Close() }()
		restrict(client, server, refusal, members())
	})
}

// restrict forwards what a client sends, message by message.
func restrict(client, server net.Conn, refusal string, members []string) {
	kind := make([]byte, 0, 1) // the first message has none
	user := ""
	for {
		size := make([]byte, 4)
		if _, err := io.ReadFull(client, kind); err != nil {
			return
		}
		if _, err := io.ReadFull(client, size); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(size)-4)
		if _, err := io.ReadFull(client, body); err != nil {
			return
		}
		if len(kind) == 0 {
			_, after, _ := bytes.Cut(body, []byte("user\x00"))
			name, _, _ := bytes.Cut(after, []byte("\x00"))
			user = string(name)
		}
		if string(kind) == "Q" && bytes.Contains(body, []byte("PASSWORD")) && !slices.Contains(members, user) {
			out, _ := (&pgproto3.ErrorResponse{Severity: "ERROR", Code: "42501", Message: refusal}).Encode(nil)
			out, _ = (&pgproto3.ReadyForQuery{TxStatus: 'T'}).Encode(out)
			_, _ = client.Write(out)
			continue
		}
		if _, err := server.Write(slices.Concat(kind, size, body)); err != nil {
			return
		}
		kind = kind[:1]
	}
}

// TestUserWhomOnlyTheSuperuserMayChange: RDS restricts password management, and the superuser is like RDS's master
// user. If a secret names a superuser, the superuser makes the change even with the strategy "single".
func TestUserWhomOnlyTheSuperuserMayChange(t *testing.T) {
	for name, o := range servers {
		t.Run(name, func(t *testing.T) {
			o.NoTLS = true
			w := newWorld(t, testserver.SharedPostgres(t, o))
			w.env["STRATEGY"] = "single"
			master, masterPassword := w.role("CREATEROLE CREATEDB")
			conn, err := w.connect(master, masterPassword)
			if err != nil {
				t.Fatal(err)
			}
			user := testserver.Unique("app_")
			w.exec(conn, "CREATE ROLE "+user+" LOGIN PASSWORD 'first-Passw0rd-1'")
			var members []string
			place := []string{"port", fmt.Sprint(restricted(t, w.pg, rdsRefusal, func() []string { return members })), "ssl", "false"}
			admin := w.secret(w.value(master, masterPassword, place...))
			arn := w.secret(w.value(user, "first-Passw0rd-1", append(place, "masterarn", fmt.Sprintf("%q", admin))...))
			wantCause(t, w.rotate(arn), engine.PrivilegeMissing, "GRANT rds_password TO \""+master)
			members = append(members, master)
			arn = w.secret(w.value(user, "first-Passw0rd-1", append(place, "masterarn", fmt.Sprintf("%q", admin))...))
			for range 2 {
				if err := w.rotate(arn); err != nil {
					t.Fatal(err)
				}
				w.opens(arn)
			}
			if now, _ := w.current(arn); now != user {
				t.Errorf("the user is %s", now)
			}
			_, password := w.current(arn)
			own := w.secret(w.value(user, password, place...))
			wantCause(t, w.rotate(own), engine.PrivilegeMissing, "masterarn")
			if n := w.versions(own); n != 1 {
				t.Errorf("%d versions have a value, want 1", n)
			}
		})
	}
}

// A hook may refuse the change. No grant that `rotatorctl policy` prints helps then.
func TestUserThatMayNotChangeItself(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{NoTLS: true}))
	w.env["STRATEGY"] = "single"
	user, password := w.role("")
	port := restricted(t, w.pg, "permission denied to alter role", func() []string { return nil })
	err := w.rotate(w.secret(w.value(user, password, "port", fmt.Sprint(port), "ssl", "false")))
	wantCause(t, err, engine.PrivilegeMissing, "let the user set its own password, or name a superuser secret in masterarn")
}

// TestSuperuserChangesNoSingleUserOnAName: the user's own credential must be accepted first; only the operator can
// permit a change without that.
func TestSuperuserChangesNoSingleUserOnAName(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	w.env["STRATEGY"] = "single"
	admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
	victim, password := w.role("")
	boss, bossPassword := w.role("SUPERUSER")
	for value, cause := range map[string]engine.Cause{
		w.value(victim, "guessed", "masterarn", admin):             engine.LoginRefused,
		w.value(boss, bossPassword, "masterarn", admin):            engine.TakeoverRefused,
		w.value(w.pg.User, w.pg.Password, "masterarn", admin):      engine.TakeoverRefused,
		w.value(victim, password, "masterarn", `"no-such-secret"`): engine.InvalidSecret,
	} {
		arn := w.secret(value)
		if err := w.rotate(arn); engine.CauseOf(err) != cause || err == nil || !strings.HasPrefix(err.Error(), "createSecret") {
			t.Errorf("%v, want %s of createSecret", err, cause)
		}
		if n := w.versions(arn); n != 1 {
			t.Errorf("%s: %d versions have a value, want 1", cause, n)
		}
	}
	for user, password := range map[string]string{victim: password, boss: bossPassword} {
		if _, err := w.connect(user, password); err != nil {
			t.Errorf("%s was changed: %v", user, err)
		}
	}
}

// TestNeedsUnderRestrictedPasswordManagement: the printed policy names RDS's role.
func TestNeedsUnderRestrictedPasswordManagement(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, observed))
	user, password := w.role("")
	current := engine.StringValue(w.value(user, password))
	n := engine.Needs{Login: "master"}
	err := postgres.New(w.tls).Needs(t.Context(), &engine.Request{Strategy: engine.SingleUser, Current: current, Pending: current, Superuser: true}, &n)
	if want := []string{"ALTER ROLE master CREATEROLE;", "GRANT rds_password TO master;"}; err != nil || !slices.Equal(n.Grants, want) {
		t.Errorf("%q, %v, want %q", n.Grants, err, want)
	}
}
