package sqlserver

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"net"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
	"example.com/rotator/rotation/internal/errtree"
)

// session is a connection to the target of one value.
type session struct {
	engine *Engine
	db     *sql.DB
	conn   *sql.Conn
	target engine.Target
}

// connect logs in. The error has the cause LoginRefused only where the server
// says so.
func (e *Engine) connect(ctx context.Context, v engine.Value) (*session, error) {
	t, err := parse(v)
	if err != nil {
		return nil, err
	}
	return e.dial(ctx, t)
}

// noTLS is the driver's text for a server that answered that it has no TLS. It
// must be all of an error's text: the server's own messages quote the database's
// name.
const noTLS = "server does not support encryption"

func (e *Engine) dial(ctx context.Context, t engine.Target) (*session, error) {
	s := &session{engine: e, target: t}
	var err error
	for i, config := range e.tls.Attempts(t) {
		if i > 0 && !errtree.Is(err, noTLS) {
			break
		}
		cfg := msdsn.Config{
			Host: t.Host, Port: uint64(t.Port), Database: t.Database, User: t.User, Password: t.Password,
			AppName: "rotator", Protocols: []string{"tcp"}, DialTimeout: -1, DisableRetry: true, NoTraceID: true,
			Encryption: msdsn.EncryptionRequired, TLSConfig: config,
			// A server may send the client on to another. Its certificate must be
			// for the secret's host all the same.
			HostInCertificateProvided: true,
			Encoding:                  msdsn.EncodeParameters{Timezone: time.UTC},
		}
		if config == nil {
			// A server that insists gets its TLS, verified.
			cfg.Encryption, cfg.TLSConfig = msdsn.EncryptionDisabled, e.tls.Config(t.CertificateName())
		}
		connector := mssql.NewConnectorConfig(cfg)
		connector.Dialer = dialer{ctx, t.Host}
		s.db = sql.OpenDB(connector)
		if s.conn, err = s.db.Conn(ctx); err == nil {
			return s, nil
		}
		s.db.Close()
	}
	return nil, s.classify(ctx, "no login at "+t.Address(), err)
}

// close ends the connection.
func (s *session) close() {
	s.conn.Close()
	s.db.Close()
}

// dialer makes connections that end with the call they are made for: the driver
// asks for its context only between messages, and not at all while it negotiates.
type dialer struct {
	ctx  context.Context
	host string
}

// HostName tells the driver to leave the look-up of names to the dialer, which
// does it within the time that is left.
func (d dialer) HostName() string { return d.host }

// DialContext connects, and closes the connection when the call ends.
func (d dialer) DialContext(_ context.Context, network, address string) (net.Conn, error) {
	return boundconn.Dial(d.ctx, network, address)
}

// exec runs a statement that holds no password; it stands in the error.
func (s *session) exec(ctx context.Context, statement string) error {
	_, err := s.conn.ExecContext(ctx, statement)
	return s.classify(ctx, unguarded(statement), err)
}

