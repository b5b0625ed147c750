package engine_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
)

func TestParseTargetTakesWhatAWSTemplatesTake(t *testing.T) {
	const rest = `"host":"db.example","username":"app","password":"p-secret-1"`
	for extra, want := range map[string]engine.Target{
		``:                               {Port: 5432, Database: "postgres"},
		`,"port":6000`:                   {Port: 6000, Database: "postgres"},
		`,"port":"6000"`:                 {Port: 6000, Database: "postgres"},
		`,"port":""`:                     {Port: 5432, Database: "postgres"},
		`,"port":null`:                   {Port: 5432, Database: "postgres"},
		`,"dbname":"shop"`:               {Port: 5432, Database: "shop"},
		`,"dbname":null`:                 {Port: 5432, Database: "postgres"},
		`,"dbname":""`:                   {Port: 5432, Database: "postgres"},
		`,"ssl":true`:                    {Port: 5432, Database: "postgres", TLS: engine.TLSOn},
		`,"ssl":"TRUE"`:                  {Port: 5432, Database: "postgres", TLS: engine.TLSOn},
		`,"ssl":false`:                   {Port: 5432, Database: "postgres", TLS: engine.TLSOff},
		`,"ssl":"False"`:                 {Port: 5432, Database: "postgres", TLS: engine.TLSOff},
		`,"ssl":1`:                       {Port: 5432, Database: "postgres"},
		`,"ssl":"maybe"`:                 {Port: 5432, Database: "postgres"},
		`,"ssl":null,"unknown":{"a":[]}`: {Port: 5432, Database: "postgres"},
		`,"tlsServerName":"db.internal"`: {Port: 5432, Database: "postgres", TLSServerName: "db.internal"},
		`,"tlsServerName":null`:          {Port: 5432, Database: "postgres"},
	} {
		want.Host, want.User, want.Password = "db.example", "app", "p-secret-1"
		got, err := engine.ParseTarget(engine.StringValue("{"+rest+extra+"}"), 5432, "postgres")
		if err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", extra, got, err, want)
		}
		if s := fmt.Sprintf("%v %+v %#v %s", got, got, got, got); strings.Contains(s, "p-secret-1") {
			t.Errorf("a target prints its password: %s", s)
		}
	}
}

func TestParseTargetNamesEveryFault(t *testing.T) {
	for text, want := range map[string][]string{
		`{}`: {"host is missing", "username is missing", "password is missing"},
		`{"host":"h","username":"u","password":""}`:                     {"password is missing"},
		`{"host":"h","username":["u"],"password":"p"}`:                  {"username is not text"},
		`{"host":"h","username":"u","password":"p","port":"x"}`:         {"port is not a number"},
		`{"host":"h","username":"u","password":"p","port":0}`:           {"port is not a number"},
		`{"host":"h","username":"u","password":"p","port":65536}`:       {"port is not a number"},
		`{"host":"h","username":"u","password":"p","port":[5432]}`:      {"port is not a number"},
		`{"host":"h","username":"u","password":"p","port":54.32}`:       {"port is not a number"},
		`{"host":"h1,h2","username":"u","password":"p"}`:                {"host is not one"},
		`{"host":"evil.example/x?y=","username":"u","password":"p"}`:    {"host is not one"},
		`{"host":"h","username":"u\u0000","password":"p"}`:              {"username contains a NUL"},
		`{"host":"h","username":"u","password":"p","tlsServerName":{}}`: {"tlsServerName is not text"},
		`not json p-secret-1`: {"not a JSON object"},
		`{"host":"h","username":"u","password":"p-secret-1","port":"x y"}`: {"port is not a number"},
	} {
		_, err := engine.ParseTarget(engine.StringValue(text), 1, "")
		if !errors.Is(err, engine.InvalidSecret) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q", text, err, w)
			}
		}
		if strings.Contains(err.Error(), "p-secret-1") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// TestParseTargetOfOptionalFields: they may be empty but not of another type.
func TestParseTargetOfOptionalFields(t *testing.T) {
	for text, want := range map[string]string{
		`{"username":"u"}`:                           "",
		`{"username":"u","host":null,"password":""}`: "",
		`{"username":"u","host":["h"]}`:              "host is not text",
		`{"username":"u","host":"h1,h2"}`:            "host is not one",
		`{"host":"h"}`:                               "username is missing",
	} {
		got, err := engine.ParseTarget(engine.StringValue(text), 1, "", "host", "password")
		if want == "" && (err != nil || got != engine.Target{Port: 1, User: "u"}) ||
			want != "" && (!errors.Is(err, engine.InvalidSecret) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, %v, want %q", text, got, err, want)
		}
	}
}

// TestNetworkErrorIgnoresNamesFromTheSecret, which drivers quote in their errors.
func TestNetworkErrorIgnoresNamesFromTheSecret(t *testing.T) {
	target := engine.Target{Host: "db.example", Port: 5432}
	for _, row := range []struct {
		err  error
		want engine.Cause
	}{
		{fmt.Errorf("no login to the database %q: %w", "tls: x", errors.New("too many connections")), ""},
		{fmt.Errorf("no login to the database %q: %w", "tls: x", io.EOF), engine.Unreachable},
		{fmt.Errorf("no login: %w", errors.New("tls: server selected unsupported protocol version 301")),
			engine.TLSFailed},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, engine.TLSFailed},
		{errors.New("TLS Handshake failed: cannot read the certificate"), engine.TLSFailed},
	} {
		e := engine.NetworkError(target, row.err)
		if (e != nil) != (row.want != "") || e != nil && e.Cause != row.want {
			t.Errorf("%v: %v, want %q", row.err, e, row.want)
		}
	}
}

// TestAdviceForAServerWithoutTLS names no field of the secret: not every engine permits plain text.
func TestAdviceForAServerWithoutTLS(t *testing.T) {
	e := engine.NetworkError(engine.Target{Host: "h", Port: 1}, tls.RecordHeaderError{Msg: "not TLS"})
	if e == nil || strings.Contains(e.Advice, "ssl") || !strings.Contains(e.Advice, "has TLS switched on") {
		t.Error(e)
	}
}

// TestAdviceForTheNameInACertificate does not suggest CA_BUNDLE, which would not help.
func TestAdviceForTheNameInACertificate(t *testing.T) {
	target := engine.Target{Host: "tunnel.example", Port: 5432}
	for _, err := range []error{
		x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"db.example"}}, Host: "tunnel.example"},
		x509.UnknownAuthorityError{},
	} {
		e := engine.NetworkError(target, &tls.CertificateVerificationError{Err: err})
		_, name := errors.AsType[x509.HostnameError](err)
		if e == nil || strings.Contains(e.Advice, "tlsServerName") != name ||
			strings.Contains(e.Advice, "CA_BUNDLE") == name {
			t.Errorf("%v: %v", err, e)
		}
	}
}
