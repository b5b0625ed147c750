package mysql

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha512"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"filippo.io/edwards25519"
	"github.com/go-sql-driver/mysql"

	"example.com/rotator/rotation/engine"
)

// mariadb is the dialect of MariaDB. It sends hashes, because the server's logs
// keep every statement as it came. The hashes have no salt, so that a repeated
// statement is the same to the byte.
type mariadb struct{ *session }

const (
	native  = "mysql_native_password"
	ed25519 = "ed25519"
)

// hash returns what the server stores for a password.
// Source: https://mariadb.com/kb/en/authentication-plugin-mysql_native_password/
// and https://mariadb.com/kb/en/authentication-plugin-ed25519/
func hash(plugin, password string) string {
	if plugin == ed25519 {
		seed := sha512.Sum512([]byte(password))
		secret, err := edwards25519.NewScalar().SetBytesWithClamping(seed[:32])
		if err != nil {
			panic("mysql: 32 bytes are no scalar") // unreachable: any 32 bytes are
		}
		return base64.RawStdEncoding.EncodeToString(new(edwards25519.Point).ScalarBaseMult(secret).Bytes())
	}
	once := sha1.Sum([]byte(password))
	return fmt.Sprintf("*%X", sha1.Sum(once[:]))
}

// method returns a way to log in, as ALTER USER and GRANT want it.
func method(plugin, password string) string { return plugin + " USING " + text(hash(plugin, password)) }

// quiet keeps the session's statements, with their hashes, out of the slow log,
// and out of the general log where the login may switch that off.
func (m *mariadb) quiet(ctx context.Context) error {
	if err := m.exec(ctx, "SET SESSION slow_query_log = OFF"); err != nil {
		return err
	}
	_, err := m.conn.ExecContext(ctx, "SET SESSION sql_log_off = ON")
	if code(err) == privilegeMissing {
		return nil
	}
	return m.failure("the general log cannot be switched off", err)
}

// strict reports whether the server refuses hashes, because it wants to check
// every password itself.
// Source: https://mariadb.com/kb/en/server-system-variables/#strict_password_validation
func (m *mariadb) strict(ctx context.Context) (strict bool, err error) {
	err = m.conn.QueryRowContext(ctx, `SELECT @@strict_password_validation AND EXISTS
	(SELECT * FROM information_schema.PLUGINS WHERE PLUGIN_TYPE = 'PASSWORD VALIDATION' AND PLUGIN_STATUS = 'ACTIVE')`).Scan(&strict)
	return strict, m.failure("the password policy cannot be read", err)
}

// unheard makes sure that a password in the clear would be in no log: the server
// puts the hash into its binary log by itself, if the statement is SET PASSWORD.
func (m *mariadb) unheard(ctx context.Context) error {
	if err := m.quiet(ctx); err != nil {
		return err
	}
	var logged bool
	if err := m.conn.QueryRowContext(ctx, "SELECT @@global.general_log AND NOT @@sql_log_off").Scan(&logged); err != nil {
		return m.failure("the state of the general log cannot be read", err)
	}
	if logged {
		return engine.Errorf(engine.PolicyRejected, "switch general_log or strict_password_validation off", "the server takes no hashes, and would log the password")
	}
	return nil
}

// clear gives a user, or the session's own where user is "", a password that the
// server hashes.
func (m *mariadb) clear(ctx context.Context, user, password string) error {
	if err := m.unheard(ctx); err != nil {
		return err
	}
	s := "SET PASSWORD"
	if user != "" {
		s += " FOR " + user
	}
	return m.confidential(ctx, "the password could not be set", s+" = PASSWORD("+text(password)+")")
}

// confidential runs a statement with a hash in it. The server tells the reason of a
// refused change in a warning.
func (m *mariadb) confidential(ctx context.Context, what, statement string) error {
	if err := m.quiet(ctx); err != nil {
		return err
	}
	_, err := m.conn.ExecContext(ctx, statement)
	if code(err) != userOperationFailed {
		return m.failure(what, err)
	}
	var reason error
	if werr := m.rows(ctx, "the server's reason", "SHOW WARNINGS", func(rows *sql.Rows) error {
		var level, message string
		var number uint16
		serr := rows.Scan(&level, &number, &message)
		if level == "Error" && number != userOperationFailed && reason == nil {
			reason = &mysql.MySQLError{Number: number, Message: message}
		}
		return serr
	}); werr != nil {
		return werr
	}
	if reason != nil {
		err = reason
	}
	return m.failure(what, err)
}

// own reads the session's own account.
func (m *mariadb) own(ctx context.Context) (account, error) {
	self := m.self
	return self, m.describe(ctx, &self, "CURRENT_USER()")
}

// overlaps reports whether an account can have two passwords. The driver follows a server to the second
// method only if both are the native one.
func (a account) overlaps() bool {
	return len(a.plugins) <= 2 && !slices.ContainsFunc(a.plugins, func(p string) bool { return p != native })
}

