package mysql

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha512"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
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
	if code(err) == 1227 {
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
	return m.secret(ctx, "the password could not be set", s+" = PASSWORD("+text(password)+")")
}

// secret runs a statement with a hash in it. The server tells the reason of a
// refused change in a warning.
func (m *mariadb) secret(ctx context.Context, what, statement string) error {
	if err := m.quiet(ctx); err != nil {
		return err
	}
	_, err := m.conn.ExecContext(ctx, statement)
	if code(err) != 1396 {
		return m.failure(what, err)
	}
	var reason error
	if werr := m.rows(ctx, "the server's reason", "SHOW WARNINGS", func(rows *sql.Rows) error {
		var level, message string
		var number uint16
		serr := rows.Scan(&level, &number, &message)
		if level == "Error" && number != 1396 && reason == nil {
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

// methods returns the plugins that check the session's own user, in order.
func (m *mariadb) methods(ctx context.Context) ([]string, error) {
	var statement string
	if err := m.conn.QueryRowContext(ctx, "SHOW CREATE USER CURRENT_USER()").Scan(&statement); err != nil {
		return nil, m.failure("the user's ways to log in cannot be read", err)
	}
	tokens, err := scan(statement)
	if err != nil {
		return nil, err
	}
	var plugins []string
	for i, t := range tokens[1:] {
		before := tokens[i]
		switch {
		case before.quoted:
		case before.text == "BY" && t.text == "PASSWORD":
			plugins = append(plugins, native)
		case before.text == "VIA" || before.text == "OR":
			plugins = append(plugins, t.text)
		}
	}
	return plugins, nil
}

// passwordMethod returns the first plugin that checks a password, or "".
func passwordMethod(plugins []string) string {
	for _, p := range plugins {
		if p == native || p == ed25519 {
			return p
		}
	}
	return ""
}

// rehearse sends a hash that is none. The server refuses that last.
func (m *mariadb) rehearse(ctx context.Context, password, _ string) error {
	plugins, err := m.methods(ctx)
	if err != nil {
		return err
	}
	if passwordMethod(plugins) == "" {
		return engine.Errorf(engine.InvalidSecret, "give the user "+native+" or "+ed25519, "the user %s does not log in by a password", m.self.name())
	}
	_, err = m.conn.ExecContext(ctx, "SET PASSWORD = 'rotator'")
	switch e, _ := errors.AsType[*mysql.MySQLError](err); code(err) {
	case 1372: // that is no hash
		return nil
	case 1290:
		if strings.Contains(e.Message, "strict-password-validation") {
			return m.unheard(ctx)
		}
	}
	return m.failure("the password cannot be changed", err)
}

// change gives the user both passwords where it may change accounts, and else
// the new one alone. The driver follows a server to the second method only if
// both are the native one.
func (m *mariadb) change(ctx context.Context, password, old, _ string, must bool) error {
	const what = "the password could not be changed"
	plugins, err := m.methods(ctx)
	if err != nil {
		return err
	}
	if strict, err := m.strict(ctx); err != nil {
		return err
	} else if strict {
		if must {
			return engine.ErrOneAtATime
		}
		return m.clear(ctx, "", password)
	}
	if len(plugins) <= 2 && !slices.ContainsFunc(plugins, func(p string) bool { return p != native }) {
		// CURRENT_USER() in place of the name would let the server hide an error.
		err := m.secret(ctx, what, "ALTER USER "+m.self.name()+" IDENTIFIED VIA "+method(native, password)+" OR "+method(native, old))
		if !errors.Is(err, engine.PrivilegeMissing) {
			return err
		}
	}
	if must {
		return engine.ErrOneAtATime
	}
	plugin := passwordMethod(plugins)
	if plugin == "" {
		return engine.Errorf(engine.InvalidSecret, "give the user "+native+" or "+ed25519, "the user %s does not log in by a password", m.self.name())
	}
	return m.secret(ctx, what, "SET PASSWORD = "+text(hash(plugin, password)))
}

func (m *mariadb) retire(ctx context.Context, password, _ string) error {
	plugins, err := m.methods(ctx)
	if err != nil || len(plugins) != 2 || plugins[0] != native || plugins[1] != native {
		return err // there is none of ours
	}
	return m.secret(ctx, "the old password could not be retired", "ALTER USER "+m.self.name()+" IDENTIFIED VIA "+method(native, password))
}

func (m *mariadb) rehearseOther(ctx context.Context, _ string) error {
	if err := m.exec(ctx, "ALTER USER IF EXISTS "+nobody.name()+" ACCOUNT LOCK"); err != nil {
		return err
	}
	if strict, err := m.strict(ctx); err != nil {
		return err
	} else if strict {
		if err := m.unheard(ctx); err != nil {
			return err
		}
	}
	// Without this a GRANT creates the user that it names.
	return m.exec(ctx, "SET SESSION sql_mode = "+text(quoting+",NO_AUTO_CREATE_USER"))
}

func (m *mariadb) accounts(ctx context.Context, user, role string) ([]account, error) {
	var list []account
	return list, m.rows(ctx, "the user's accounts", `SELECT u.Host, u.plugin, u.authentication_string, COALESCE(JSON_EXTRACT(g.Priv, '$.auth_or'), '[]'),
	COALESCE(JSON_VALUE(g.Priv, '$.account_locked'), 'false') IN ('true', '1'), u.ssl_type, u.ssl_cipher, u.x509_issuer, u.x509_subject,
	u.max_questions, u.max_updates, u.max_connections, u.max_user_connections, CAST(u.max_statement_time AS CHAR), COALESCE(u.default_role, ''), JSON_VALUE(g.Priv, '$.password_lifetime'),
	EXISTS (SELECT * FROM mysql.roles_mapping m WHERE m.Role = `+text(role)+` AND m.User = u.User AND m.Host = u.Host)
	FROM mysql.user u JOIN mysql.global_priv g ON g.User = u.User AND g.Host = u.Host WHERE u.is_role = 'N' AND u.User = `+text(user)+" ORDER BY 1",
		func(rows *sql.Rows) error {
			a := account{user: user}
			var plugin, stored, others, kind, cipher, issuer, subject, statementTime, byDefault string
			var questions, updates, connections, most int
			var lifetime sql.NullInt64
			err := rows.Scan(&a.host, &plugin, &stored, &others, &a.locked, &kind, &cipher, &issuer, &subject, &questions, &updates, &connections, &most, &statementTime, &byDefault, &lifetime, &a.marked)
			// The first way to log in stands in the columns, and beside the others
			// as an empty object.
			var ways []struct {
				Plugin string
				Stored string `json:"authentication_string"`
			}
			if jerr := json.Unmarshal([]byte(others), &ways); err == nil && jerr != nil {
				return engine.Errorf(engine.TargetFailed, "report this with the server's version", "the ways to log in of %s cannot be understood", a.name())
			}
			a.verifiers = []verifier{{plugin, stored}}
			plugins := []string{cmp.Or(plugin, native)}
			for _, w := range ways {
				a.verifiers = append(a.verifiers, verifier{w.Plugin, w.Stored})
				plugins = append(plugins, w.Plugin)
			}
			for _, p := range []string{ed25519, native} {
				if slices.Contains(plugins, p) {
					a.plugin = p
				}
			}
			a.attributes = require(kind, cipher, issuer, subject) +
				fmt.Sprintf(" WITH MAX_QUERIES_PER_HOUR %d MAX_UPDATES_PER_HOUR %d MAX_CONNECTIONS_PER_HOUR %d MAX_USER_CONNECTIONS %d MAX_STATEMENT_TIME %s",
					questions, updates, connections, most, statementTime) + expiry(lifetime)
			if byDefault != "" {
				a.roles = identifier(byDefault)
			}
			list = append(list, a)
			return err
		})
}

func (m *mariadb) marks() bool { return true }

// inherited walks the roles of roles, which the server shows by their names.
func (m *mariadb) inherited(ctx context.Context, _ account, roles []string) (grants, error) {
	var all grants
	seen := map[string]bool{}
	for len(roles) > 0 {
		role := roles[0]
		roles = roles[1:]
		if seen[role] {
			continue
		}
		seen[role] = true
		name, err := scan(role)
		if err != nil {
			return nil, err
		}
		rights, err := m.show(ctx, account{user: name[0].text, role: true}, "SHOW GRANTS FOR "+role)
		if err != nil {
			return nil, err
		}
		for _, g := range rights {
			if g.object == "" {
				roles = append(roles, g.rights...)
			}
		}
		all = append(all, rights...)
	}
	return all, nil
}

// create makes the account by the GRANT of the role, so that it is never without.
func (m *mariadb) create(ctx context.Context, a, like account, role, _ string) error {
	strict, err := m.strict(ctx)
	if err != nil {
		return err
	}
	credential := method(like.plugin, decoy())
	if strict {
		credential = like.plugin + " USING PASSWORD(" + text(decoy()) + ")"
	}
	if err := m.secret(ctx, "the user "+a.name()+" could not be created", "GRANT "+identifier(role)+" TO "+a.name()+" IDENTIFIED VIA "+credential); err != nil {
		return err
	}
	// The binary log may have kept the decoy.
	return m.exec(ctx, "ALTER USER "+a.name()+" ACCOUNT LOCK")
}

func (m *mariadb) attributes(ctx context.Context, a, like account) error {
	if a.roles == like.roles {
		return nil
	}
	return m.alter(ctx, "SET DEFAULT ROLE "+cmp.Or(like.roles, "NONE")+" FOR "+a.name())
}

func (m *mariadb) setPassword(ctx context.Context, a, like account, password string) error {
	if strict, err := m.strict(ctx); err != nil {
		return err
	} else if strict {
		if err := m.clear(ctx, a.name(), password); err != nil {
			return err
		}
		return m.exec(ctx, "ALTER USER "+a.name()+like.lock())
	}
	return m.secret(ctx, "the password of "+a.name()+" could not be set", "ALTER USER "+a.name()+" IDENTIFIED VIA "+method(like.plugin, password)+like.lock())
}
