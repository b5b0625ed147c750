package engine

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"example.com/rotator/rotation/internal/errtree"
)

// Target is the server and login that a secret names, in the fields that AWS's templates read.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
type Target struct {
	Host     string
	Port     int
	User     string
	Password string
	Database string  // the field dbname, or the engine's default
	TLS      TLSMode // what the field ssl asks for
	// TLSServerName is the field tlsServerName: the name in the certificate if the host is an alias, a load balancer or
	// a tunnel. "" means the host.
	TLSServerName string
}

// CertificateName returns the name that the server's certificate must have.
func (t Target) CertificateName() string { return cmp.Or(t.TLSServerName, t.Host) }

// TLSMode is what a secret's field ssl asks for.
type TLSMode int

const (
	// TLSDefault is for a field that is absent or neither true nor false. The connection is encrypted and verified;
	// AWS's templates would fall back to plain text.
	TLSDefault TLSMode = iota
	// TLSOn is for "ssl": true.
	TLSOn
	// TLSOff is for "ssl": false: the secret's owner asks for plain text.
	TLSOff
)

// ParseTLSMode reads the field ssl as AWS's templates do.
func ParseTLSMode(ssl string) TLSMode {
	switch strings.ToLower(ssl) {
	case "true":
		return TLSOn
	case "false":
		return TLSOff
	}
	return TLSDefault
}

// Format writes the target without its password.
func (t Target) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%s as user %q", t.Address(), t.User)
}

// Address returns host:port.
func (t Target) Address() string { return net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) }

// ParseTarget reads a target from a value, given the engine's default port and database. The optional fields, any of
// host, username and password, may be empty. The error has the cause InvalidSecret, lists every fault and quotes no
// password.
func ParseTarget(v Value, port int, database string, optional ...string) (Target, error) {
	const advice = "correct the secret's value; the engine's documentation page describes its format"
	if !v.IsObject() {
		return Target{}, Errorf(InvalidSecret, advice, "the secret's value cannot be read: %s", v.Fault())
	}
	var faults []string
	present := func(name string) bool { return cmp.Or(string(v.JSON(name)), "null") != "null" }
	field := func(name string) string {
		s, ok := v.Text(name)
		switch {
		case !ok && present(name):
			faults = append(faults, name+" is not text")
		case s == "" && !slices.Contains(optional, name):
			faults = append(faults, name+" is missing")
		case strings.ContainsRune(s, 0):
			faults = append(faults, name+" contains a NUL character")
		}
		return s
	}
	ssl, _ := v.Text("ssl")
	t := Target{Host: field("host"), User: field("username"), Password: field("password"), Port: port,
		Database: database, TLS: ParseTLSMode(ssl)}
	if strings.ContainsAny(t.Host, " \t\r\n/@,?#") {
		// With a list of hosts or a URL, a driver would connect elsewhere.
		faults = append(faults, "host is not one host name or address")
	}
	if s, ok := v.Text("port"); s != "" || !ok && present("port") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 1 || n > 65535 {
			faults = append(faults, "port is not a number between 1 and 65535")
		}
		t.Port = n
	}
	if s, _ := v.Text("dbname"); s != "" {
		t.Database = s
	}
	name, ok := v.Text("tlsServerName")
	if t.TLSServerName = name; !ok && present("tlsServerName") {
		faults = append(faults, "tlsServerName is not text")
	}
	if faults != nil {
		slices.Sort(faults)
		return Target{}, Errorf(InvalidSecret, advice, "the secret's value is not a valid login: %s",
			strings.Join(faults, ", "))
	}
	return t, nil
}

// ofTLS reports whether a text comes from a crypto/tls error. Many of those can be recognized only by their text.
func ofTLS(text string) bool {
	text = strings.ToLower(text)
	return strings.HasPrefix(text, "tls: ") || strings.HasPrefix(text, "tls handshake failed")
}

// NetworkError returns NameNotResolved, TLSFailed or Unreachable for a connection error, or nil for any other. Compare
// the result with nil before returning it as an error. Check first whether the driver's error is an answer from the
// server.
func NetworkError(t Target, err error) *Error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && !dns.IsTimeout {
		return Errorf(NameNotResolved, "check the secret's host and the DNS of the function's VPC",
			"cannot resolve the name of %s: %w", t.Address(), err)
	}
	if errtree.Any(err, ofTLS) {
		advice := "check that the server supports TLS and that its CA is known; for your own CA, set CA_BUNDLE"
		if _, header := errors.AsType[tls.RecordHeaderError](err); header {
			advice = "check the secret's host and port, and that the server has TLS switched on"
		}
		if _, name := errors.AsType[x509.HostnameError](err); name {
			advice = "use the certificate's name as the host, or put it in the field tlsServerName if the engine has " +
				"that field"
		}
		return Errorf(TLSFailed, advice, "no verified TLS with %s: %w", t.Address(), err)
	}
	const adviceRoute = "check the port, security groups and routes, and that the server is running"
	timeout, ok := errors.AsType[net.Error](err)
	if ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return Errorf(Unreachable, adviceRoute, "%s does not answer in time: %w", t.Address(), err)
	}
	_, operation := errors.AsType[*net.OpError](err)
	if operation || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, context.Canceled) {
		return Errorf(Unreachable, adviceRoute, "the connection to %s failed: %w", t.Address(), err)
	}
	return nil
}
