package pgsession

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"example.com/rotator/rotation/engine"
)

// TestNoPasswordInClearWithoutTLS: a server that asks for a plain password does not get it.
func TestNoPasswordInClearWithoutTLS(t *testing.T) {
	got := make(chan pgproto3.FrontendMessage, 1)
	target := hostile(t, func(b *pgproto3.Backend, _ net.Conn) {
		b.Send(&pgproto3.AuthenticationCleartextPassword{})
		_ = b.Flush()
		m, _ := b.Receive()
		got <- m
	})
	if _, err := Dial(t.Context(), engine.TLSPolicy{}, target, ""); err == nil {
		t.Error("a login succeeded")
	}
	if m, ok := (<-got).(*pgproto3.PasswordMessage); ok {
		t.Errorf("the server got %T", m)
	}
}

func TestServersMessagesAreShownWithoutTexts(t *testing.T) {
	err := &pgconn.PgError{
		Severity: "ERROR", Code: "22023", Message: `invalid value for parameter "app.key": "hunter-2"`,
	}
	got := without(err, []string{"hunter-2", "in"})
	if want := `ERROR: invalid value for parameter "app.key": "…" (SQLSTATE 22023)`; got.Error() != want ||
		Code(got) != "22023" {
		t.Errorf("%v, want %s", got, want)
	}
	if without(nil, nil) != nil {
		t.Error("no error became one")
	}
}

// PgBouncer's own errors share one code. Some of them mean that the login was refused.
func TestPgBouncersAnswersToALogin(t *testing.T) {
	for message, want := range map[string]error{
		"SASL authentication failed":     engine.LoginRefused,
		"password authentication failed": engine.LoginRefused,
		"no such user":                   engine.LoginRefused,
		"bouncer config error":           engine.TargetFailed,
		"no such database: app":          engine.TargetFailed,
	} {
		err := (&Session{}).Classify("no login", fmt.Errorf("connect: %w", &pgconn.PgError{
			Code: "08P01", Message: message,
		}))
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", message, err, want)
		}
	}
}
