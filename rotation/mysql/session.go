package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/sqlsession"
)

// session is a connection to the target of one value.
type session struct {
	*sqlsession.Session
	engine  *Engine
	target  engine.Target
	self    account // the account that the server took the login for
	dialect dialect
	request *engine.Request // for its reports
	stuck   error           // a grant has waited for a lock in vain
}

// dialect is what MySQL and MariaDB do in different ways.
type dialect interface {
	// rehearse proves that the session's user may change its own password to
	// the given one and, unless old is "", that old lets it do so.
	rehearse(ctx context.Context, password, old string) error
	// change sets the password of the session's user, which has logged in by old, and keeps current, or else old,
	// valid if the server lets the user do so. With must, it returns engine.ErrOneAtATime where it cannot keep old.
	change(ctx context.Context, password, old, current string, must bool) error
	// retire makes password the only one of the session's user; old was before it.
	retire(ctx context.Context, password, old string) error

	users() (roles, condition string) // columns of the table of users: the default roles, and that it is no role
	clauses() []clause                // those in which the server describes a user
	// rehearseOther proves that the session's user may change others' passwords.
	rehearseOther(ctx context.Context, password string) error
	// credential returns what follows IDENTIFIED for a password, and keeps that out of the server's log.
	credential(ctx context.Context, plugin, password string) (string, error)
	// defaultRoles returns the statement that gives an account its default roles.
	defaultRoles(a account, roles string) string
	// setPassword makes password valid for an account, alone or with keep, in the way that like logs in. It returns
	// engine.ErrOneAtATime where it cannot keep the other.
	setPassword(ctx context.Context, a, like account, password, keep string) error
}

// lockWait is how many seconds a statement waits for a lock. A function that is frozen in a statement
// holds none after it: the server ends the statement, and an idle session after idleLimit seconds.
const (
	lockWait  = "5"
	idleLimit = "30"
)

// connect logs in and asks the server who it is. The error has the cause LoginRefused only where the server says so.
func (e *Engine) connect(ctx context.Context, v engine.Value) (*session, error) {
	t, err := parse(v)
	if err != nil {
		return nil, err
	}
	return e.dial(ctx, t)
}

func (e *Engine) dial(ctx context.Context, t engine.Target) (*session, error) {
	s := &session{engine: e, target: t}
	classify := func(_ context.Context, what string, err error) error { return s.failure(what, err) }
	var err error
	for i, tls := range e.tls.Attempts(t) {
		if i > 0 && !errors.Is(err, mysql.ErrNoTLS) {
			break
		}
		cfg := mysql.NewConfig()
		cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName, cfg.TLS = "tcp", t.Address(), t.User, t.Password, t.Database, tls
		cfg.Params = map[string]string{"sql_mode": text(quoting), "lock_wait_timeout": lockWait, "innodb_lock_wait_timeout": lockWait, "wait_timeout": idleLimit}
		cfg.Logger = &mysql.NopLogger{}
		connector, cerr := mysql.NewConnector(cfg)
		if cerr != nil {
			return nil, engine.Errorf(engine.InternalError, "report this", "the driver's settings are unusable: %w", cerr)
		}
		// Once in 256 times the driver takes the last byte of ed25519's challenge
		// for a terminator and the packet for malformed.
		for try := 0; try == 0 || try < 3 && errors.Is(err, mysql.ErrMalformPkt); try++ {
			s.Session, err = sqlsession.Open(ctx, connector.Connect, classify)
		}
		if err == nil {
			if err = s.identify(ctx); err != nil {
				s.Close()
				return nil, err
			}
			return s, nil
		}
	}
	return nil, s.refusal(err)
}

// grantsOnly is the mode in which a GRANT creates no user, for servers where one otherwise does.
const grantsOnly = "NO_AUTO_CREATE_USER"

