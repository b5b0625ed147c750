package mysql

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/sqlsession"
)

type session struct {
	*sqlsession.Session
	engine  *Engine
	self    account // the account that the server used for the login
	dialect dialect
	facts   facts
	server  string // its product and version
}

// facts are the parts of statements in which the servers differ.
type facts struct {
	role, isUser string   // on the table of users: the default role if it is there, and whether the row is a user
	defaultRoles string   // sets default roles; formatted with the account and the roles
	defaults     []string // clauses that the server omits in its description of a user
	oldest       []int    // the first version that is supported
	settings     string   // the statement that prepares a session
}

type dialect interface {
	// rehearse checks that the session's user may set the password for itself and that old, unless it is "", allows it.
	rehearse(ctx context.Context, password, old string) error
	// change sets the password of the session's user, who logged in with old. It keeps AWSCURRENT's, or else old, valid
	// if the server allows it. With KeepCurrent, it returns engine.ErrOneAtATime if it cannot keep old.
	change(ctx context.Context, r *engine.Request, password, old string) error

	// rehearseOther checks that the session's user may change other users' passwords.
	rehearseOther(ctx context.Context, password string) error
	// credential returns what follows IDENTIFIED for a password, and keeps it out of the server's log.
	credential(ctx context.Context, plugin, password string) (string, error)
	// setPassword makes password valid for an account, alone or next to keep, with like's authentication method. It
	// returns engine.ErrOneAtATime if it cannot keep both valid.
	setPassword(ctx context.Context, a, like account, password, keep string) error
}

// lockWait is how many seconds a statement waits for a lock. A function that is frozen in a statement holds locks no
// longer: the server ends the statement, and ends an idle session after idleLimit seconds.
const (
	lockWait  = "5"
	idleLimit = "30"
)

