package sqlserver

import (
	"context"
	"strings"
	"unicode"

	"example.com/rotator/rotation/engine"
)

type principal struct {
	name      string
	contained bool
	powerful  bool   // it could become any other user
	checked   bool   // the server applies its password policy
	disabled  bool   // for a login
	options   string // for a login, in the syntax of CREATE LOGIN and ALTER LOGIN
	schema    string // for a contained user
}

func yes(s string) bool { return s == "1" || s == "true" }

func (s *session) existing(ctx context.Context, name string) (*principal, error) {
	p, err := s.find(ctx, name)
	if err == nil && p == nil {
		err = engine.Errorf(engine.InvalidSecret, "correct the secret's user name",
			"there is no login and no contained user %q", name)
	}
	return p, err
}

// find returns a principal, or nil. As at a login, a contained user of the database hides a login with the same name.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/databases/contained-databases
func (s *session) find(ctx context.Context, name string) (*principal, error) {
	rows, err := s.Texts(ctx, "the user could not be read", `WITH held AS (
	SELECT principal_id FROM sys.database_principals WHERE name = `+text(name)+`
	UNION ALL SELECT m.role_principal_id FROM sys.database_role_members m JOIN held h
		ON h.principal_id = m.member_principal_id)
SELECT name, COALESCE(default_schema_name, N''),
	CASE WHEN EXISTS (SELECT 1 FROM sys.database_principals r JOIN held h ON h.principal_id = r.principal_id
			WHERE r.type = 'R' AND r.name IN (N'db_owner', N'db_accessadmin', N'db_securityadmin'))
		OR EXISTS (SELECT 1 FROM sys.database_permissions p JOIN held h ON h.principal_id = p.grantee_principal_id
			WHERE p.class = 0 AND p.state IN ('G', 'W') AND p.permission_name IN (N'CONTROL', N'ALTER ANY USER'))
		THEN 1 ELSE 0 END
	FROM sys.database_principals u WHERE name = `+text(name)+` AND type = 'S' AND authentication_type = 2`)
	if err != nil {
		return nil, err
	}
	if len(rows) == 1 {
		r := rows[0]
		return &principal{name: r[0], contained: true, schema: r[1], powerful: yes(r[2]), checked: true}, nil
	}
	rows, err = s.Texts(ctx, "the login could not be read", `WITH held AS (
	SELECT principal_id FROM sys.sql_logins WHERE name = `+text(name)+`
	UNION ALL SELECT m.role_principal_id FROM sys.server_role_members m JOIN held h
		ON h.principal_id = m.member_principal_id)
SELECT name, is_disabled, is_policy_checked,
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
		THEN 1 ELSE 0 END
	FROM sys.sql_logins l WHERE name = `+text(name))
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	r := rows[0]
	return &principal{name: r[0], disabled: yes(r[1]), checked: yes(r[2]), options: r[3], powerful: yes(r[4])}, nil
}

func (p *principal) statement() string {
	if p.contained {
		return "ALTER USER " + identifier(p.name)
	}
	return "ALTER LOGIN " + identifier(p.name)
}

// setPassword changes a password. A user that changes its own must give the old one: the one that it logged in with,
// which is not always AWSCURRENT's. The statement is a separate batch and appears in no error.
func (s *session) setPassword(ctx context.Context, p *principal, password, old string) error {
	statement := p.statement() + " WITH PASSWORD = " + text(password)
	if old != "" {
		statement += " OLD_PASSWORD = " + text(old)
	}
	return s.Secretly(ctx, "the password of "+identifier(p.name)+" could not be changed", statement)
}

func (s *session) mayChange(ctx context.Context, p *principal) error {
	question, right := "HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN')", "ALTER ANY LOGIN"
	if p.contained {
		question, right = "HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'ALTER ANY USER')", "ALTER ANY USER in the database"
	}
	rows, err := s.Texts(ctx, "the login's rights could not be read", "SELECT COALESCE("+question+", 0)")
	if err == nil && (len(rows) != 1 || !yes(rows[0][0])) {
		err = engine.Errorf(engine.PrivilegeMissing, adviceGrant, "the login %q lacks %s", s.Target.User, right)
	}
	return err
}

// policy applies the documented complexity rules if the server applies its policy to the principal, because a stored
// value that the server rejects cannot be changed. Only the server knows a longer minimum length, the age and the
// history.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/security/password-policy
func (p *principal) policy(password string) error {
	classes, fault := 0, ""
	other := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	for _, in := range []func(rune) bool{unicode.IsUpper, unicode.IsLower, unicode.IsDigit, other} {
		if strings.ContainsFunc(password, in) {
			classes++
		}
	}
	switch {
	case length(password) < 8:
		fault = "it has fewer than 8 characters"
	case classes < 3:
		fault = "it lacks three of upper case, lower case, digits and other characters"
	case length(p.name) > 2 && strings.Contains(strings.ToLower(password), strings.ToLower(p.name)):
		fault = "it contains the user's name"
	}
	if !p.checked || fault == "" {
		return nil
	}
	return engine.Errorf(engine.PolicyRejected, "adjust PASSWORD_LENGTH and EXCLUDE_*, or turn CHECK_POLICY off",
		"the server's policy would reject the new password: %s", fault)
}

// identifier quotes a name as QUOTENAME does.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/functions/quotename-transact-sql
func identifier(s string) string { return "[" + strings.ReplaceAll(s, "]", "]]") + "]" }

// text quotes a string as a Unicode constant. A backslash is special only before the end of a line, which fault refuses
// in passwords and names.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/language-elements/sql-server-utilities-statements-backslash
func text(s string) string { return "N'" + strings.ReplaceAll(s, "'", "''") + "'" }
