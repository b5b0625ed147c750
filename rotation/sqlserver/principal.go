package sqlserver

import (
	"context"
	"strings"

	"example.com/rotator/rotation/engine"
)

type principal struct {
	name     string
	powerful bool // it could become any other login
	disabled bool
	options  string // in the syntax of CREATE LOGIN and ALTER LOGIN
}

func yes(s string) bool { return s == "1" || s == "true" }

// find returns a login, or nil. It refuses a contained user, who may change its own password.
func (s *session) find(ctx context.Context, name string) (*principal, error) {
	if contained, err := s.contained(ctx, name); err != nil {
		return nil, err
	} else if contained {
		return nil, engine.Errorf(engine.InvalidSecret, "remove masterarn from the secret of a contained user",
			"%q is a user of the contained database %q, which a superuser does not rotate", name, s.Target.Database)
	}
	rows, err := s.Texts(ctx, "the login could not be read", `WITH held AS (
	SELECT principal_id FROM sys.sql_logins WHERE name = `+text(name)+`
	UNION ALL SELECT m.role_principal_id FROM sys.server_role_members m JOIN held h
		ON h.principal_id = m.member_principal_id)
SELECT name, is_disabled,
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
	return &principal{name: r[0], disabled: yes(r[1]), options: r[2], powerful: yes(r[3])}, nil
}

func (s *session) mayChange(ctx context.Context) error {
	rows, err := s.Texts(ctx, "the login's rights could not be read",
		"SELECT COALESCE(HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN'), 0)")
	if err == nil && (len(rows) != 1 || !yes(rows[0][0])) {
		err = engine.Errorf(engine.PrivilegeMissing, adviceGrant, "the login %q lacks ALTER ANY LOGIN", s.Target.User)
	}
	return err
}

// identifier quotes a name as QUOTENAME does.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/functions/quotename-transact-sql
func identifier(s string) string { return "[" + strings.ReplaceAll(s, "]", "]]") + "]" }

// text quotes a string as a Unicode constant. A backslash is special only before the end of a line, which fault refuses
// in passwords and names.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/language-elements/sql-server-utilities-statements-backslash
func text(s string) string { return "N'" + strings.ReplaceAll(s, "'", "''") + "'" }
