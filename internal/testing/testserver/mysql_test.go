package testserver

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

func TestMariaDB(t *testing.T) { testMySQL(t, StartMariaDB) }

func testMySQL(t *testing.T, start func(context.Context, MySQLOptions) (*MySQLServer, error)) {
	s, err := start(context.Background(), MySQLOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	db := s.Connect(t, "")
	var version string
	if err := db.QueryRow("SELECT version()").Scan(&version); err != nil {
		t.Fatal(err)
	}
	t.Log(version)
	for _, path := range []string{s.GeneralLog, s.SlowLog} {
		// MySQL writes the slow log after it has answered.
		Eventually(t, "the statement is in "+path, func() bool {
			log, err := os.ReadFile(path)
			return err == nil && strings.Contains(string(log), "SELECT version()")
		})
	}
	ping := func(change func(*mysql.Config)) error {
		config := s.Config(s.User, s.Password, "")
		change(config)
		connector, err := mysql.NewConnector(config)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		defer db.Close()
		return db.Ping()
	}
	var unverified *tls.CertificateVerificationError
	if err := ping(func(c *mysql.Config) { c.TLS = newCA(t).ClientTLS("localhost") }); !errors.As(err, &unverified) {
		t.Errorf("an unrelated CA: %v, want a verification error", err)
	}
	if err := ping(func(c *mysql.Config) { c.TLS = nil }); err == nil {
		t.Error("a connection without TLS is accepted")
	}
	if err := ping(func(c *mysql.Config) { c.Passwd = "wrong" }); err == nil {
		t.Error("a wrong password is accepted")
	}
	CheckStop(t, &s.Server)
}

func TestMariaDBWithoutTLS(t *testing.T) {
	s := SharedMariaDB(t, MySQLOptions{NoTLS: true})
	s.Connect(t, s.Database(t))
	config := s.Config(s.User, s.Password, "")
	config.TLS = s.CA.ClientTLS("localhost")
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := sql.OpenDB(connector).Ping(); err == nil {
		t.Error("TLS is accepted")
	}
}
