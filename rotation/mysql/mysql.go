package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"example.com/rotator/rotation/engine"
)

// mysqld is the dialect of MySQL and Aurora MySQL. It sends passwords as text,
// because the server puts <secret> into its general and slow log in their stead,
// lets a user send no hash, and checks its password policy on nothing else.
// Source: https://dev.mysql.com/doc/refman/8.4/en/password-logging.html
type mysqld struct {
	*session
	version int // 80014 for 8.0.14
}

// modern reports whether the server has roles, retained passwords, REPLACE and
// the attributes of users. Aurora MySQL 3 has; what came with the first releases
// of 8.0 is not looked for, so that there are two kinds of servers and not six.
func (m *mysqld) modern() bool { return m.version >= 80014 }

// alter returns the statement by which a user changes its own password, if old
// is the first of its passwords.
// Source: https://dev.mysql.com/doc/refman/8.4/en/alter-user.html
func alter(password, old string, retain bool) string {
	s := "ALTER USER USER() IDENTIFIED BY " + text(password) + " REPLACE " + text(old)
	if retain {
		s += " RETAIN CURRENT PASSWORD"
	}
	return s
}

// own sends alter, and if it is to retain, then only if the user may say that. With must, it
// returns engine.ErrOneAtATime where the user may not.
func (m *mysqld) own(ctx context.Context, password, old string, retain, must bool) error {
	_, err := m.conn.ExecContext(ctx, alter(password, old, retain))
	if retain && code(err) == 1227 {
		// The user lacks APPLICATION_PASSWORD_ADMIN.
		if must {
			return engine.ErrOneAtATime
		}
		_, err = m.conn.ExecContext(ctx, alter(password, old, false))
	}
	return err
}

// rehearse replaces a password that is not the user's. The server refuses that
// last, after the privilege and the policy.
func (m *mysqld) rehearse(ctx context.Context, password, old string) error {
	const what = "the password cannot be changed"
	if !m.modern() {
		return nil
	}
	err := m.own(ctx, password, decoy(), true, false)
	if code(err) != 3891 {
		return m.failure(what, err)
	}
	if old == "" {
		return nil
	}
	// The server compares old with the first password before it refuses to keep
	// it beside none. All other answers tell nothing.
	_, err = m.conn.ExecContext(ctx, alter("", old, true))
	if code(err) != 3891 {
		return nil
	}
	required, rerr := m.mustSay(ctx)
	if required && rerr == nil {
		return m.second(err)
	}
	return rerr
}

// mustSay reports whether the session's user has to say its first password to
// change it.
// Source: https://dev.mysql.com/doc/refman/8.4/en/password-management.html#password-reverification-policy
func (m *mysqld) mustSay(ctx context.Context) (required bool, err error) {
	const what = "the user's rules for passwords cannot be read"
	var statement string
	if err := m.conn.QueryRowContext(ctx, "SHOW CREATE USER CURRENT_USER()").Scan(&statement); err != nil {
		return false, m.failure(what, err)
	}
	tokens, err := scan(statement)
	if err != nil {
		return false, err
	}
	for i, t := range tokens {
		if i < 2 || t.quoted || t.text != "CURRENT" || tokens[i-1].text != "REQUIRE" || tokens[i-2].text != "PASSWORD" {
			continue
		}
		if i+1 == len(tokens) || tokens[i+1].text != "DEFAULT" {
			return i+1 == len(tokens) || tokens[i+1].text != "OPTIONAL", nil
		}
		err := m.conn.QueryRowContext(ctx, "SELECT @@global.password_require_current").Scan(&required)
		return required, m.failure(what, err)
	}
	return false, nil
}

// second says that the login's password is good for a login and not for a change.
// It has the cause by which the core goes on to other versions of the secret: one
// that an abandoned rotation has left behind holds the first password.
func (m *mysqld) second(err error) error {
	return engine.Errorf(engine.LoginRefused, "as an administrator: ALTER USER "+m.self.name()+" PASSWORD REQUIRE CURRENT OPTIONAL, or give the user the password of AWSCURRENT",
		"the login's password is the second of two, and the user has to say the first to change it, which an abandoned rotation has set: %w", err)
}

