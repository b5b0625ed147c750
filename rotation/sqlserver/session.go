package sqlserver

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
	"example.com/rotator/rotation/internal/errtree"
	"example.com/rotator/rotation/internal/sqlsession"
)

// session is a connection to the target of one value.
type session struct {
	*sqlsession.Session
	engine *Engine
	target engine.Target
}

// noTLS is the driver's text for a server that answered that it has no TLS. It must be all of an error's text: the
// server's own messages quote the database's name.
const noTLS = "server does not support encryption"

// connect logs in. Only the server's answer makes an error LoginRefused.
func (e *Engine) connect(ctx context.Context, v engine.Value) (*session, error) {
	t, err := parse(v)
	if err != nil {
		return nil, err
	}
	s := &session{engine: e, target: t}
	for i, config := range e.tls.Attempts(t) {
		if i > 0 && !errtree.Is(err, noTLS) {
			break
		}
		cfg := msdsn.Config{
			Host: t.Host, Port: uint64(t.Port), Database: t.Database, User: t.User, Password: t.Password,
			AppName: "rotator", Protocols: []string{"tcp"}, DialTimeout: -1, DisableRetry: true, NoTraceID: true,
			Encryption: msdsn.EncryptionRequired, TLSConfig: config,
			// A server may redirect the client to another, whose certificate must still be for the secret's host.
			HostInCertificateProvided: true,
			Encoding:                  msdsn.EncodeParameters{Timezone: time.UTC},
		}
		if config == nil {
			// A server that insists gets its TLS, verified.
			cfg.Encryption, cfg.TLSConfig = msdsn.EncryptionDisabled, e.tls.Config(t.CertificateName())
		}
		connector := mssql.NewConnectorConfig(cfg)
		connector.Dialer = dialer{ctx, t.Host}
		if s.Session, err = sqlsession.Open(ctx, connector.Connect, s.classify); err == nil {
			return s, nil
		}
	}
	return nil, s.classify(ctx, "no login at "+t.Address(), err)
}

// dialer makes connections that end with the call they are made for: the driver asks for its context only between
// messages, and not at all while it negotiates.
type dialer struct {
	ctx  context.Context
	host string
}

// HostName tells the driver to leave the look-up of names to the dialer, which does it within the time that is left.
func (d dialer) HostName() string { return d.host }

// DialContext connects, and closes the connection when the call ends.
func (d dialer) DialContext(_ context.Context, network, address string) (net.Conn, error) {
	return boundconn.Dial(d.ctx, network, address)
}

// numbers returns the numbers of all the server's messages in err. The last one alone can mislead: a database that
// cannot be opened is 4060, and then 18456 as for a wrong password.
func numbers(err error) (all []int) {
	e, ok := errors.AsType[mssql.Error](err)
	for _, each := range e.All {
		all = append(all, int(each.Number))
	}
	if ok {
		all = append(all, int(e.Number))
	}
	return all
}

const adviceGrant = "grant the login what the engine's page lists"

// meanings are the messages that are understood, the first of several counts; all others are TargetFailed. For a login
// that is disabled, locked or expired, no other password would change the answer, so it is not LoginRefused.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/errors-events/database-engine-events-and-errors
// and https://learn.microsoft.com/en-us/sql/relational-databases/errors-events/mssqlserver-18456-database-engine-error
var meanings = []sqlsession.Meaning{
	sqlsession.Means(engine.InvalidSecret, "correct the secret's field dbname, or make the user one of that database and bring the database online", 4060, 4063, 911),
	sqlsession.Means(engine.PrivilegeMissing, "give the login a default database that it can open", 4064),
	sqlsession.Means(engine.PrivilegeMissing, "make the superuser a user of that database", 916),
	sqlsession.Means(engine.PrivilegeMissing, "let the server's logon trigger accept the login", 17892),
	sqlsession.Means(engine.InvalidSecret, "name a login of SQL Server, not one of Windows", 18452),
	sqlsession.Means(engine.TargetFailed, "wait: the server is in single-user mode, upgraded, paused or starting", 18461, 18401, 17142, 17187),
	sqlsession.Means(engine.TargetFailed, "raise the server's limit of connections", 17809),
	sqlsession.Means(engine.PrivilegeMissing, "enable the login: ALTER LOGIN … ENABLE", 18470),
	sqlsession.Means(engine.PrivilegeMissing, "unlock the login by ALTER LOGIN … WITH CHECK_POLICY = OFF and then = ON, or wait", 18486, 15113),
	sqlsession.Means(engine.PrivilegeMissing, "set the expired password anew, or switch CHECK_EXPIRATION off for a login that is rotated", 18487),
	sqlsession.Means(engine.PrivilegeMissing, "set the password without MUST_CHANGE", 18488),
	sqlsession.Means(engine.LoginRefused, "check the password; the server says the same of a login that does not exist, and tells the reason only in its own log", 18456),
	sqlsession.Means(engine.PolicyRejected, "adapt PASSWORD_LENGTH, EXCLUDE_* and REQUIRE_EACH_INCLUDED_TYPE to the server's policy; one that the policy remembers or finds too young needs another rotation later",
		15114, 15115, 15116, 15117, 15118, 15119, 18463, 18464, 18465, 18466, 18467, 18468),
	sqlsession.Means(engine.PrivilegeMissing, adviceGrant, 15151, 15247, 229, 262, 297, 300, 4613),
	sqlsession.Means(engine.TargetFailed, "name the writer in the secret's host, or set the database READ_WRITE", 3906),
	sqlsession.Means(engine.TargetFailed, "name the writer in the secret's host: this is a secondary replica", 976, 978),
	sqlsession.Means(engine.Locked, "wait for another session's transaction to end: sys.dm_tran_locks shows it", 1222, 1205),
}

// classify gives an error its cause and advice.
func (s *session) classify(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	have := numbers(err)
	if known := sqlsession.Explain(meanings, have, what, err); known != nil {
		return known
	}
	if have == nil {
		if errtree.Is(err, noTLS) {
			return engine.Errorf(engine.TLSFailed, `switch TLS on at the server, or say "ssl": false in the secret to send passwords in the clear`, "%s offers no TLS", s.target.Address())
		}
		// The connection of a call that is over is closed under the driver.
		if over := ctx.Err(); over != nil {
			err = errors.Join(over, err)
		}
		if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			err = certificate
		}
		if e := engine.NetworkError(s.target, err); e != nil {
			return e
		}
	}
	return engine.Errorf(engine.TargetFailed, "see the server's message and log", "%s: %w", what, err)
}
