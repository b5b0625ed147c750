package sqlserver

import (
	"context"
	"crypto/rand"
	"strings"
	"unicode"

	"example.com/rotator/rotation/engine"
)

// principal is a login, or a user with a password of its own in a contained
// database, as the server knows it.
type principal struct {
	name      string
	contained bool
	// powerful is set for a principal that could make itself anybody else.
	powerful bool
	// checked is set where the server applies its password policy.
	checked bool
	// The rest is a login's only, but for the schema, a contained user's.
	disabled, expires  bool
	database, language string
	schema             string
}

// yes reads a truth value of the server's.
func yes(s string) bool { return s == "1" || s == "true" }

// find returns a principal by the rule by which the server itself looks for one
// at a login: a contained user of the database that is asked for hides a login
// of the same name. It is nil where there is none.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/databases/contained-databases
func (s *session) find(ctx context.Context, name string) (*principal, error) {
	// Roles can be members of roles.
	rows, err := s.texts(ctx, "the user could not be read", `WITH held AS (SELECT principal_id FROM sys.database_principals WHERE name = `+text(name)+`
	UNION ALL SELECT m.role_principal_id FROM sys.database_role_members m JOIN held h ON h.principal_id = m.member_principal_id)
SELECT name, COALESCE(default_schema_name, N''),
	CASE WHEN EXISTS (SELECT 1 FROM sys.database_principals r JOIN held h ON h.principal_id = r.principal_id WHERE r.type = 'R' AND r.name IN (N'db_owner', N'db_accessadmin', N'db_securityadmin'))
		OR EXISTS (SELECT 1 FROM sys.database_permissions p JOIN held h ON h.principal_id = p.grantee_principal_id WHERE p.class = 0
		AND p.state IN ('G', 'W') AND p.permission_name IN (N'CONTROL', N'ALTER ANY USER')) THEN 1 ELSE 0 END
	FROM sys.database_principals u WHERE name = `+text(name)+` AND type = 'S' AND authentication_type = 2`)
	if err != nil {
		return nil, err
	}
	if len(rows) == 1 {
		r := rows[0]
		return &principal{name: r[0], contained: true, schema: r[1], powerful: yes(r[2]), checked: true}, nil
	}
	rows, err = s.texts(ctx, "the login could not be read", `WITH held AS (SELECT principal_id FROM sys.sql_logins WHERE name = `+text(name)+`
	UNION ALL SELECT m.role_principal_id FROM sys.server_role_members m JOIN held h ON h.principal_id = m.member_principal_id)
SELECT name, is_disabled, is_policy_checked, is_expiration_checked, COALESCE(default_database_name, N'master'), COALESCE(default_language_name, N''),
	CASE WHEN principal_id = 1 OR EXISTS (SELECT 1 FROM sys.server_principals r JOIN held h ON h.principal_id = r.principal_id WHERE r.type = 'R' AND r.name IN (N'sysadmin', N'securityadmin', N'processadmin', N'setupadmin', N'##MS_LoginManager##'))
		OR EXISTS (SELECT 1 FROM sys.server_permissions p JOIN held h ON h.principal_id = p.grantee_principal_id
		WHERE p.class = 100 AND p.state IN ('G', 'W') AND p.permission_name IN (N'CONTROL SERVER', N'ALTER ANY LOGIN', N'IMPERSONATE ANY LOGIN')) THEN 1 ELSE 0 END
	FROM sys.sql_logins l WHERE name = `+text(name))
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	r := rows[0]
	return &principal{name: r[0], disabled: yes(r[1]), checked: yes(r[2]), expires: yes(r[3]), database: r[4], language: r[5], powerful: yes(r[6])}, nil
}

// statement begins the statement that changes the principal.
func (p *principal) statement() string {
	if p.contained {
		return "ALTER USER " + identifier(p.name)
	}
	return "ALTER LOGIN " + identifier(p.name)
}

// setPassword changes a password. The user itself has to say its old one, which
// is the one that it logged in with and not always that of AWSCURRENT. The
// statement is a batch of its own and stands in no error.
func (s *session) setPassword(ctx context.Context, p *principal, password, old string) error {
	if p.contained && old == "" {
		if err := s.exec(ctx, guard); err != nil {
			return err
		}
	}
	statement := p.statement() + " WITH PASSWORD = " + text(password)
	if old != "" {
		statement += " OLD_PASSWORD = " + text(old)
	}
	_, err := s.conn.ExecContext(ctx, statement)
	return s.classify(ctx, "the password of "+identifier(p.name)+" could not be changed", err)
}

// mayChange proves that the session's login may change another's password.
func (s *session) mayChange(ctx context.Context, p *principal) error {
	question, right := "HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN')", "ALTER ANY LOGIN"
	if p.contained {
		question, right = "HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'ALTER ANY USER')", "ALTER ANY USER in the database"
	}
	rows, err := s.texts(ctx, "the login's rights could not be read", "SELECT COALESCE("+question+", 0)")
	if err == nil && (len(rows) != 1 || !yes(rows[0][0])) {
		err = engine.Errorf(engine.PrivilegeMissing, adviceGrant, "the login %q has not the right %s", s.target.User, right)
	}
	return err
}

// policy applies the rules for complexity that are documented for Windows and
// for SQL Server on Linux, where the server applies its policy to the principal.
// They are told here because a value that the server refuses could not be
// changed any more once it is stored. Length, age and history are the server's
// own matter.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/security/password-policy
func (p *principal) policy(password string) error {
	if !p.checked {
		return nil
	}
	var fault string
	classes := 0
	for _, in := range []func(rune) bool{unicode.IsUpper, unicode.IsLower, unicode.IsDigit, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }} {
		if strings.ContainsFunc(password, in) {
			classes++
		}
	}
	switch {
	case length(password) < 8:
		fault = "it has fewer than 8 characters"
	case classes < 3:
		fault = "it has not three of upper case, lower case, digits and other characters"
	case length(p.name) > 2 && strings.Contains(strings.ToLower(password), strings.ToLower(p.name)):
		fault = "it has the user's name in it"
	default:
		return nil
	}
	return engine.Errorf(engine.PolicyRejected, "adapt PASSWORD_LENGTH and EXCLUDE_* to the server's policy, or switch CHECK_POLICY off for the login", "the server's policy would reject the new password: %s", fault)
}

// throwaway returns a password that nobody knows and every usual policy accepts.
func throwaway() string { return rand.Text() + "aA1!" }

// options are a login's attributes, as CREATE LOGIN and ALTER LOGIN take them.
func (p *principal) options() string {
	onOff := map[bool]string{true: "ON", false: "OFF"}
	s := "DEFAULT_DATABASE = " + identifier(p.database) + ", CHECK_EXPIRATION = " + onOff[p.expires] + ", CHECK_POLICY = " + onOff[p.checked]
	if p.language != "" {
		s += ", DEFAULT_LANGUAGE = " + identifier(p.language)
	}
	return s
}