// change says which password it replaces, so that a repeated statement cannot
// throw away the one that must stay valid: the server refuses it where old is
// not the first of the two.
func (m *mysqld) change(ctx context.Context, password, old, current string, must bool) error {
	const what = "the password could not be changed"
	if !m.modern() {
		if must {
			return engine.ErrOneAtATime
		}
		_, err := m.conn.ExecContext(ctx, "ALTER USER USER() IDENTIFIED BY "+text(password))
		return m.failure(what, err)
	}
	retain := true
	if current != old {
		// Old can be what an abandoned rotation has set, with current beside it.
		required, err := m.mustSay(ctx)
		if err != nil {
			return err
		}
		if required {
			beside, err := m.opens(ctx, m.target.User, current)
			if err != nil {
				return err
			}
			retain = !beside
		}
	}
	err := m.own(ctx, password, old, retain, must)
	if errors.Is(err, engine.ErrOneAtATime) {
		return err
	}
	if c := code(err); c != 3891 && c != 3638 {
		return m.failure(what, err)
	}
	// Old is the second password. The first is the new one already, or one that
	// an abandoned rotation has left; then it alone is replaced, since without
	// RETAIN the second one stays.
	if done, perr := m.opens(ctx, m.target.User, password); done || perr != nil {
		return perr
	}
	if code(err) == 3638 {
		return m.failure(what, err)
	}
	_, err = m.conn.ExecContext(ctx, "ALTER USER USER() IDENTIFIED BY "+text(password))
	if code(err) == 3892 {
		return m.second(err)
	}
	return m.failure(what, err)
}

// retire cannot discard anything without APPLICATION_PASSWORD_ADMIN. Then the
// user has one password only, unless the privilege was revoked since it had two:
// the second outlives all rotations, and shows in a table that few users may read
// and in that the password before this one still opens.
func (m *mysqld) retire(ctx context.Context, password, old string) error {
	if !m.modern() {
		return nil
	}
	_, err := m.conn.ExecContext(ctx, "ALTER USER USER() DISCARD OLD PASSWORD")
	if code(err) != 1227 {
		return m.failure("the old password could not be discarded", err)
	}
	var two bool
	if rerr := m.conn.QueryRowContext(ctx, "SELECT COALESCE(JSON_CONTAINS_PATH(User_attributes, 'one', '$.additional_password'), FALSE) FROM mysql.user WHERE User = "+text(m.self.user)+" AND Host = "+text(m.self.host)).Scan(&two); rerr != nil {
		if c := code(rerr); c != 1142 && c != 1143 {
			return m.failure("the user's passwords cannot be read", rerr)
		}
		if old == password {
			return nil
		}
		if two, rerr = m.opens(ctx, m.target.User, old); rerr != nil {
			return rerr
		}
	}
	if !two {
		return nil
	}
	return engine.Errorf(engine.PrivilegeMissing, "grant APPLICATION_PASSWORD_ADMIN again, or as an administrator: ALTER USER "+m.self.name()+" DISCARD OLD PASSWORD",
		"the user has a second password, which it may not discard: %w", err)
}

func (m *mysqld) rehearseOther(ctx context.Context, password string) error {
	_, err := m.conn.ExecContext(ctx, "ALTER USER IF EXISTS "+nobody.name()+" IDENTIFIED BY "+text(password))
	return m.failure("other users cannot be changed", err)
}

func (m *mysqld) accounts(ctx context.Context, user, role string) ([]account, error) {
	late := "NULL, NULL, NULL, NULL, NULL, NULL, NULL, FALSE"
	if m.modern() {
		late = `Password_reuse_history, Password_reuse_time, Password_require_current,
	User_attributes->>'$.Password_locking.failed_login_attempts', User_attributes->>'$.Password_locking.password_lock_time_days',
	User_attributes->>'$.metadata', User_attributes->>'$.additional_password',
	EXISTS (SELECT * FROM mysql.role_edges WHERE FROM_USER = ` + text(role) + ` AND TO_USER = User AND TO_HOST = Host)`
	}
	var list []account
	err := m.rows(ctx, "the user's accounts", `SELECT Host, plugin, account_locked = 'Y', ssl_type, ssl_cipher, x509_issuer, x509_subject,
	max_questions, max_updates, max_connections, max_user_connections, COALESCE(authentication_string, ''), password_lifetime, `+late+` FROM mysql.user WHERE User = `+text(user)+" ORDER BY Host",
		func(rows *sql.Rows) error {
			a := account{user: user}
			var kind, cipher, issuer, subject, first string
			var questions, updates, connections, most int
			var lifetime, history, reuse, attempts, days sql.NullInt64
			var current, comment, second sql.NullString
			err := rows.Scan(&a.host, &a.plugin, &a.locked, &kind, &cipher, &issuer, &subject, &questions, &updates, &connections, &most,
				&first, &lifetime, &history, &reuse, &current, &attempts, &days, &comment, &second, &a.marked)
			a.retained = second.Valid
			a.verifiers = []verifier{{a.plugin, first}, {a.plugin, second.String}}
			switch a.plugin {
			case "caching_sha2_password", "sha256_password", "mysql_native_password":
			default:
				a.plugin = ""
			}
			a.attributes = require(kind, cipher, issuer, subject) +
				fmt.Sprintf(" WITH MAX_QUERIES_PER_HOUR %d MAX_UPDATES_PER_HOUR %d MAX_CONNECTIONS_PER_HOUR %d MAX_USER_CONNECTIONS %d", questions, updates, connections, most) +
				expiry(lifetime)
			if m.modern() {
				a.attributes += reusing(history, reuse) + currently(current)
			}
			if m.version >= 80019 {
				a.attributes += locking(attempts, days)
			}
			if a.comment = comment.String; a.comment == "{}" {
				a.comment = "" // what is left of one that was taken away
			}
			list = append(list, a)
			return err
		})
	if err != nil || !m.modern() {
		return list, err
	}
	return list, m.rows(ctx, "the default roles", "SELECT HOST, DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST FROM mysql.default_roles WHERE USER = "+text(user)+" ORDER BY 1, 2, 3",
		func(rows *sql.Rows) error {
			var host, role, of string
			err := rows.Scan(&host, &role, &of)
			for i := range list {
				if list[i].host == host {
					if list[i].roles != "" {
						list[i].roles += ", "
					}
					list[i].roles += text(role) + "@" + text(of)
				}
			}
			return err
		})
}

