package sqlserver

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
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

// noTLS matches the driver's whole text for a server without TLS: in other messages, a database's name could match a
// part.
func noTLS(err error) bool { return errtree.Is(err, "server does not support encryption") }

func (e *Engine) connect(ctx context.Context, t engine.Target) (*sqlsession.Session, error) {
	connect := func(ctx context.Context, config *tls.Config) (driver.Conn, error) {
		cfg := msdsn.Config{
			Host: t.Host, Port: uint64(t.Port), Database: t.Database, User: t.User, Password: t.Password,
			AppName: "rotator", Protocols: []string{"tcp"}, DialTimeout: -1, DisableRetry: true, NoTraceID: true,
			Encryption: msdsn.EncryptionRequired, TLSConfig: config,
			// A server may redirect the client; the other server's certificate must also be for the secret's host.
			HostInCertificateProvided: true,
			Encoding:                  msdsn.EncodeParameters{Timezone: time.UTC},
		}
		if config == nil {
			// A server that requires TLS still gets it, verified.
			cfg.Encryption, cfg.TLSConfig = msdsn.EncryptionDisabled, e.tls.Config(t.CertificateName())
		}
		connector := mssql.NewConnectorConfig(cfg)
		connector.Dialer = dialer{ctx, t.Host}
		return connector.Connect(ctx)
	}
	return messages.Open(ctx, e.tls, t, noTLS, connect)
}

// dialer opens connections that end with their call: the driver checks its context only between messages, if at all.
type dialer struct {
	ctx  context.Context
	host string
}

// HostName makes the driver leave name resolution to the dialer, which limits it to the remaining time.
func (d dialer) HostName() string { return d.host }

// DialContext connects and closes the connection when the call ends.
func (d dialer) DialContext(_ context.Context, network, address string) (net.Conn, error) {
	return boundconn.Dial(d.ctx, network, address)
}

// read returns the numbers of all server messages in err: 4060 (no such database) precedes 18456 (login failed).
func read(err error) (codes []int, shown error) {
	e, _ := errors.AsType[mssql.Error](err)
	for _, each := range e.All {
		codes = append(codes, int(each.Number))
	}
	return codes, err
}

const adviceGrant = "grant the login the rights that the engine's documentation page lists"

// messages explains known messages. A disabled, locked or expired login is not LoginRefused, because no other password
// would change the answer.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/errors-events/database-engine-events-and-errors
// and https://learn.microsoft.com/en-us/sql/relational-databases/errors-events/mssqlserver-18456-database-engine-error
var messages = sqlsession.Server{Read: read, Meanings: []sqlsession.Meaning{
	sqlsession.Means(engine.InvalidSecret,
		"correct the field dbname, bring the database online, or create a user in it for the login", 4060, 4063, 911),
	sqlsession.Means(engine.PrivilegeMissing, "let the server's logon trigger accept the login", 17892),
	sqlsession.Means(engine.PrivilegeMissing, "enable, unlock or reset the login, as the server's message says; "+
		"ALTER LOGIN … WITH CHECK_POLICY = OFF, then = ON, unlocks it", 18470, 18486, 15113, 18487, 18488),
	sqlsession.Means(engine.LoginRefused, "check name and password; only the server's log has the reason", 18456),
	sqlsession.Means(engine.PolicyRejected,
		"adjust PASSWORD_LENGTH and EXCLUDE_* to the policy, or rotate later if its history or minimum age is the "+
			"reason",
		15114, 15115, 15116, 15117, 15118, 15119, 18463, 18464, 18465, 18466, 18467, 18468),
	sqlsession.Means(engine.PrivilegeMissing, adviceGrant, 15151, 15247, 229, 262, 297, 300, 916, 4613),
	sqlsession.Means(engine.TargetFailed, "name the writer in the secret's host, or set the database READ_WRITE",
		3906, 976, 978),
	sqlsession.Means(engine.Locked, "wait for the transaction that sys.dm_tran_locks shows to end", 1222, 1205),
}}
