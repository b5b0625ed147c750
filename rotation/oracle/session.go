package oracle

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"net"

	goora "github.com/sijms/go-ora/v2"
	"github.com/sijms/go-ora/v2/network"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
	"example.com/rotator/rotation/internal/sqlsession"
)

// opener logs in, over TLS unless config is nil, with dbname as a SID or service name. Tests replace it.
type opener func(ctx context.Context, t engine.Target, sid bool, config *tls.Config) (driver.Conn, error)

func open(ctx context.Context, t engine.Target, sid bool, config *tls.Config) (driver.Conn, error) {
	// The driver's settings must come from its parser. The settings that decide where a password goes follow.
	cfg, err := goora.ParseConfig("oracle://u:p@localhost:1/x")
	if err != nil {
		return nil, engine.Errorf(engine.InternalError, "report this as a bug", "the driver's settings are unusable")
	}
	cfg.UserID, cfg.Password = t.User, t.Password
	cfg.Servers[0].Addr, cfg.Servers[0].Port = t.Host, t.Port
	cfg.ServiceName, cfg.SID = t.Database, ""
	if sid {
		cfg.ServiceName, cfg.SID = "", t.Database
	}
	cfg.ProgramName, cfg.ProgramPath, cfg.OSUserName = "rotator", "rotator", "rotator"
	cfg.Timeout = 0 // the connection ends with ctx
	if config == nil {
		// Oracle's native encryption has no certificates, but is better than none.
		cfg.EncServiceLevel, cfg.IntServiceLevel = 2, 2
	} else {
		cfg.Protocol, cfg.SSL, cfg.SSLVerify, cfg.TLSConfig = "tcps", true, true, config
	}
	var first string
	cfg.RegisterDial(func(_ context.Context, network, address string) (net.Conn, error) {
		if first == "" {
			first = address
		}
		if address != first {
			// The listener chooses the other address, and whether to use TLS there.
			return nil, engine.Errorf(engine.TargetFailed, "set host to the address that the listener redirects to",
				"the listener at %s redirects to another address, %s, which is not followed", t.Address(), address)
		}
		return boundconn.Dial(ctx, network, address)
	})
	conn, err := goora.NewConnection("", cfg)
	if err != nil {
		return nil, err
	}
	if err := conn.OpenWithContext(ctx); err != nil {
		return nil, err
	}
	return conn, nil
}

// connect logs in. It first treats dbname as AWS's templates do, as a SID over TLS and as a service name without, then
// the other way around. The listener rejects an unknown one before a login.
//
// A listener without TLS only closes the connection, as a broken network does. That proves nothing, so plain text needs
// "ssl": false in the secret.
func (e *Engine) connect(ctx context.Context, t engine.Target) (*sqlsession.Session, error) {
	connect := func(ctx context.Context, config *tls.Config) (conn driver.Conn, err error) {
		for _, sid := range []bool{config != nil, config == nil} {
			if conn, err = e.open(ctx, t, sid, config); code(err) != 12505 && code(err) != 12514 {
				break
			}
		}
		return conn, err
	}
	noTLS := func(err error) bool { return code(err) == 0 && boundconn.MaybePlain(err) }
	policy := e.tls
	policy.AllowPlaintext = false
	return messages.Open(ctx, policy, t, noTLS, connect)
}

func read(err error) (codes []int, shown error) {
	if c := code(err); c != 0 {
		codes = []int{c}
	}
	return codes, err
}

func code(err error) int {
	if e, ok := errors.AsType[*network.OracleError](err); ok {
		return e.ErrCode
	}
	return 0
}

const (
	adviceGrant = "grant the login the rights that the engine's page lists; on RDS, grant on objects of SYS with " +
		"rdsadmin.rdsadmin_util.grant_sys_object"
	advicePolicy = "adjust PASSWORD_LENGTH, EXCLUDE_* and REQUIRE_EACH_INCLUDED_TYPE to the profile's " +
		"PASSWORD_VERIFY_FUNCTION, PASSWORD_REUSE_MAX and PASSWORD_REUSE_TIME"
)

// messages explains known errors. An account that is locked, expired or without CREATE SESSION is not LoginRefused,
// because no other password would change the answer.
// Source: https://docs.oracle.com/en/error-help/db/
var messages = sqlsession.Server{Read: read, Meanings: []sqlsession.Meaning{
	sqlsession.Means(engine.LoginRefused, "check the user's name and password", 1017),
	sqlsession.Means(engine.PrivilegeMissing,
		"unlock the account with ALTER USER … ACCOUNT UNLOCK, and find the source of wrong passwords", 28000),
	sqlsession.Means(engine.PrivilegeMissing,
		"reset the expired password, or give the user a profile with PASSWORD_LIFE_TIME UNLIMITED", 28001),
	sqlsession.Means(engine.PrivilegeMissing, "grant the user CREATE SESSION", 1045),
	sqlsession.Means(engine.PolicyRejected, advicePolicy, 28003, 28007, 28217, 28218, 988, 972),
	sqlsession.Means(engine.TargetFailed,
		"check the user's profile and PASSWORD_ROLLOVER_TIME: the server does not accept the login's password as old",
		28008, 28221),
	sqlsession.Means(engine.PrivilegeMissing, adviceGrant, 1031, 1950, 990, 1749, 1932, 1952, 1720, 65054, 41900),
	sqlsession.Means(engine.PrivilegeMissing, adviceGrant+"; reading rights requires SELECT_CATALOG_ROLE", 942, 4043),
	sqlsession.Means(engine.InvalidSecret,
		"correct the secret's field dbname: the listener knows no such service or SID", 12514, 12505, 12504),
	sqlsession.Means(engine.TargetFailed, "raise SESSIONS or PROCESSES", 12516, 12519, 12520, 12518, 18, 20, 2391),
	sqlsession.Means(engine.TargetFailed, "set host to the primary: a standby cannot change a user", 16000, 16456),
	sqlsession.Means(engine.Unreachable, "check port, security groups, routes and the listener",
		12541, 12170, 12535, 12537, 12543, 12545, 3113, 3114, 3135),
	sqlsession.Means(engine.InvalidSecret, "name the pluggable database in dbname, not the container", 65096, 65049),
	sqlsession.Means(engine.Locked, "end the session that holds the lock: v$session shows it", 54),
}}