// identify finds out which server this is and which account the login met. It is also the query that a
// verification needs: on some servers an expired account can log in, and do nothing else.
func (s *session) identify(ctx context.Context) error {
	var v, current string
	if err := s.Conn.QueryRowContext(ctx, "SELECT VERSION(), CURRENT_USER()").Scan(&v, &current); err != nil {
		return s.failure("the server does not tell its version", err)
	}
	at := strings.LastIndexByte(current, '@')
	s.self = account{user: current[:max(at, 0)], host: current[at+1:]}
	if s.self.user != s.target.User {
		return engine.Errorf(engine.InvalidSecret, "give the user an account of its own for the function's address, or remove the anonymous one",
			"the server takes the login of %q for the account %s", s.target.User, s.self.name())
	}
	var major, minor, patch int
	if _, err := fmt.Sscanf(v, "%d.%d.%d", &major, &minor, &patch); err != nil {
		return engine.Errorf(engine.TargetFailed, "check that the host is a MySQL or a MariaDB", "the server's version %q is not known", v)
	}
	number := major*10000 + minor*100 + min(patch, 99)
	if strings.Contains(v, "MariaDB") {
		if number < 100400 {
			return engine.Errorf(engine.TargetFailed, "upgrade the server to MariaDB 10.4 or later", "the server is MariaDB %s, which is older than 10.4", v)
		}
		s.dialect = &mariadb{session: s}
		// It ignores lock_wait_timeout under FLUSH TABLES WITH READ LOCK.
		return s.Exec(ctx, "SET SESSION max_statement_time = 11, slow_query_log = OFF, sql_mode = "+text(quoting+","+grantsOnly))
	}
	s.dialect = &mysqld{session: s, version: number}
	if number < 80000 {
		return s.Exec(ctx, "SET SESSION sql_mode = "+text(quoting+","+grantsOnly))
	}
	return nil
}

// alter makes a change that is reported.
func (s *session) alter(ctx context.Context, statement string) error {
	return s.Change(ctx, s.request, statement)
}

// secretly runs a statement that holds a password or a verifier. MariaDB's first error says why it refuses one.
func (s *session) secretly(ctx context.Context, what, statement string) error {
	_, err := s.Conn.ExecContext(ctx, statement)
	if code(err) == userOperationFailed {
		var level string
		var reason mysql.MySQLError
		if s.Conn.QueryRowContext(ctx, "SHOW ERRORS LIMIT 1").Scan(&level, &reason.Number, &reason.Message) == nil {
			err = &reason
		}
	}
	return s.failure(what, err)
}

// opens reports whether a user can log in with a password.
func (s *session) opens(ctx context.Context, user, password string) (bool, error) {
	t := s.target
	t.User, t.Password = user, password
	other, err := s.engine.dial(ctx, t)
	if err == nil {
		other.Close()
		return true, nil
	}
	if errors.Is(err, engine.LoginRefused) {
		return false, nil
	}
	return false, err
}

// code returns the number of a server's error, or 0.
func code(err error) int {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return int(e.Number)
	}
	return 0
}

// locked reports whether a statement has waited for a lock in vain.
func locked(err error) bool { return code(err) == lockWaitTimeout || code(err) == mariadbTimeout }

// atLogin are the meanings of errors that mean something else after the login.
var atLogin = []sqlsession.Meaning{
	sqlsession.Means(engine.PrivilegeMissing, "grant the user something in the database, or remove the secret's field dbname", databaseDenied),
	// MariaDB imitates some account for a user that does not exist.
	sqlsession.Means(engine.LoginRefused, "the account does not exist, or does not log in by a password", noPasswordLogin),
}

// refusal gives an error of a login its cause and advice.
func (s *session) refusal(err error) error {
	what := "no login at " + s.target.Address()
	switch {
	case errors.Is(err, mysql.ErrNoTLS):
		return engine.Errorf(engine.TLSFailed, `switch TLS on at the server, or say "ssl": false in the secret to send passwords in the clear`,
			"%s offers no TLS", s.target.Address())
	case errors.Is(err, mysql.ErrCleartextPassword):
		return engine.Errorf(engine.InvalidSecret, adviceNoPassword, "%s: the server asks for a password or token in clear text", what)
	case errors.Is(err, mysql.ErrMalformPkt):
		// The driver follows MariaDB to an account's second method and no further.
		return engine.Errorf(engine.TargetFailed, "put mysql_native_password first in the account, with one more method at most",
			"%s: the account has ways to log in that the driver cannot follow: %w", what, err)
	case code(err) == accessDenied:
		advice := "check the password, and that the account allows the function's address; the server says the same " +
			"of a user that does not exist and of one whose REQUIRE is not met"
		if s.target.TLS == engine.TLSOff {
			advice += `, such as REQUIRE SSL or require_secure_transport with "ssl": false`
		}
		return engine.Errorf(engine.LoginRefused, advice, "%s: %w", what, err)
	}
	if e := sqlsession.Explain(atLogin, []int{code(err)}, what, err); e != nil {
		return e
	}
	return s.failure(what, err)
}

