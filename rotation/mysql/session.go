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
	server  string // its product and version
}

type dialect interface {
	// rehearse checks that the session's user may set the password for itself and that old, unless it is "", allows it.
	rehearse(ctx context.Context, password, old string) error
	// change sets the password of the session's user, who logged in with old. It keeps AWSCURRENT's, or else old, valid
	// if the server allows it. With KeepCurrent, it returns engine.ErrOneAtATime if it cannot keep old.
	change(ctx context.Context, r *engine.Request, password, old string) error
	// retire makes the session's password the only valid one of its user; old was the previous one.
	retire(ctx context.Context, old string) error

	users() (roles, condition string) // columns of the user table: the default roles, and whether the row is a user
	defaults() []string               // clauses that the server omits in its description of a user
	// rehearseOther checks that the session's user may change other users' passwords.
	rehearseOther(ctx context.Context, password string) error
	// credential returns what follows IDENTIFIED for a password, and keeps it out of the server's log.
	credential(ctx context.Context, plugin, password string) (string, error)
	// defaultRoles returns the statement that sets an account's default roles.
	defaultRoles(a account, roles string) string
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
		cfg.Params = map[string]string{"sql_mode": text(quoting), "lock_wait_timeout": lockWait,
			"innodb_lock_wait_timeout": lockWait, "wait_timeout": idleLimit}
		cfg.Logger = &mysql.NopLogger{}
		connector, err := mysql.NewConnector(cfg)
		if err != nil {
			return nil, engine.Errorf(engine.InternalError, "report this as a bug",
				"the driver's settings are unusable: %w", err)
		}
		// In one of 256 logins, the driver mistakes the end of the ed25519 challenge for a terminator.
		for try := 0; try == 0 || try < 3 && errors.Is(err, mysql.ErrMalformPkt); try++ {
			conn, err = connector.Connect(ctx)
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
	if _, err := fmt.Sscanf(v, "%d.%d.%d", &version[0], &version[1], &version[2]); err != nil {
		return engine.Errorf(engine.TargetFailed, "check that the host is a MySQL or MariaDB server",
			"the server's version %q is unknown", v)
	}
	product, oldest := "MySQL", [3]int{8, 0, 19}
	if strings.Contains(v, "MariaDB") {
		product, oldest = "MariaDB", [3]int{10, 4, 0}
	}
	s.server = product + " " + v
	if slices.Compare(version[:], oldest[:]) < 0 {
		return engine.Errorf(engine.TargetFailed, fmt.Sprintf("upgrade the server to %s %d.%d.%d or later", product,
			oldest[0], oldest[1], oldest[2]), "the version of the server is not supported: %s", s.server)
	}
	if product == "MySQL" {
		s.dialect = &mysqld{s}
		return nil
	}
	s.dialect = &mariadb{s}
	// FLUSH TABLES WITH READ LOCK disables lock_wait_timeout, and GRANT could otherwise create a user.
	return s.Exec(ctx, "SET SESSION max_statement_time = 11, slow_query_log = OFF, sql_mode = "+
		text(quoting+",NO_AUTO_CREATE_USER"))
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

// messages explains the servers' errors. After the login, accessDenied is the answer to a GRANT.
var messages = sqlsession.Server{Read: read, AtLogin: []sqlsession.Meaning{
	sqlsession.Means(engine.LoginRefused, "check the user's name and password, the addresses that the account allows, "+
		`and its REQUIRE clause; with "ssl": false, look for REQUIRE SSL and require_secure_transport`, accessDenied),
	// MariaDB imitates an account for a user that does not exist.
	sqlsession.Means(engine.LoginRefused, "check that the account exists and logs in with a password", noPasswordLogin),
	sqlsession.Means(engine.InvalidSecret, adviceNoPassword, clearPassword),
	// The driver supports only the first two methods of a MariaDB account.
	sqlsession.Means(engine.TargetFailed, "put mysql_native_password first, with at most one more method", malformed),
}, Meanings: []sqlsession.Meaning{
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
	case ok && e.Number == syntaxError:
		before, _, _ := strings.Cut(e.Message, " near ")
		err = &mysql.MySQLError{Number: e.Number, SQLState: e.SQLState, Message: before}
	case errors.Is(err, mysql.ErrCleartextPassword):
		return []int{clearPassword}, errors.New("the server asks for a password or token in plain text")
	case errors.Is(err, mysql.ErrMalformPkt):
		return []int{malformed}, err
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, mysql.ErrInvalidConn):
		return nil, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err) // the driver hides what ended the connection
	}
	if ok {
		codes = []int{int(e.Number)}
	}
	return codes, err
}
