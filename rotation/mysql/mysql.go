package mysql

import (
	"context"
	"slices"

	"example.com/rotator/rotation/engine"
)

// mysqld is the dialect of MySQL and Aurora MySQL. It sends passwords as text, because the server cannot apply its
// policy to a hash; the server logs them as <secret>.
// Source: https://dev.mysql.com/doc/refman/8.4/en/password-logging.html
type mysqld struct{ *session }

// Source: https://dev.mysql.com/doc/refman/8.4/en/show-create-user.html
var ofMySQL = facts{role: "''", isUser: "TRUE", defaultRoles: "ALTER USER %s DEFAULT ROLE %s",
	defaults: append(slices.Clone(limits), "FAILED_LOGIN_ATTEMPTS 0", "PASSWORD_LOCK_TIME 0"),
	oldest:   []int{8, 0, 19}, settings: "SET SESSION sql_mode = '" + quoting + "'"}

// alter returns the statement that changes the session user's password if old is its primary password.
// Source: https://dev.mysql.com/doc/refman/8.4/en/alter-user.html
func alter(password, old string, retain bool) string {
	s := "ALTER USER USER() IDENTIFIED BY " + text(password) + " REPLACE " + text(old)
	if retain {
		s += " RETAIN CURRENT PASSWORD"
	}
	return s
}

// own runs alter. If the user may not retain a password, own retains none or, with must, returns engine.ErrOneAtATime.
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

// rehearse gives a wrong old password, which the server checks last, after the privilege and the policy.
func (m *mysqld) rehearse(ctx context.Context, password, old string) error {
	const what = "the password cannot be changed"
	err := m.own(ctx, password, decoy(), true, false)
	if code(err) != mysqlNotFirst {
		return m.Classify(ctx, what, err)
	}
	if old == "" {
		return nil
	}
	// The server refuses an empty password only after it has compared old with the primary password, or asked for it.
	if _, err = m.Conn.ExecContext(ctx, alter("", old, true)); code(err) != mysqlNotFirst {
		return nil
	}
	_, err = m.Conn.ExecContext(ctx, "ALTER USER USER() IDENTIFIED BY '' RETAIN CURRENT PASSWORD")
	if code(err) == mysqlMustSayFirst {
		return m.Classify(ctx, what, err)
	}
	return nil
}

// change gives the primary password. The server then refuses a repetition, which would discard the valid password.
func (m *mysqld) change(ctx context.Context, r *engine.Request, password, old string) error {
	const what = "the password could not be changed"
	current, _ := r.Current.Text("password")
	retained := false
	if current != old { // an abandoned rotation may have set old and retained current
		var err error
		if retained, err = m.opens(ctx, m.Target.User, current); err != nil {
			return err
		}
	}
	err := m.own(ctx, password, old, !retained, r.KeepCurrent)
	if c := code(err); c != mysqlNotFirst && c != mysqlHistory {
		return m.Classify(ctx, what, err)
	}
	// Old is retained and stays valid without RETAIN. The primary password is the new one or an abandoned rotation's.
	if done, perr := m.opens(ctx, m.Target.User, password); done || perr != nil {
		return perr
	}
	if code(err) == mysqlHistory {
		return m.Classify(ctx, what, err)
	}
	return m.secretly(ctx, what, "ALTER USER USER() IDENTIFIED BY "+text(password))
}

func (m *mysqld) rehearseOther(ctx context.Context, password string) error {
	return m.secretly(ctx, "other users cannot be changed",
		"ALTER USER IF EXISTS "+nobody.name()+" IDENTIFIED BY "+text(password))
}

func (m *mysqld) credential(_ context.Context, plugin, password string) (string, error) {
	return "WITH " + text(plugin) + " BY " + text(password), nil
}

// setPassword keeps a password with one statement that makes it first the primary and then the retained password: it
// stays valid throughout, and concurrent calls have the same effect. The server refuses the statement if it keeps a
// password history or if the old password no longer meets its policy.
func (m *mysqld) setPassword(ctx context.Context, a, like account, password, keep string) error {
	what := "the password of " + a.name() + " could not be set"
	identified := a.name() + " IDENTIFIED WITH " + text(like.plugin) + " BY "
	alter := "ALTER USER " + identified
	if keep != "" {
		err := m.secretly(ctx, what, alter+text(keep)+", "+identified+text(password)+" RETAIN CURRENT PASSWORD")
		if slices.Contains([]int{mysqlHistory, duplicateEntry, passwordPolicy}, code(err)) {
			return engine.ErrOneAtATime
		}
		return err
	}
	_, err := m.Conn.ExecContext(ctx, alter+text(password))
	if code(err) == mysqlHistory {
		// An earlier call may have set it.
		if done, perr := m.opens(ctx, a.user, password); perr != nil {
			return perr
		} else if done {
			err = nil
		}
	}
	if err != nil {
		return m.Classify(ctx, what, err)
	}
	return m.Exec(ctx, "ALTER USER "+a.name()+" DISCARD OLD PASSWORD")
}