// meanings are those of the servers' errors. accessDenied is here the answer to a GRANT.
var meanings = []sqlsession.Meaning{
	sqlsession.Means(engine.InvalidSecret, "correct or remove the secret's field dbname", unknownDatabase),
	sqlsession.Means(engine.PrivilegeMissing, "create an account of the user for the function's address", hostDenied),
	sqlsession.Means(engine.TargetFailed, "the server blocks the function's address after errors of connections: FLUSH HOSTS", hostBlocked),
	sqlsession.Means(engine.TargetFailed, "unlock the account: ALTER USER ... ACCOUNT UNLOCK", mysqlLocked, mariadbLocked),
	sqlsession.Means(engine.TargetFailed, "the account is blocked after refused logins: ALTER USER ... ACCOUNT UNLOCK, or on MariaDB FLUSH PRIVILEGES",
		mysqlBlocked, mariadbUserBlocked),
	sqlsession.Means(engine.TLSFailed, `the server takes no unencrypted connection: remove "ssl": false from the secret`, mysqlTLSRequired),
	sqlsession.Means(engine.PrivilegeMissing, "grant the login what the engine's page lists", databaseDenied, accessDenied, tableDenied,
		columnDenied, privilegeMissing, routineDenied, grantCreatesNoUser, noPasswordLogin, mariadbRoleDenied, mysqlRestricted),
	sqlsession.Means(engine.PolicyRejected, "adapt PASSWORD_LENGTH, EXCLUDE_CHARACTERS and the like to the server's policy",
		passwordPolicy, mysqlHistory),
	sqlsession.Means(engine.TargetFailed, "name the writer in the secret's host: a read-only server cannot change a user", optionForbids, readOnlyMode),
	sqlsession.Means(engine.TargetFailed, "the account's password has expired: set one as an administrator, or rotate more often than "+
		"the password's lifetime", passwordExpired, expiredAtLogin),
	sqlsession.Means(engine.TargetFailed, "raise the server's or the user's limit, or try again later",
		tooManyConnections, tooManyUserConnections, limitReached),
	sqlsession.Means(engine.TargetFailed, "something holds a lock, such as FLUSH TABLES WITH READ LOCK of a backup: find it in "+
		"SHOW PROCESSLIST and end it, or wait until it ends", lockWaitTimeout, mariadbTimeout),
	sqlsession.Means(engine.TargetFailed, "load the authentication plugin at the server, or give the user one that the server has", noSuchPlugin),
}

// failure gives an error its cause and advice.
func (s *session) failure(what string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e
	}
	e, _ := errors.AsType[*mysql.MySQLError](err)
	switch code(err) {
	case syntaxError:
		// The server quotes what it could not read: the rest of the statement,
		// cut off anywhere, with what it holds of a password or a verifier.
		before, _, _ := strings.Cut(e.Message, " near ")
		err = &mysql.MySQLError{Number: e.Number, SQLState: e.SQLState, Message: before}
	case 0:
		if errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) {
			// The driver hides what ended the connection.
			return engine.Errorf(engine.Unreachable, "check port, security groups, routes and that the server runs",
				"the connection to %s failed: %w", s.target.Address(), err)
		}
		if e := engine.NetworkError(s.target, err); e != nil {
			return e
		}
	}
	if e := sqlsession.Explain(meanings, []int{code(err)}, what, err); e != nil {
		return e
	}
	return engine.Errorf(engine.TargetFailed, "see the server's message and log", "%s: %w", what, err)
}
