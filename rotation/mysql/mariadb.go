package mysql

import (
	"context"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"filippo.io/edwards25519"

	"example.com/rotator/rotation/engine"
)

// mariadb is the dialect of MariaDB. It sends unsalted hashes, because the server logs every statement unchanged.
type mariadb struct{ *session }

// Source: https://mariadb.com/kb/en/show-create-user/
var ofMariaDB = facts{role: "default_role", isUser: "is_role = 'N'", defaultRoles: "SET DEFAULT ROLE %[2]s FOR %[1]s",
	defaults: append(slices.Clone(limits), "MAX_STATEMENT_TIME 0", "PASSWORD EXPIRE DEFAULT", "ACCOUNT UNLOCK"),
	oldest:   []int{10, 4, 0},
	// FLUSH TABLES WITH READ LOCK disables lock_wait_timeout, and GRANT could otherwise create a user.
	settings: "SET SESSION max_statement_time = 11, slow_query_log = OFF, sql_mode = '" + quoting +
		",NO_AUTO_CREATE_USER'"}

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
		secret, _ := edwards25519.NewScalar().SetBytesWithClamping(seed[:32]) // any 32 bytes are a scalar
		return base64.RawStdEncoding.EncodeToString(new(edwards25519.Point).ScalarBaseMult(secret).Bytes())
	}
	once := sha1.Sum([]byte(password))
	return fmt.Sprintf("*%X", sha1.Sum(once[:]))
}

// expression returns what the server stores for a password, as SQL.
func expression(strict bool, plugin, password string) string {
	if strict {
		return "PASSWORD(" + text(password) + ")"
	}
	return text(hash(plugin, password))
}

// strict reports whether the server refuses hashes because it checks every password itself. It keeps the session's
// statements out of the general log if the login may, and returns an error if the log would record the password. The
// binary log records only a hash for SET PASSWORD.
// Source: https://mariadb.com/kb/en/server-system-variables/#strict_password_validation
func (m *mariadb) strict(ctx context.Context) (strict bool, err error) {
	if _, err := m.Conn.ExecContext(ctx, "SET SESSION sql_log_off = ON"); err != nil && code(err) != privilegeMissing {
		return false, m.Classify(ctx, "the general log cannot be turned off", err)
	}
	var logged bool
	err = m.Conn.QueryRowContext(ctx, `SELECT @@strict_password_validation AND EXISTS (
	SELECT * FROM information_schema.PLUGINS WHERE PLUGIN_TYPE = 'PASSWORD VALIDATION' AND PLUGIN_STATUS = 'ACTIVE'),
	@@global.general_log AND NOT @@sql_log_off`).Scan(&strict, &logged)
	if strict && logged {
		err = engine.Errorf(engine.PolicyRejected, "turn general_log or strict_password_validation off",
			"the server accepts no hashes and would log the password")
	}
	return strict, m.Classify(ctx, "the password policy cannot be read", err)
}

// overlaps reports whether an account can have two passwords. The driver requires both methods to be native.
func (a account) overlaps() bool {
	return len(a.plugins) <= 2 && !slices.ContainsFunc(a.plugins, func(p string) bool { return p != native })
}

// another returns an error if the account has a second password, which a superuser once kept.
func (a account) another() error {
	if len(a.plugins) < 2 || !a.overlaps() {
		return nil
	}
	return engine.Errorf(engine.PrivilegeMissing,
		"as an administrator, set the same password again with ALTER USER … IDENTIFIED BY, which removes the other",
		"the user has a second password and may not remove it")
}

// own returns the session user's account and strict's results.
func (m *mariadb) own(ctx context.Context) (self account, strict bool, err error) {
	self = m.self
	if err = m.describe(ctx, &self); err == nil {
		strict, err = m.strict(ctx)
	}
	return self, strict, err
}

// rehearse sends an invalid hash, which the server checks last.
func (m *mariadb) rehearse(ctx context.Context, _, _ string) error {
	if _, _, err := m.own(ctx); err != nil {
		return err
	}
	_, err := m.Conn.ExecContext(ctx, "SET PASSWORD = 'rotator'")
	if c := code(err); c == notAHash || c == optionForbids &&
		strings.Contains(err.Error(), "strict-password-validation") {
		return nil
	}
	return m.Classify(ctx, "the password cannot be changed", err)
}

// change cannot keep the old password: a user may not give itself a second method.
func (m *mariadb) change(ctx context.Context, r *engine.Request, password, _ string) error {
	if r.KeepCurrent {
		return engine.ErrOneAtATime
	}
	self, strict, err := m.own(ctx)
	if err != nil {
		return err
	}
	if second := self.another(); second != nil {
		r.Warn(second.Error())
	}
	return m.secretly(ctx, "the password could not be changed",
		"SET PASSWORD = "+expression(strict, self.plugin, password))
}

func (m *mariadb) rehearseOther(ctx context.Context, _ string) error {
	if err := m.Exec(ctx, "ALTER USER IF EXISTS "+nobody.name()+" ACCOUNT LOCK"); err != nil {
		return err
	}
	_, err := m.strict(ctx)
	return err
}

func (m *mariadb) credential(ctx context.Context, plugin, password string) (string, error) {
	strict, err := m.strict(ctx)
	return "VIA " + plugin + " USING " + expression(strict, plugin, password), err
}

func (m *mariadb) setPassword(ctx context.Context, a, like account, password, keep string) error {
	what := "the password of " + a.name() + " could not be set"
	strict, err := m.strict(ctx)
	switch {
	case keep != "" && (strict || !like.overlaps()):
		return engine.ErrOneAtATime
	case err != nil:
		return err
	case strict:
		return m.secretly(ctx, what, "SET PASSWORD FOR "+a.name()+" = "+expression(strict, like.plugin, password))
	}
	method := like.plugin + " USING "
	statement := "ALTER USER " + a.name() + " IDENTIFIED VIA " + method + expression(false, like.plugin, password)
	if keep != "" {
		statement += " OR " + method + expression(false, like.plugin, keep)
	}
	return m.secretly(ctx, what, statement)
}
