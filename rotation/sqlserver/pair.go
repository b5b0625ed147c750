package sqlserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/sqlsession"
	"example.com/rotator/rotation/pair"
)

type principal struct {
	name     string
	power    string // what makes it an administrator, who could become any other login, or ""
	options  string // in the syntax of CREATE LOGIN and ALTER LOGIN
	checked  bool   // by the password policy
	disabled bool
}

func yes(s string) bool { return s == "1" || s == "true" }

// Find returns a login, or nil. It refuses a contained user, who may change its own password.
func (t *target) Find(ctx context.Context, name string) (*principal, error) {
	if contained, err := t.contained(ctx, name); err != nil {
		return nil, err
	} else if contained {
		return nil, engine.Errorf(engine.InvalidSecret,
			"remove masterarn from a contained user's secret; otherwise drop or rename the contained user",
			"%q is a user of the contained database %q, which a superuser does not rotate", name, t.Target.Database)
	}
	rows, err := t.Texts(ctx, "the login could not be read", `WITH held AS (
	SELECT principal_id FROM sys.sql_logins WHERE name = `+text(name)+`
	UNION ALL SELECT m.role_principal_id FROM sys.server_role_members m JOIN held h
		ON h.principal_id = m.member_principal_id)
SELECT name,
	N'DEFAULT_DATABASE = ' + QUOTENAME(COALESCE(default_database_name, N'master'))
		+ N', CHECK_EXPIRATION = ' + CASE is_expiration_checked WHEN 1 THEN N'ON' ELSE N'OFF' END
		+ N', CHECK_POLICY = ' + CASE is_policy_checked WHEN 1 THEN N'ON' ELSE N'OFF' END
		+ COALESCE(N', DEFAULT_LANGUAGE = ' + QUOTENAME(default_language_name), N''),
	CASE WHEN principal_id = 1
		OR EXISTS (SELECT 1 FROM sys.server_principals r JOIN held h ON h.principal_id = r.principal_id
			WHERE r.type = 'R' AND r.name IN
				(N'sysadmin', N'securityadmin', N'processadmin', N'setupadmin', N'##MS_LoginManager##'))
		OR EXISTS (SELECT 1 FROM sys.server_permissions p JOIN held h ON h.principal_id = p.grantee_principal_id
			WHERE p.class = 100 AND p.state IN ('G', 'W')
			AND p.permission_name IN (N'CONTROL SERVER', N'ALTER ANY LOGIN', N'IMPERSONATE ANY LOGIN'))
		THEN N'an administrator' ELSE N'' END, is_policy_checked, is_disabled
	FROM sys.sql_logins l WHERE name = `+text(name))
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	r := rows[0]
	return &principal{name: r[0], options: r[1], power: r[2], checked: yes(r[3]), disabled: yes(r[4])}, nil
}

// policy refuses a password that the server would reject: it checks the policy only when it sets a password.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/security/password-policy
func (p *principal) policy(password string) error {
	classes := 0
	for _, class := range []func(rune) bool{unicode.IsUpper, unicode.IsLower, unicode.IsDigit,
		func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }} {
		if strings.ContainsFunc(password, class) {
			classes++
		}
	}
	if !p.checked || length(password) >= 8 && classes >= 3 {
		return nil
	}
	return engine.Errorf(engine.PolicyRejected, "adjust PASSWORD_LENGTH and EXCLUDE_* to the policy",
		"the login %q has CHECK_POLICY, which requires 8 characters, of three of the four types", p.name)
}

// target is the session for package pair. A pair is two logins.
type target struct {
	*sqlsession.Session
	engine   *Engine
	request  *engine.Request
	password string
}

func (t *target) Administrator(_ context.Context, p, _ *principal) (string, error) {
	return p.power, nil
}

// Marked reports whether either user is marked as the other's second.
func (t *target) Marked(ctx context.Context, current, other *principal) (bool, error) {
	for _, each := range [][2]*principal{{current, other}, {other, current}} {
		rights, err := t.rights(ctx, server, each[0].name)
		if err != nil || slices.ContainsFunc(rights,
			func(r right) bool { return r.what == mark(each[1].name) && r.state != "D" }) {
			return err == nil, err
		}
	}
	return false, nil
}

func (t *target) Mark(current, other *principal) string { return grantMark(current.name, other.name) }

func (t *target) Rehearse(ctx context.Context, current, other *principal) error {
	if other != nil && other.disabled {
		return engine.Errorf(engine.PrivilegeMissing, "run ALTER LOGIN "+identifier(other.name)+" ENABLE",
			"the login %q is disabled", other.name)
	}
	if err := cmp.Or(current, other).policy(t.password); err != nil { // of a pair, the second gets the first's options
		return err
	}
	rows, err := t.Texts(ctx, "the login's rights could not be read",
		"SELECT COALESCE(HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN'), 0)")
	if err == nil && (len(rows) != 1 || !yes(rows[0][0])) {
		err = engine.Errorf(engine.PrivilegeMissing, adviceGrant, "the login %q lacks ALTER ANY LOGIN", t.Target.User)
	}
	if err == nil && current != nil {
		_, err = t.shares(ctx, current.name, user(t.request.Pending))
	}
	return err
}

// mark is the permission that marks a pair: the first login may view the second's definition. Granting it requires
// control of the second login, which also allows setting its password.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/grant-server-principal-permissions-transact-sql
func mark(second string) string { return "VIEW DEFINITION ON LOGIN::" + identifier(second) }

func grantMark(first, second string) string {
	return server.run("GRANT " + mark(second) + " TO " + identifier(first))
}

// Create creates the second login with an unknown password, and marks it in the same transaction.
func (t *target) Create(ctx context.Context, current *principal, name string) (*principal, error) {
	marking := grantMark(current.name, name)
	err := t.Secretly(ctx, "the login "+identifier(name)+" could not be created",
		"SET XACT_ABORT ON; BEGIN TRANSACTION; CREATE LOGIN "+identifier(name)+" WITH PASSWORD = "+
			text(rand.Text()+"aA1!")+", "+current.options+"; "+marking+"; COMMIT TRANSACTION")
	if codes, _ := read(err); slices.Contains(codes, 15025) {
		return nil, fmt.Errorf("%w: %w", pair.ErrExists, err)
	}
	if err == nil {
		t.request.Changed(marking)
	}
	other := *current
	other.name = name
	return &other, err
}

func (t *target) SetPassword(ctx context.Context, p *principal) error {
	return t.setPassword(ctx, "LOGIN", p.name, "")
}

// Equalize equalizes the two at the server and in every database where either has a user.
func (t *target) Equalize(ctx context.Context, current, other *principal) error {
	marked, err := t.Marked(ctx, current, other)
	if err == nil && !marked {
		err = t.Change(ctx, t.request, grantMark(current.name, other.name))
	}
	if err == nil && current.options != other.options {
		err = t.Change(ctx, t.request, "ALTER LOGIN "+identifier(other.name)+" WITH "+current.options)
	}
	if err == nil {
		err = t.level(ctx, server, current.name, other.name)
	}
	if err != nil {
		return err
	}
	shares, err := t.shares(ctx, current.name, other.name)
	for i := 0; err == nil && i < len(shares); i++ {
		err = t.equalIn(ctx, shares[i], other.name)
	}
	return err
}
