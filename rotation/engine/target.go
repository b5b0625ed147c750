package engine

import (
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

// Target is a server as a secret names it, with the user who logs in there: the fields that AWS's
// templates read.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
type Target struct {
	Host     string
	Port     int
	User     string
	Password string
	// Database is the field dbname, or the engine's default.
	Database string
	// TLS is what the secret's field ssl asks for.
	TLS TLSMode
}

// TLSMode is what a secret's field ssl asks for.
type TLSMode int

const (
	// TLSDefault stands for a field ssl that is absent or neither true nor false: the connection is
	// encrypted and verified, and AWS's templates would fall back to plain text.
	TLSDefault TLSMode = iota
	// TLSOn is "ssl": true.
	TLSOn
	// TLSOff is "ssl": false: the secret's owner asks for plain text by name.
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

// ParseTarget reads a target from a value with the engine's default port and database. The error
// has the cause InvalidSecret and names every fault, not only the first; it quotes no password.
func ParseTarget(v Value, port int, database string) (Target, error) {
	const advice = "correct the secret's value; its form is in the engine's page of the documentation"
	if !v.IsObject() {
		return Target{}, Errorf(InvalidSecret, advice, "the secret's value cannot be read: %s", v.Fault())
	}
	var faults []string
	field := func(name string) string {
		s, ok := v.Text(name)
		switch {
		case !ok && v.JSON(name) != nil && string(v.JSON(name)) != "null":
			faults = append(faults, name+" is not text")
		case s == "":
			faults = append(faults, name+" is missing")
		case strings.ContainsRune(s, 0):
			faults = append(faults, name+" has a NUL character")
		}
		return s
	}
	t := Target{Host: field("host"), User: field("username"), Password: field("password"), Port: port, Database: database}
	if strings.ContainsAny(t.Host, " \t\r\n/@,?#") {
		// A list of hosts or a URL here would make a driver talk to others.
		faults = append(faults, "host is not one host name or address")
	}
	if s, ok := v.Text("port"); ok && s != "" {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 1 || n > 65535 {
			faults = append(faults, "port is not a number from 1 to 65535")
		}
		t.Port = n
	} else if raw := string(v.JSON("port")); raw != "" && raw != "null" && raw != `""` {
		faults = append(faults, "port is not a number from 1 to 65535")
	}
	if s, ok := v.Text("dbname"); ok && s != "" {
		t.Database = s
	}
	ssl, _ := v.Text("ssl")
	t.TLS = ParseTLSMode(ssl)
	if faults != nil {
		slices.Sort(faults)
		return Target{}, Errorf(InvalidSecret, advice, "the secret's value is not a valid login: %s", strings.Join(faults, ", "))
	}
	return t, nil
}

// ofTLS reports whether a text is that of an error of crypto/tls, most of which have no type, or
// the one in which a driver has kept nothing but the text.
func ofTLS(text string) bool {
	text = strings.ToLower(text)
	return strings.HasPrefix(text, "tls: ") || strings.HasPrefix(text, "tls handshake failed")
}

// NetworkError returns what an engine should return for an error of a connection that is not the
// server's own answer: NameNotResolved, TLSFailed or Unreachable with the advice for it; or nil
// where err is none of these. It is to be asked only after the driver's own type of server error.
func NetworkError(t Target, err error) *Error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && !dns.IsTimeout {
		return Errorf(NameNotResolved, "check the secret's host and the DNS of the function's VPC", "cannot resolve the name of %s: %w", t.Address(), err)
	}
	const adviceCA = "check that the host is the name in the server's certificate and that its CA is known; set CA_BUNDLE for a CA of your own"
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return Errorf(TLSFailed, adviceCA, "the certificate of %s is not signed by a known CA: %w", t.Address(), err)
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return Errorf(TLSFailed, adviceCA, "the certificate of %s is for another name: %w", t.Address(), err)
	}
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, header := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	if verification || header || alert || invalid || errtree.Any(err, ofTLS) {
		return Errorf(TLSFailed, adviceCA, "no verified TLS with %s: %w", t.Address(), err)
	}
	const adviceRoute = "check port, security groups, routes and that the server runs"
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return Errorf(Unreachable, adviceRoute, "%s does not answer in time: %w", t.Address(), err)
	}
	_, operation := errors.AsType[*net.OpError](err)
	if operation || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, context.Canceled) {
		return Errorf(Unreachable, adviceRoute, "the connection to %s failed: %w", t.Address(), err)
	}
	return nil
}
