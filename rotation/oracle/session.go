package oracle

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	goora "github.com/sijms/go-ora/v2"
	"github.com/sijms/go-ora/v2/network"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
)

// form is how a listener is asked for a database.
type form int

const (
	service form = iota
	sid
)

// opener logs in, over TLS unless config is nil. It is where the tests put a
// recorder in the driver's place.
type opener func(ctx context.Context, t engine.Target, f form, config *tls.Config) (driver.Conn, error)

// open is the opener with the real driver.
func open(ctx context.Context, t engine.Target, f form, config *tls.Config) (driver.Conn, error) {
	// The driver's settings must be made by its parser, which fills in what the
	// program is called; whatever decides where a password goes is set by hand.
	cfg, err := goora.ParseConfig("oracle://u:p@localhost:1/x")
	if err != nil {
		return nil, engine.Errorf(engine.InternalError, "report this", "the driver's settings are unusable")
	}
	cfg.UserID, cfg.Password = t.User, t.Password
	cfg.Servers[0].Addr, cfg.Servers[0].Port = t.Host, t.Port
	cfg.ServiceName, cfg.SID = t.Database, ""
	if f == sid {
		cfg.ServiceName, cfg.SID = "", t.Database
	}
	cfg.ProgramName, cfg.ProgramPath, cfg.OSUserName = "rotator", "rotator", "rotator"
	cfg.Timeout = 0 // the connection ends with ctx
	if config == nil {
		// Oracle's own encryption is asked for: it knows no certificates, and
		// is still better than none.
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
			// The other address could be anybody's, and the listener says, too,
			// whether there is TLS.
			return nil, engine.Errorf(engine.TargetFailed, "name in the secret the host that the listener sends clients on to", "the listener at %s sends clients on to another address, %s, which is not followed", t.Address(), address)
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

// connector hands one connection to database/sql.
type connector func(ctx context.Context) (driver.Conn, error)

// Connect returns the connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) { return c(ctx) }

// Driver returns the driver, which database/sql only shows to others.
func (c connector) Driver() driver.Driver { return goora.NewDriver() }

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

// dial logs in, over TLS where the listener has it.
func (e *Engine) dial(ctx context.Context, t engine.Target) (*session, error) {
	s := &session{engine: e, target: t}
	attempts := e.tls.Attempts(t)
	err := s.login(ctx, attempts[0])
	if maybePlain(err) && len(attempts) > 1 {
		// A connection that breaks is no answer of the listener's.
		err = s.login(ctx, attempts[0])
	}
	if maybePlain(err) && t.TLS != engine.TLSOff && answersPlain(ctx, t) {
		if len(attempts) == 1 {
			return nil, engine.Errorf(engine.TLSFailed, `name a TCPS port of the listener, or say "ssl": false in the secret`, "%s does not speak TLS: %w", t.Address(), err)
		}
		err = s.login(ctx, attempts[1])
	}
	if err != nil {
		return nil, s.classify(ctx, "no login at "+t.Address(), err)
	}
	return s, nil
}

// login takes dbname first as AWS's templates do, for a SID over TLS and for a
// service name without, and then the other way: the listener says which it
// knows before anybody logs in.
func (s *session) login(ctx context.Context, config *tls.Config) (err error) {
	forms := []form{service, sid}
	if config != nil {
		forms = []form{sid, service}
	}
	for _, f := range forms {
		s.db = sql.OpenDB(connector(func(context.Context) (driver.Conn, error) { return s.engine.open(ctx, s.target, f, config) }))
		if s.conn, err = s.db.Conn(ctx); err == nil {
			return nil
		}
		s.db.Close()
		if c := code(err); c != 12505 && c != 12514 {
			break
		}
	}
	return err
}

// maybePlain reports whether a TLS greeting has ended as it does at a listener
// that has no TLS on the port, by something else or by the connection's end, as
// it also does where the network broke.
func maybePlain(err error) bool {
	if code(err) != 0 {
		return false
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// answersPlain sends the listener what tnsping sends, which names nobody, without
// TLS, and reports whether it answers in its own protocol.
func answersPlain(ctx context.Context, t engine.Target) bool {
	const ping = "(DESCRIPTION=(CONNECT_DATA=(COMMAND=ping)))"
	const begin = 58 // of the connect data
	packet := make([]byte, begin, begin+len(ping))
	for at, n := range map[int]int{
		0: begin + len(ping), 8: 310, 10: 300, // the protocol's version, and the oldest that will do
		14: 2048, 16: 32767, 18: 0x7F08, // the greatest packets, and what the transport can do
		22: 1, 24: len(ping), 26: begin, // the byte order, and where the data is
	} {
		binary.BigEndian.PutUint16(packet[at:], uint16(n))
	}
	packet[4] = 1 // CONNECT
	conn, err := boundconn.Dial(ctx, "tcp", t.Address())
	if err != nil {
		return false
	}
	defer conn.Close()
	if _, err := conn.Write(append(packet, ping...)); err != nil {
		return false
	}
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return false
	}
	// ACCEPT, REFUSE, REDIRECT or RESEND.
	return slices.Contains([]byte{2, 4, 5, 11}, head[4])
}

// close ends the connection.
func (s *session) close() {
	s.conn.Close()
	s.db.Close()
}

// exec runs a statement that holds no password; it stands in the error.
func (s *session) exec(ctx context.Context, statement string) error {
	_, err := s.conn.ExecContext(ctx, statement)
	return s.classify(ctx, statement, err)
}

// texts runs a query and returns its rows, all columns as text; NULL, which
// Oracle does not tell from empty text, is "".
func (s *session) texts(ctx context.Context, what, query string, args ...any) ([][]string, error) {
	rows, err := s.conn.QueryContext(ctx, query, args...)
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
		cells := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, s.classify(ctx, what, err)
		}
		row := make([]string, len(columns))
		for i, c := range cells {
			row[i] = c.String
		}
		all = append(all, row)
	}
	return all, s.classify(ctx, what, rows.Err())
}

// code returns the number of the server's ORA- error, or 0.
func code(err error) int {
	if e, ok := errors.AsType[*network.OracleError](err); ok {
		return e.ErrCode
	}
	return 0
}

// rejection is an error of a statement that sets a password.
type rejection struct{ error }

// Unwrap returns the server's error.
func (r rejection) Unwrap() error { return r.error }

// rejected marks the error of a statement that sets a password: what a function
// that checks passwords raises can be of any number from 20000 to 20999, and so
// can a logon trigger's.
func rejected(err error) error {
	if err == nil {
		return nil
	}
	return rejection{err}
}

const (
	adviceGrant  = "grant the login what the engine's page lists; on RDS what belongs to SYS is granted by rdsadmin.rdsadmin_util.grant_sys_object"
	adviceLater  = "Secrets Manager tries again"
	advicePolicy = "adapt PASSWORD_LENGTH, EXCLUDE_* and REQUIRE_EACH_INCLUDED_TYPE to the profile's PASSWORD_VERIFY_FUNCTION, PASSWORD_REUSE_MAX and PASSWORD_REUSE_TIME"
)

// meanings are the errors that are understood. Everything else is TargetFailed.
// Source: https://docs.oracle.com/en/error-help/db/
var meanings = []struct {
	codes  []int
	cause  engine.Cause
	advice string
}{
	{[]int{1017}, engine.LoginRefused, "check the password; the server says the same of a user that does not exist"},
	// No other password would change these answers, so they are no refusals of
	// the credential.
	{[]int{28000}, engine.PrivilegeMissing, "the account is locked: ALTER USER … ACCOUNT UNLOCK, and look for who tries wrong passwords"},
	{[]int{28001}, engine.PrivilegeMissing, "the password has expired: set it anew, or give the user a profile with PASSWORD_LIFE_TIME UNLIMITED"},
	{[]int{1045}, engine.PrivilegeMissing, "grant the user CREATE SESSION"},
	{[]int{1005}, engine.InvalidSecret, "put a password into the secret"},
	{[]int{28040, 28030}, engine.TargetFailed, "the server and the driver share no way to log in: see SQLNET.ALLOWED_LOGON_VERSION_SERVER"},
	{[]int{28003, 28007, 28217, 28218, 988, 972}, engine.PolicyRejected, advicePolicy},
	{[]int{28008, 28221}, engine.TargetFailed, "the server does not take the password of this login for the old one; see the user's profile and PASSWORD_ROLLOVER_TIME"},
	{[]int{28227}, engine.TargetFailed, "a user with administrative privileges can have no PASSWORD_ROLLOVER_TIME: give it another profile"},
	{[]int{1031, 1950, 990, 1749, 1932, 1952, 1720, 65054, 41900}, engine.PrivilegeMissing, adviceGrant},
	{[]int{942, 4043}, engine.PrivilegeMissing, adviceGrant + "; to read the users' rights takes SELECT_CATALOG_ROLE"},
	{[]int{12514, 12505, 12504}, engine.InvalidSecret, "correct the secret's field dbname: the listener knows it neither as a service nor as a SID"},
	{[]int{12506, 12546, 12529}, engine.PrivilegeMissing, "let the listener accept the function's address"},
	{[]int{12516, 12519, 12520, 12518, 18, 20, 2391}, engine.TargetFailed, "raise the limit of sessions or processes: " + adviceLater},
	{[]int{1033, 1034, 1089, 1090, 1109, 12526, 12527, 12528}, engine.TargetFailed, "the database is starting or stopping: " + adviceLater},
	{[]int{16000, 16456}, engine.TargetFailed, "name the primary in the secret's host: a standby cannot change a user"},
	{[]int{12541, 12170, 12535, 12537, 12543, 12545, 3113, 3114, 3135}, engine.Unreachable, "check port, security groups, routes and that the listener runs"},
	{[]int{65096, 65049}, engine.InvalidSecret, "name the pluggable database in dbname, not the container"},
	{[]int{1918, 1917}, engine.InvalidSecret, "correct the secret's user name"},
	{[]int{1920}, engine.TargetFailed, "a user or role of the second user's name was made at the same moment: " + adviceLater},
}

// classify gives an error its cause and advice.
func (s *session) classify(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e
	}
	c := code(err)
	if _, ok := errors.AsType[rejection](err); ok && c >= 20000 && c <= 20999 {
		return engine.Errorf(engine.PolicyRejected, advicePolicy, "%s: %w", what, err)
	}
	for _, m := range meanings {
		if slices.Contains(m.codes, c) {
			return engine.Errorf(m.cause, m.advice, "%s: %w", what, err)
		}
	}
	if c == 0 {
		// The connection of a call that is over is closed under the driver.
		if over := ctx.Err(); over != nil {
			err = errors.Join(over, err)
		}
		if strings.Contains(err.Error(), "use of closed network connection") && ctx.Err() == nil {
			err = errors.Join(io.ErrUnexpectedEOF, err)
		}
		if e := engine.NetworkError(s.target, err); e != nil {
			return e
		}
	}
	return engine.Errorf(engine.TargetFailed, "see the server's message and log", "%s: %w", what, err)
}

// change runs a statement, which holds no password, and reports it.
func (t target) change(ctx context.Context, statement string) error {
	err := t.exec(ctx, statement)
	if err == nil {
		t.request.Changed(statement)
	}
	return err
}