// connect logs in and identifies the server.
func (e *Engine) connect(ctx context.Context, t engine.Target) (*session, error) {
	connect := func(ctx context.Context, config *tls.Config) (conn driver.Conn, err error) {
		cfg := mysql.NewConfig()
		cfg.Net, cfg.Addr, cfg.TLS = "tcp", t.Address(), config
		cfg.User, cfg.Passwd, cfg.DBName = t.User, t.Password, t.Database
		cfg.Params = map[string]string{"lock_wait_timeout": lockWait, "innodb_lock_wait_timeout": lockWait,
			"wait_timeout": idleLimit}
		cfg.Logger = &mysql.NopLogger{}
		connector, err := mysql.NewConnector(cfg)
		if err != nil {
			return nil, err
		}
		// In one of 256 logins, the driver mistakes the end of the ed25519 challenge for a terminator.
		for try := 0; try == 0 || try < 3 && errors.Is(err, mysql.ErrMalformPkt); try++ {
			conn, err = connector.Connect(ctx)
		}
		what := "no login at " + t.Address()
		switch c := code(err); {
		case c == accessDenied, c == noPasswordLogin: // after the login, these answer a GRANT
			// For a user that does not exist, MariaDB imitates an account.
			err = engine.Errorf(engine.LoginRefused, "check the user's name and password, that it logs in with a password, "+
				`the addresses that the account allows, and its REQUIRE clause; with "ssl": false, look for REQUIRE SSL `+
				"and require_secure_transport", "%s: %w", what, err)
		case errors.Is(err, mysql.ErrCleartextPassword):
			err = engine.Errorf(engine.InvalidSecret, adviceNoPassword,
				"%s: the server asks for a password or token in plain text", what)
		case errors.Is(err, mysql.ErrMalformPkt): // the driver supports only the first two methods of a MariaDB account
			err = engine.Errorf(engine.TargetFailed, "put mysql_native_password first, with at most one more method",
				"%s: %w", what, err)
		}
		return conn, err
	}
	noTLS := func(err error) bool { return errors.Is(err, mysql.ErrNoTLS) }
	opened, err := messages.Open(ctx, e.tls, t, noTLS, connect)
	if err != nil {
		return nil, err
	}
	s := &session{Session: opened, engine: e}
	if err := s.identify(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// identify determines the server and the account that logged in. An expired account may log in but not run queries.
func (s *session) identify(ctx context.Context) error {
	var v, current string
	if err := s.Conn.QueryRowContext(ctx, "SELECT VERSION(), CURRENT_USER()").Scan(&v, &current); err != nil {
		return s.Classify(ctx, "the server's version cannot be read", err)
	}
	at := strings.LastIndexByte(current, '@')
	s.self = account{user: current[:max(at, 0)], host: current[at+1:]}
	if s.self.user != s.Target.User {
		return engine.Errorf(engine.InvalidSecret,
			"create an account of the user for the function's address, or remove the anonymous one",
			"the login of %q uses the account %s", s.Target.User, s.self.name())
	}
	var version [3]int
	_, _ = fmt.Sscanf(v, "%d.%d.%d", &version[0], &version[1], &version[2]) // an unknown format is not supported
	s.dialect, s.facts, s.server = &mysqld{s}, ofMySQL, "MySQL "+v
	if strings.Contains(v, "MariaDB") {
		s.dialect, s.facts, s.server = &mariadb{s}, ofMariaDB, "MariaDB "+v
	}
	if slices.Compare(version[:], s.facts.oldest) < 0 {
		return engine.Errorf(engine.TargetFailed, "upgrade the server to MySQL 8.0.19, MariaDB 10.4 or later",
			"the version of the server is not supported: %s", s.server)
	}
	return s.Exec(ctx, s.facts.settings)
}

// secretly runs a statement with a password or verifier. MariaDB's first error gives the reason for a refusal.
func (s *session) secretly(ctx context.Context, what, statement string) error {
	_, err := s.Conn.ExecContext(ctx, statement)
	if code(err) == userOperationFailed {
		var level string
		var reason mysql.MySQLError
		if s.Conn.QueryRowContext(ctx, "SHOW ERRORS LIMIT 1").Scan(&level, &reason.Number, &reason.Message) == nil {
			err = &reason
		}
	}
	return s.Classify(ctx, what, err)
}

func (s *session) opens(ctx context.Context, user, password string) (bool, error) {
	t := s.Target
	t.User, t.Password = user, password
	other, err := s.engine.connect(ctx, t)
	if err == nil {
		other.Close()
		return true, nil
	}
	if errors.Is(err, engine.LoginRefused) {
		return false, nil
	}
	return false, err
}

func code(err error) int {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return int(e.Number)
	}
	return 0
}

func locked(err error) bool { return code(err) == lockWaitTimeout || code(err) == mariadbTimeout }

// messages explains the servers' errors.
var messages = sqlsession.Server{Read: read, Meanings: []sqlsession.Meaning{
	sqlsession.Means(engine.InvalidSecret, "correct or remove the secret's field dbname", unknownDatabase),
	sqlsession.Means(engine.PrivilegeMissing, "create an account of the user for the function's address", hostDenied),
	// This cause makes the machine try other versions: an abandoned rotation's version has the primary password.
	sqlsession.Means(engine.LoginRefused, "set the user's password to the one in AWSCURRENT, or run ALTER USER … "+
		"PASSWORD REQUIRE CURRENT OPTIONAL", mysqlMustSayFirst),
	sqlsession.Means(engine.TLSFailed, `remove "ssl": false from the secret: the server needs TLS`, mysqlTLSRequired),
	sqlsession.Means(engine.PrivilegeMissing, "grant the login the rights that the engine's page lists",
		databaseDenied, accessDenied, tableDenied, columnDenied, privilegeMissing, routineDenied, grantCreatesNoUser,
		noPasswordLogin, mariadbRoleDenied, mysqlRestricted),
	sqlsession.Means(engine.PolicyRejected, "adjust PASSWORD_LENGTH, EXCLUDE_CHARACTERS and the like to the policy",
		passwordPolicy, mysqlHistory),
	sqlsession.Means(engine.TargetFailed, "set host to the writer: a read-only server cannot change users",
		optionForbids, readOnlyMode),
	sqlsession.Means(engine.TargetFailed, "set the expired password as an administrator, or rotate more often",
		passwordExpired, expiredAtLogin),
	sqlsession.Means(engine.TargetFailed,
		"end what holds a lock, such as FLUSH TABLES WITH READ LOCK: see SHOW PROCESSLIST; or wait",
		lockWaitTimeout, mariadbTimeout),
}}

// read omits what the server quotes in a syntax error: the statement from where parsing failed, which may contain parts
// of a password or verifier.
func read(err error) (codes []int, shown error) {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	switch {
	case !ok && (errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn)):
		return nil, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err) // the driver hides what ended the connection
	case !ok:
		return nil, err
	case e.Number == syntaxError:
		before, _, _ := strings.Cut(e.Message, " near ")
		err = &mysql.MySQLError{Number: e.Number, SQLState: e.SQLState, Message: before}
	}
	return []int{int(e.Number)}, err
}