// expiry returns the clause for a password's lifetime in days.
func expiry(lifetime sql.NullInt64) string {
	switch {
	case !lifetime.Valid || lifetime.Int64 < 0:
		return " PASSWORD EXPIRE DEFAULT"
	case lifetime.Int64 == 0:
		return " PASSWORD EXPIRE NEVER"
	}
	return fmt.Sprintf(" PASSWORD EXPIRE INTERVAL %d DAY", lifetime.Int64)
}

// reusing returns the clauses that forbid old passwords.
func reusing(history, days sql.NullInt64) string {
	s := " PASSWORD HISTORY DEFAULT"
	if history.Valid {
		s = fmt.Sprintf(" PASSWORD HISTORY %d", history.Int64)
	}
	if days.Valid {
		return s + fmt.Sprintf(" PASSWORD REUSE INTERVAL %d DAY", days.Int64)
	}
	return s + " PASSWORD REUSE INTERVAL DEFAULT"
}

// currently returns the clause that asks for the current password at a change.
func currently(required sql.NullString) string {
	switch required.String {
	case "Y":
		return " PASSWORD REQUIRE CURRENT"
	case "N":
		return " PASSWORD REQUIRE CURRENT OPTIONAL"
	}
	return " PASSWORD REQUIRE CURRENT DEFAULT"
}

// locking returns the clauses that block an account after refused logins.
func locking(attempts, days sql.NullInt64) string {
	s := fmt.Sprintf(" FAILED_LOGIN_ATTEMPTS %d", attempts.Int64)
	if days.Int64 < 0 {
		return s + " PASSWORD_LOCK_TIME UNBOUNDED"
	}
	return s + fmt.Sprintf(" PASSWORD_LOCK_TIME %d", days.Int64)
}

func (m *mysqld) marks() bool { return m.modern() }

func (m *mysqld) inherited(ctx context.Context, a account, roles []string) (grants, error) {
	return m.show(ctx, a, "SHOW GRANTS FOR "+a.name()+" USING "+strings.Join(roles, ", "))
}

func (m *mysqld) create(ctx context.Context, a, like account, role, birth string) error {
	s := "CREATE USER " + a.name() + " IDENTIFIED WITH " + text(like.plugin) + " BY "
	if m.modern() {
		s += text(decoy()) + " DEFAULT ROLE " + text(role) + " ACCOUNT LOCK"
	} else {
		s += text(birth)
	}
	_, err := m.conn.ExecContext(ctx, s)
	return m.failure("the user "+a.name()+" could not be created", err)
}

func (m *mysqld) setPassword(ctx context.Context, a, like account, password string) error {
	_, err := m.conn.ExecContext(ctx, "ALTER USER "+a.name()+" IDENTIFIED WITH "+text(like.plugin)+" BY "+text(password)+like.lock())
	if code(err) == 3638 {
		// An earlier call may have set it: then it is in the history by that.
		if done, perr := m.opens(ctx, a.user, password); done || perr != nil {
			return perr
		}
	}
	if err != nil || !a.retained {
		return m.failure("the password of "+a.name()+" could not be set", err)
	}
	return m.exec(ctx, "ALTER USER "+a.name()+" DISCARD OLD PASSWORD")
}
