package oracle

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"net"
	"slices"

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

type session struct {
	*sqlsession.Session
	engine *Engine
}

// connect logs in, over TLS if the listener has it. It first treats dbname as AWS's templates do, as a SID over TLS and
// as a service name without, then the other way around. The listener rejects an unknown one before a login.
func (e *Engine) connect(ctx context.Context, t engine.Target) (*session, error) {
	login := func(ctx context.Context, config *tls.Config) (conn driver.Conn, err error) {
		for _, sid := range []bool{config != nil, config == nil} {
			if conn, err = e.open(ctx, t, sid, config); code(err) != 12505 && code(err) != 12514 {
				break
			}
		}
		return conn, err
	}
	connect := func(ctx context.Context, config *tls.Config) (driver.Conn, error) {
		conn, err := login(ctx, config)
		if len(e.tls.Attempts(t)) > 1 && config != nil && maybePlain(err) {
			return login(ctx, config) // a broken connection is not an answer from the listener
		}
		return conn, err
	}
	noTLS := func(err error) bool { return maybePlain(err) && answersPlain(ctx, t) }
	s, err := messages.Open(ctx, e.tls, t, noTLS, connect)
	return &session{s, e}, err
}

func maybePlain(err error) bool { return code(err) == 0 && boundconn.MaybePlain(err) }

// answersPlain reports whether the listener answers tnsping's request, which names no user, without TLS.
func answersPlain(ctx context.Context, t engine.Target) bool {
	const ping = "(DESCRIPTION=(CONNECT_DATA=(COMMAND=ping)))"
	const begin = 58 // where the connect data begins
	packet := make([]byte, begin, begin+len(ping))
	for at, n := range map[int]int{
		0: begin + len(ping), 8: 310, 10: 300, // the protocol's version, and the oldest acceptable one
		14: 2048, 16: 32767, 18: 0x7F08, // the maximum packet sizes, and the transport's capabilities
		22: 1, 24: len(ping), 26: begin, // the byte order, and where the data is
	} {
		binary.BigEndian.PutUint16(packet[at:], uint16(n))
	}
	packet[4] = 1 // CONNECT
	head := boundconn.Ask(ctx, "tcp", t.Address(), append(packet, ping...), 8)
	// ACCEPT, REFUSE, REDIRECT or RESEND.
	return head != nil && slices.Contains([]byte{2, 4, 5, 11}, head[4])
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
	sqlsession.Means(engine.InvalidSecret, "put a password into the secret", 1005),
	sqlsession.Means(engine.TargetFailed,
		"set SQLNET.ALLOWED_LOGON_VERSION_SERVER to a version that the driver supports", 28040, 28030),
	sqlsession.Means(engine.PolicyRejected, advicePolicy, 28003, 28007, 28217, 28218, 988, 972),
	sqlsession.Means(engine.TargetFailed,
		"check the user's profile and PASSWORD_ROLLOVER_TIME: the server does not accept the login's password as old",
		28008, 28221),
	sqlsession.Means(engine.TargetFailed,
		"give the user a profile without PASSWORD_ROLLOVER_TIME: administrative users cannot have it", 28227),
	sqlsession.Means(engine.PrivilegeMissing, adviceGrant, 1031, 1950, 990, 1749, 1932, 1952, 1720, 65054, 41900),
	sqlsession.Means(engine.PrivilegeMissing, adviceGrant+"; reading rights requires SELECT_CATALOG_ROLE", 942, 4043),
	sqlsession.Means(engine.InvalidSecret,
		"correct the secret's field dbname: the listener knows no such service or SID", 12514, 12505, 12504),
	sqlsession.Means(engine.PrivilegeMissing, "let the listener accept the function's address", 12506, 12546, 12529),
	sqlsession.Means(engine.TargetFailed, "raise SESSIONS or PROCESSES", 12516, 12519, 12520, 12518, 18, 20, 2391),
	sqlsession.Means(engine.TargetFailed, "wait until the database has started; Secrets Manager retries",
		1033, 1034, 1089, 1090, 1109, 12526, 12527, 12528),
	sqlsession.Means(engine.TargetFailed, "set host to the primary: a standby cannot change a user", 16000, 16456),
	sqlsession.Means(engine.Unreachable, "check port, security groups, routes and the listener",
		12541, 12170, 12535, 12537, 12543, 12545, 3113, 3114, 3135),
	sqlsession.Means(engine.InvalidSecret, "name the pluggable database in dbname, not the container", 65096, 65049),
	sqlsession.Means(engine.InvalidSecret, "correct the secret's user name", 1918, 1917),
	sqlsession.Means(engine.Locked, "end the session that holds the lock: v$session shows it", 54),
}}