// texts runs a query and returns its rows, all columns as text.
func (s *session) texts(ctx context.Context, what, query string) ([][]string, error) {
	rows, err := s.conn.QueryContext(ctx, query)
	if err != nil {
		return nil, s.classify(ctx, what, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, s.classify(ctx, what, err)
	}
	var all [][]string
	for rows.Next() {
		row := make([]string, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, engine.Errorf(engine.TargetFailed, "report this", "%s: %w", what, err)
		}
		all = append(all, row)
	}
	return all, s.classify(ctx, what, rows.Err())
}

// numbers returns the numbers of all the server's messages in err. The last one
// alone can mislead: a database that cannot be opened is 4060, and then 18456 as
// for a wrong password.
func numbers(err error) []int32 {
	e, ok := errors.AsType[mssql.Error](err)
	if !ok {
		return nil
	}
	var all []int32
	for _, each := range e.All {
		all = append(all, each.Number)
	}
	return append(all, e.Number)
}

// meaning is what a message of the server means for a rotation.
type meaning struct {
	cause  engine.Cause
	advice string
}

const (
	adviceDatabase = "correct the secret's field dbname, or make the user one of that database and bring the database online"
	adviceGrant    = "grant the login what the engine's page lists"
	advicePolicy   = "adapt PASSWORD_LENGTH, EXCLUDE_* and REQUIRE_EACH_INCLUDED_TYPE to the server's policy; one that the policy remembers or finds too young needs another rotation later"
	adviceLater    = "Secrets Manager tries again"
)

// meanings are the messages that are understood, in the order in which they count
// where there are several. Everything else is TargetFailed.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/errors-events/database-engine-events-and-errors
// and https://learn.microsoft.com/en-us/sql/relational-databases/errors-events/mssqlserver-18456-database-engine-error
var meanings = []struct {
	number int32
	meaning
}{
	{4060, meaning{engine.InvalidSecret, adviceDatabase}},
	{4063, meaning{engine.InvalidSecret, adviceDatabase}},
	{4064, meaning{engine.PrivilegeMissing, "give the login a default database that it can open"}},
	{911, meaning{engine.InvalidSecret, adviceDatabase}},
	{916, meaning{engine.PrivilegeMissing, "make the superuser a user of that database"}},
	{17892, meaning{engine.PrivilegeMissing, "a logon trigger of the server refused the login: let it pass"}},
	{18452, meaning{engine.InvalidSecret, "name a login of SQL Server, not one of Windows"}},
	{18461, meaning{engine.TargetFailed, "the server is in single-user mode: " + adviceLater}},
	{18401, meaning{engine.TargetFailed, "the server upgrades itself: " + adviceLater}},
	{17142, meaning{engine.TargetFailed, "the server is paused: " + adviceLater}},
	{17187, meaning{engine.TargetFailed, "the server is starting: " + adviceLater}},
	{17809, meaning{engine.TargetFailed, "raise the server's limit of connections"}},
	// No other password would change these answers, so they are no refusals of
	// the credential.
	{18470, meaning{engine.PrivilegeMissing, "the login is disabled: ALTER LOGIN … ENABLE"}},
	{18486, meaning{engine.PrivilegeMissing, "the login is locked after too many refused logins: ALTER LOGIN … WITH PASSWORD = … UNLOCK, or wait"}},
	{15113, meaning{engine.PrivilegeMissing, "the login is locked after too many refused logins: ALTER LOGIN … WITH PASSWORD = … UNLOCK, or wait"}},
	{18487, meaning{engine.PrivilegeMissing, "the password has expired: set it anew, or switch CHECK_EXPIRATION off for a login that is rotated"}},
	{18488, meaning{engine.PrivilegeMissing, "the password must be changed at the first login: set it without MUST_CHANGE"}},
	{18456, meaning{engine.LoginRefused, "check the password; the server says the same of a login that does not exist, and tells the reason only in its own log"}},
	{15114, meaning{engine.PolicyRejected, advicePolicy}},
	{15115, meaning{engine.PolicyRejected, advicePolicy}},
	{15116, meaning{engine.PolicyRejected, advicePolicy}},
	{15117, meaning{engine.PolicyRejected, advicePolicy}},
	{15118, meaning{engine.PolicyRejected, advicePolicy}},
	{15119, meaning{engine.PolicyRejected, advicePolicy}},
	{18463, meaning{engine.PolicyRejected, advicePolicy}},
	{18464, meaning{engine.PolicyRejected, advicePolicy}},
	{18465, meaning{engine.PolicyRejected, advicePolicy}},
	{18466, meaning{engine.PolicyRejected, advicePolicy}},
	{18467, meaning{engine.PolicyRejected, advicePolicy}},
	{18468, meaning{engine.PolicyRejected, advicePolicy}},
	{15151, meaning{engine.PrivilegeMissing, adviceGrant}},
	{15247, meaning{engine.PrivilegeMissing, adviceGrant}},
	{229, meaning{engine.PrivilegeMissing, adviceGrant}},
	{262, meaning{engine.PrivilegeMissing, adviceGrant}},
	{297, meaning{engine.PrivilegeMissing, adviceGrant}},
	{300, meaning{engine.PrivilegeMissing, adviceGrant}},
	{4613, meaning{engine.PrivilegeMissing, adviceGrant}},
	{3906, meaning{engine.TargetFailed, "name the writer in the secret's host: this replica is read-only"}},
	{976, meaning{engine.TargetFailed, "name the writer in the secret's host: this is a secondary replica"}},
	{978, meaning{engine.TargetFailed, "name the writer in the secret's host: this is a secondary replica"}},
	{1205, meaning{engine.TargetFailed, adviceLater}},
	{50741, meaning{engine.TargetFailed, "disable the database's DDL triggers for the rotation, or make them WITH EXECUTE AS a user of the database"}},
}

// classify gives an error its cause and advice.
func (s *session) classify(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	have := numbers(err)
	for _, m := range meanings {
		for _, n := range have {
			if m.number == n {
				return engine.Errorf(m.cause, m.advice, "%s: %w", what, err)
			}
		}
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

// change runs a statement, which holds no password, and reports it.
func (t *target) change(ctx context.Context, statement string) error {
	err := t.exec(ctx, statement)
	if err == nil {
		t.request.Changed(unguarded(statement))
	}
	return err
}
