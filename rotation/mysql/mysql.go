package mysql

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// mysqld is the dialect of MySQL and Aurora MySQL. It sends passwords as text: the
// server logs <secret> in their place, and checks its policy on nothing else.
// Source: https://dev.mysql.com/doc/refman/8.4/en/password-logging.html
type mysqld struct {
	*session
	version int // 80014 for 8.0.14
}

// modern reports whether the server has roles, retained passwords, REPLACE and
// FAILED_LOGIN_ATTEMPTS, which came with different releases of 8.0.
func (m *mysqld) modern() bool { return m.version >= 80019 }

// alter changes a user's own password, if old is the first of its passwords.
// Source: https://dev.mysql.com/doc/refman/8.4/en/alter-user.html
func alter(password, old string, retain bool) string {
	s := "ALTER USER USER() IDENTIFIED BY " + text(password) + " REPLACE " + text(old)
	if retain {
		s += " RETAIN CURRENT PASSWORD"
	}
	return s
}

// own sends alter, and retains only if the user may. With must, it then returns engine.ErrOneAtATime.
func (m *mysqld) own(ctx context.Context, password, old string, retain, must bool) error {
	_, err := m.Conn.ExecContext(ctx, alter(password, old, retain))
	if retain && code(err) == privilegeMissing {
		// The user lacks APPLICATION_PASSWORD_ADMIN.
		if must {
			return engine.ErrOneAtATime
		}
		_, err = m.Conn.ExecContext(ctx, alter(password, old, false))
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
	if code(err) != mysqlNotFirst {
		return m.failure(what, err)
	}
	if old == "" {
		return nil
	}
	// The server compares old with the first password before it refuses to keep
	// it beside none. All other answers tell nothing.
	_, err = m.Conn.ExecContext(ctx, alter("", old, true))
	if code(err) != mysqlNotFirst {
		return nil
	}
	required, rerr := m.mustSay(ctx)
	if required && rerr == nil {
		return m.second(err)
	}
	return rerr
}

// mustSay reports whether the user has to say its first password to change it.
// Source: https://dev.mysql.com/doc/refman/8.4/en/password-management.html#password-reverification-policy
func (m *mysqld) mustSay(ctx context.Context) (required bool, err error) {
	self := m.self
	if err := m.describe(ctx, &self, "CURRENT_USER()"); err != nil {
		return false, err
	}
	if !strings.Contains(self.attributes, " REQUIRE CURRENT DEFAULT ") {
		return !strings.Contains(self.attributes, " REQUIRE CURRENT OPTIONAL "), nil
	}
	err = m.Conn.QueryRowContext(ctx, "SELECT @@global.password_require_current").Scan(&required)
	return required, m.failure("the server's rules for passwords cannot be read", err)
}

// second reports that the password opens the server and cannot change it. By that cause the machine tries
// other versions of the secret: one that an abandoned rotation has left has the first password.
func (m *mysqld) second(err error) error {
	return engine.Errorf(engine.LoginRefused, "as an administrator: ALTER USER "+m.self.name()+" PASSWORD REQUIRE CURRENT OPTIONAL, or give the user the password of AWSCURRENT",
		"the login's password is the second of two, and the user has to say the first to change it, which an abandoned rotation has set: %w", err)
}

// change says which password it replaces, so that a repeated statement cannot throw away the one that must stay
// valid: the server refuses it where old is not the first of the two.
func (m *mysqld) change(ctx context.Context, password, old, current string, must bool) error {
	const what = "the password could not be changed"
	if !m.modern() {
		if must {
			return engine.ErrOneAtATime
		}
		return m.secretly(ctx, what, "ALTER USER USER() IDENTIFIED BY "+text(password))
	}
	beside := false
	if current != old { // old can be what an abandoned rotation has set, with current next to it
		var err error
		if beside, err = m.opens(ctx, m.target.User, current); err != nil {
			return err
		}
	}
	err := m.own(ctx, password, old, !beside, must)
	if c := code(err); c != mysqlNotFirst && c != mysqlHistory {
		return m.failure(what, err)
	}
	// Old is the second password. The first is the new one already, or one that an abandoned rotation has left;
	// then it alone is replaced, since without RETAIN the second one stays.
	if done, perr := m.opens(ctx, m.target.User, password); done || perr != nil {
		return perr
	}
	if code(err) == mysqlHistory {
		return m.failure(what, err)
	}
	_, err = m.Conn.ExecContext(ctx, "ALTER USER USER() IDENTIFIED BY "+text(password))
	if code(err) == mysqlMustSayFirst {
		return m.second(err)
	}
	return m.failure(what, err)
}

// retire cannot discard anything without APPLICATION_PASSWORD_ADMIN. If that was
// revoked since the user had two passwords, the one before this one still opens.
func (m *mysqld) retire(ctx context.Context, password, old string) error {
	if !m.modern() {
		return nil
	}
	_, err := m.Conn.ExecContext(ctx, "ALTER USER USER() DISCARD OLD PASSWORD")
	if code(err) != privilegeMissing {
		return m.failure("the old password could not be discarded", err)
	}
	if old == password {
		return nil
	}
	if two, oerr := m.opens(ctx, m.target.User, old); oerr != nil || !two {
		return oerr
	}
	return engine.Errorf(engine.PrivilegeMissing, "grant APPLICATION_PASSWORD_ADMIN again, or as an administrator: ALTER USER "+m.self.name()+" DISCARD OLD PASSWORD",
		"the user has a second password, which it may not discard: %w", err)
}

func (m *mysqld) rehearseOther(ctx context.Context, password string) error {
	return m.secretly(ctx, "other users cannot be changed", "ALTER USER IF EXISTS "+nobody.name()+" IDENTIFIED BY "+text(password))
}

func (m *mysqld) users() (roles, condition string) { return "''", "TRUE" }

// Source: https://dev.mysql.com/doc/refman/8.4/en/show-create-user.html
var (
	everyServer = clauses(`REQUIRE (?:SSL|X509|(?:(?:ISSUER|SUBJECT|CIPHER) \x00\d+\x00 ?)+)`, "REQUIRE NONE", ``, "WITH",
		`MAX_QUERIES_PER_HOUR \d+`, "MAX_QUERIES_PER_HOUR 0", `MAX_UPDATES_PER_HOUR \d+`, "MAX_UPDATES_PER_HOUR 0",
		`MAX_CONNECTIONS_PER_HOUR \d+`, "MAX_CONNECTIONS_PER_HOUR 0", `MAX_USER_CONNECTIONS \d+`, "MAX_USER_CONNECTIONS 0")
	expiry         = clauses(`ACCOUNT LOCK`, "ACCOUNT UNLOCK", `PASSWORD EXPIRE (?:NEVER|INTERVAL \d+ DAY)`, "PASSWORD EXPIRE DEFAULT")
	mysqlPasswords = clauses(`PASSWORD HISTORY \d+`, "PASSWORD HISTORY DEFAULT", `PASSWORD REUSE INTERVAL \d+ DAY`, "PASSWORD REUSE INTERVAL DEFAULT",
		`PASSWORD REQUIRE CURRENT(?: OPTIONAL| DEFAULT)?`, "PASSWORD REQUIRE CURRENT DEFAULT", `FAILED_LOGIN_ATTEMPTS \d+`, "FAILED_LOGIN_ATTEMPTS 0", `PASSWORD_LOCK_TIME (?:\d+|UNBOUNDED)`, "PASSWORD_LOCK_TIME 0")
)

func (m *mysqld) clauses() []clause {
	if m.modern() {
		return slices.Concat(everyServer, expiry, mysqlPasswords)
	}
	return slices.Concat(everyServer, expiry)
}

func (m *mysqld) credential(_ context.Context, plugin, password string) (string, error) {
	return "WITH " + text(plugin) + " BY " + text(password), nil
}

func (m *mysqld) defaultRoles(a account, roles string) string {
	return "ALTER USER " + a.name() + " DEFAULT ROLE " + cmp.Or(roles, "NONE")
}

// setPassword keeps a password in one statement, which makes it the first of two, whichever it was, and then
// the second: it is valid throughout, and calls that meet there do the same. The server refuses that where it
// looks at a history of passwords, or where the old one no longer meets its policy.
func (m *mysqld) setPassword(ctx context.Context, a, like account, password, keep string) error {
	what := "the password of " + a.name() + " could not be set"
	identified := a.name() + " IDENTIFIED WITH " + text(like.plugin) + " BY "
	alter := "ALTER USER " + identified
	if keep != "" {
		if !m.modern() {
			return engine.ErrOneAtATime
		}
		err := m.secretly(ctx, what, alter+text(keep)+", "+identified+text(password)+" RETAIN CURRENT PASSWORD")
		if slices.Contains([]int{mysqlHistory, duplicateEntry, passwordPolicy}, code(err)) {
			return engine.ErrOneAtATime
		}
		return err
	}
	_, err := m.Conn.ExecContext(ctx, alter+text(password))
	if code(err) == mysqlHistory {
		// An earlier call may have set it: then it is in the history by that. Which one of several
		// accounts a login would meet is not known.
		if done, perr := m.opens(ctx, a.user, password); perr != nil {
			return perr
		} else if done || like.several {
			err = nil
		}
	}
	if err != nil || !m.modern() {
		return m.failure(what, err)
	}
	return m.Exec(ctx, "ALTER USER "+a.name()+" DISCARD OLD PASSWORD")
}
