package testserver

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestPostgres(t *testing.T) {
	for _, o := range []PostgresOptions{{}, {Major: 18}} {
		o.Config = "log_statement = 'all'"
		s := Postgres(t, o)
		if o.Major != 0 && s.Major != o.Major {
			t.Errorf("asked for %d, got %d", o.Major, s.Major)
		}
		conn := s.Connect(t, s.Database(t))
		var version string
		if err := conn.QueryRow(context.Background(), "SHOW server_version").Scan(&version); err != nil {
			t.Fatal(err)
		}
		t.Log(version)
		if _, verified := conn.PgConn().Conn().(*tls.Conn); !verified {
			t.Error("the administrator's connection is not TLS")
		}
		if log, err := s.Logs(); err != nil || !strings.Contains(log, "SHOW server_version") {
			t.Errorf("the statement is not in the log: %v", err)
		}
		config, err := pgx.ParseConfig(s.URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		config.TLSConfig = newCA(t).ClientTLS("localhost")
		var unverified *tls.CertificateVerificationError
		if _, err := pgx.ConnectConfig(context.Background(), config); !errors.As(err, &unverified) {
			t.Errorf("an unrelated CA: %v, want a verification error", err)
		}
		if _, err := pgx.Connect(context.Background(),
			strings.Replace(s.URL("postgres"), "verify-full", "disable", 1)); err == nil {
			t.Error("a connection without TLS is accepted")
		}
	}
}

func TestPostgresStopLeavesNothing(t *testing.T) {
	s, err := StartPostgres(context.Background(), PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Connect(t, "postgres") // a connected client does not delay the stop
	CheckStop(t, &s.Server)
}

func TestPostgresWithACertificateForAnotherName(t *testing.T) {
	ca := newCA(t)
	cert, err := ca.Issue("elsewhere.example")
	if err != nil {
		t.Fatal(err)
	}
	s := Postgres(t, PostgresOptions{CA: ca, Cert: cert})
	if _, err := pgx.Connect(context.Background(), s.URL("postgres")); err == nil ||
		!strings.Contains(err.Error(), "elsewhere.example") {
		t.Errorf("got %v, want a refusal of the name", err)
	}
}

func TestPostgresWithoutTLS(t *testing.T) {
	s := SharedPostgres(t, PostgresOptions{NoTLS: true})
	if again := SharedPostgres(t, PostgresOptions{NoTLS: true}); again != s {
		t.Error("the same options give another server")
	}
	s.Connect(t, "postgres")
	secure := strings.Replace(s.URL("postgres"), "sslmode=disable", "sslmode=require", 1)
	if _, err := pgx.Connect(context.Background(), secure); err == nil {
		t.Error("TLS is accepted")
	}
	if _, err := os.Stat(s.Dir); err != nil {
		t.Error(err)
	}
}