// rehearse sends a hash that is none. The server refuses that last.
func (m *mariadb) rehearse(ctx context.Context, password, _ string) error {
	self, err := m.own(ctx)
	if err == nil {
		_, err = self.password()
	}
	if err != nil {
		return err
	}
	_, err = m.conn.ExecContext(ctx, "SET PASSWORD = 'rotator'")
	switch e, _ := errors.AsType[*mysql.MySQLError](err); code(err) {
	case notAHash:
		return nil
	case optionForbids:
		if strings.Contains(e.Message, "strict-password-validation") {
			return m.unheard(ctx)
		}
	}
	return m.failure("the password cannot be changed", err)
}

// change gives the user both passwords where it may change accounts, and else
// the new one alone.
func (m *mariadb) change(ctx context.Context, password, old, _ string, must bool) error {
	const what = "the password could not be changed"
	self, err := m.own(ctx)
	if err != nil {
		return err
	}
	strict, err := m.strict(ctx)
	if err != nil {
		return err
	}
	if !strict && self.overlaps() {
		// CURRENT_USER() in place of the name would let the server hide an error.
		err := m.confidential(ctx, what, "ALTER USER "+m.self.name()+" IDENTIFIED VIA "+method(native, password)+" OR "+method(native, old))
		if !errors.Is(err, engine.PrivilegeMissing) {
			return err
		}
	}
	if must {
		return engine.ErrOneAtATime
	}
	if strict {
		return m.clear(ctx, "", password)
	}
	plugin, err := self.password()
	if err != nil {
		return err
	}
	return m.confidential(ctx, what, "SET PASSWORD = "+text(hash(plugin, password)))
}

func (m *mariadb) retire(ctx context.Context, password, _ string) error {
	self, err := m.own(ctx)
	if err != nil || len(self.plugins) != 2 || !self.overlaps() {
		return err // there is none of ours
	}
	return m.confidential(ctx, "the old password could not be retired", "ALTER USER "+m.self.name()+" IDENTIFIED VIA "+method(native, password))
}

func (m *mariadb) rehearseOther(ctx context.Context, _ string) error {
	if err := m.exec(ctx, "ALTER USER IF EXISTS "+nobody.name()+" ACCOUNT LOCK"); err != nil {
		return err
	}
	strict, err := m.strict(ctx)
	if strict {
		err = m.unheard(ctx)
	}
	return err
}

func (m *mariadb) users() string {
	return "SELECT Host, IF(COALESCE(default_role, '') = '', '', CONCAT('`', REPLACE(default_role, '`', '``'), '`')) FROM mysql.user WHERE is_role = 'N'"
}

func (m *mariadb) clauses() []clause { return mariadbClauses }

// Source: https://mariadb.com/kb/en/show-create-user/
var mariadbClauses = slices.Concat(everyServer, clauses(`MAX_STATEMENT_TIME [\d.]+`, "MAX_STATEMENT_TIME 0"), expiry)

// inherited walks the roles of roles, which the server shows by their names.
func (m *mariadb) inherited(ctx context.Context, _ account, roles []string) (rights, error) {
	all := rights{}
	for i := 0; i < len(roles); i++ {
		set, err := m.show(ctx, account{user: unquote(roles[i]), role: true}, "SHOW GRANTS FOR "+roles[i])
		if err != nil {
			return nil, err
		}
		for r := range set {
			if r.object == "" && !slices.Contains(roles, r.name) {
				roles = append(roles, r.name)
			}
		}
		maps.Copy(all, set)
	}
	return all, nil
}

func (m *mariadb) credential(ctx context.Context, plugin, password string) (string, error) {
	strict, err := m.strict(ctx)
	if strict {
		return "VIA " + plugin + " USING PASSWORD(" + text(password) + ")", err
	}
	return "VIA " + method(plugin, password), err
}

func (m *mariadb) defaultRoles(a account, roles string) string {
	return "SET DEFAULT ROLE " + cmp.Or(roles, "NONE") + " FOR " + a.name()
}

func (m *mariadb) setPassword(ctx context.Context, a, like account, password, keep string) error {
	strict, err := m.strict(ctx)
	switch {
	case err != nil:
		return err
	case keep != "" && (strict || !like.overlaps()):
		return engine.ErrOneAtATime
	case strict:
		if err := m.clear(ctx, a.name(), password); err != nil {
			return err
		}
		return m.exec(ctx, "ALTER USER "+a.name()+like.lock())
	}
	methods := method(like.plugin, password)
	if keep != "" {
		methods += " OR " + method(like.plugin, keep)
	}
	return m.confidential(ctx, "the password of "+a.name()+" could not be set", "ALTER USER "+a.name()+" IDENTIFIED VIA "+methods+like.lock())
}
