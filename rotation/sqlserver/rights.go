package sqlserver

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/sqlsession"
	"example.com/rotator/rotation/pair"
)

// place is where rights are granted: a database, or "" for the server.
type place string

const server place = ""

// run returns a statement that runs in the place; statements about server rights must run in master.
func (p place) run(statement string) string {
	return "EXEC " + identifier(cmp.Or(string(p), "master")) + ".sys.sp_executesql " + text(statement)
}

// right is a role or a permission that a principal was granted directly.
type right struct {
	role string // such as SERVER ROLE [r], or "" for a permission
	// state is G for granted, W for granted with grant option, or D for denied. Source:
	// https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-database-permissions-transact-sql
	state string
	what  string // such as SELECT ON OBJECT::[dbo].[t]
}

// unknown precedes what the engine grants by no statement: a right on a rare kind of object, such as a certificate.
const unknown = "?"

// statements returns the statements that give and take a user's right in the place.
func (p place) statements(r right, user string) pair.Right {
	user = identifier(user)
	give, take := "GRANT "+r.what+" TO "+user, "REVOKE "+r.what+" FROM "+user
	kind, _, _ := strings.Cut(r.what, " ON ") // a name can have a question mark
	switch {
	case strings.Contains(kind, unknown):
		return pair.Right{Give: unknown + string(p) + " " + r.state + " " + r.what}
	case r.role != "":
		give, take = "ALTER "+r.role+" ADD MEMBER "+user, "ALTER "+r.role+" DROP MEMBER "+user
	case r.state == "D":
		give = "DENY " + r.what + " TO " + user
	case r.state == "W":
		// The server requires CASCADE for a right with grant option; that also revokes what was passed on.
		give, take = give+" WITH GRANT OPTION", take+" CASCADE"
	}
	return pair.Right{Give: p.run(give), Take: p.run(take)}
}

// rightsQuery returns a row for each role and each permission of a principal. The server quotes the names. The state R
// excludes a column from a permission on its table, which no single statement does.
const rightsQuery = `
SELECT N'{role} ' + QUOTENAME(r.name), N'', N'' FROM sys.{scope}_role_members m
	JOIN sys.{scope}_principals r ON r.principal_id = m.role_principal_id
	JOIN sys.{scope}_principals u ON u.principal_id = m.member_principal_id WHERE u.name = {name}
UNION ALL SELECT N'', p.state, CASE p.state WHEN 'R' THEN N'?REVOKE ' ELSE N'' END + p.permission_name
	+ COALESCE(CASE WHEN p.class IN (0, 100) THEN N''
	WHEN p.class = 1 THEN N' ON OBJECT::' + QUOTENAME(OBJECT_SCHEMA_NAME(p.major_id)) + N'.'
		+ QUOTENAME(OBJECT_NAME(p.major_id))
		+ CASE WHEN p.minor_id = 0 THEN N'' ELSE N' (' + QUOTENAME(COL_NAME(p.major_id, p.minor_id)) + N')' END
	WHEN p.class = 3 THEN N' ON SCHEMA::' + QUOTENAME(SCHEMA_NAME(p.major_id))
	WHEN p.class IN (4, 101) THEN (SELECT CASE o.type WHEN 'R' THEN N' ON {role}::'
		WHEN 'A' THEN N' ON APPLICATION ROLE::' ELSE N' ON {user}::' END + QUOTENAME(o.name)
		FROM sys.{scope}_principals o WHERE o.principal_id = p.major_id)
	WHEN p.class = 6 THEN (SELECT N' ON TYPE::' + QUOTENAME(SCHEMA_NAME(o.schema_id)) + N'.' + QUOTENAME(o.name)
		FROM sys.types o WHERE o.user_type_id = p.major_id)
	END, N'?' + p.class_desc + N' ' + CAST(p.major_id AS nvarchar(11)))
FROM sys.{scope}_permissions p JOIN sys.{scope}_principals u ON u.principal_id = p.grantee_principal_id
WHERE u.name = {name}`

func (t *target) rights(ctx context.Context, p place, name string) ([]right, error) {
	if name == "" {
		return nil, nil
	}
	scope, role, user := "server", "SERVER ROLE", "LOGIN"
	if p != server {
		scope, role, user = "database", "ROLE", "USER"
	}
	query := strings.NewReplacer("{scope}", scope, "{role}", role, "{user}", user, "{name}", text(name)).
		Replace(rightsQuery)
	rows, err := t.Texts(ctx, "the rights of "+identifier(name)+" could not be read", p.run(query))
	var all []right
	for _, r := range rows {
		all = append(all, right{role: r[0], state: strings.TrimSpace(r[1]), what: r[2]})
	}
	return all, err
}

// level makes other's rights in the place equal to current's. It ignores rights on the two.
func (t *target) level(ctx context.Context, at place, current, other string) error {
	between := func(r right) bool {
		_, name, _ := strings.Cut(r.what, "::")
		return name != "" && (name == identifier(current) || name == identifier(other)) &&
			(strings.Contains(r.what, " ON LOGIN::") || strings.Contains(r.what, " ON USER::"))
	}
	return pair.Same(current, other, func(user string) (all []pair.Right, err error) {
		rights, err := t.rights(ctx, at, user)
		for _, r := range rights {
			if !between(r) {
				all = append(all, at.statements(r, other))
			}
		}
		return all, err
	}, func(statement string) error {
		if strings.HasPrefix(statement, unknown) {
			return nil // the right is left
		}
		return t.Change(ctx, t.request, statement)
	})
}

// grants adds the rights that the superuser needs itself, and notes those that it hands on.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/alter-login-transact-sql#permissions
// and https://learn.microsoft.com/en-us/sql/t-sql/statements/alter-server-role-transact-sql#permissions
func grants(_ context.Context, r *engine.Request, n *engine.Needs) error {
	to := " TO " + identifier(n.Login) + ";"
	n.Grants = []string{"USE [master]; GRANT ALTER ANY LOGIN" + to, "USE [master]; GRANT VIEW ANY DEFINITION" + to}
	if r.Strategy == engine.AlternatingUsers {
		n.Note = "also make it a member of the login's fixed server roles, and db_owner of each database where the login " +
			"has a user; grant it ALTER on the login's other server roles, and its server permissions WITH GRANT OPTION"
	}
	return nil
}

// dbUser is a login's user in a database; its name is "" if there is none.
type dbUser struct{ name, schema string }

type share struct {
	at           place
	theirs, mine dbUser
}

// shares returns the databases where either login has a user. It refuses one where the two cannot be made equal, and
// skips those that are offline, which nobody can open.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/functions/has-dbaccess-transact-sql
func (t *target) shares(ctx context.Context, current, other string) (all []share, err error) {
	databases, err := t.Texts(ctx, "the databases could not be read",
		"SELECT name, HAS_DBACCESS(name), is_read_only FROM sys.databases WHERE name <> N'tempdb' ORDER BY name")
	if err != nil {
		return nil, err
	}
	var closed []string
	for _, d := range databases {
		if !yes(d[1]) {
			closed = append(closed, d[0])
			continue
		}
		s := share{at: place(d[0])}
		users, err := t.Texts(ctx, "the logins' users could not be read", s.at.run(`
SELECT l.name, u.name, COALESCE(u.default_schema_name, N'') FROM sys.database_principals u
	JOIN sys.server_principals l ON l.sid = u.sid
	WHERE l.name IN (`+text(current)+`, `+text(other)+`) AND u.type = 'S'`))
		for _, u := range users {
			if u[0] == current {
				s.theirs = dbUser{u[1], u[2]}
			} else {
				s.mine = dbUser{u[1], u[2]}
			}
		}
		switch {
		case err != nil:
			return nil, err
		case len(users) == 0:
			continue
		case s.mine.name == "dbo" || s.theirs.name == "dbo":
			return nil, engine.Errorf(engine.PrivilegeMissing,
				"give the database another owner, and the login a user with the role db_owner",
				"one of the logins %q and %q owns the database %q", current, other, s.at)
		case yes(d[2]) && s.mine.name == "":
			return nil, engine.Errorf(engine.PrivilegeMissing, "set the database READ_WRITE for the first rotation",
				"the login %q cannot get a user in the read-only database %q", other, s.at)
		}
		if err := t.untrapped(ctx, s.at); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, t.missed(ctx, closed)
}

// missed refuses databases that the current login can open and the superuser cannot: the other login would lack them.
func (t *target) missed(ctx context.Context, closed []string) error {
	if closed == nil {
		return nil
	}
	i := slices.IndexFunc(t.request.Proofs, func(p engine.Value) bool { return user(p) == user(t.request.Current) })
	if i < 0 {
		t.request.Warn("the superuser cannot open the databases " + strings.Join(closed, ", ") +
			": the second login gets nothing there")
		return nil
	}
	return t.engine.With(ctx, t.request.Proofs[i], func(s *sqlsession.Session) error {
		opened, err := s.Texts(ctx, "the databases could not be read",
			"SELECT name FROM sys.databases WHERE HAS_DBACCESS(name) = 1")
		for _, d := range opened {
			if slices.Contains(closed, d[0]) {
				return engine.Errorf(engine.PrivilegeMissing, "create the superuser in it, with the role db_owner",
					"the login %q can open the database %q, but the superuser %q cannot",
					s.Target.User, d[0], t.Target.User)
			}
		}
		return err
	})
}

// untrapped refuses a database with a DDL trigger that would run as the superuser: a user that may create triggers must
// not get the superuser's rights. A trigger that runs as a user of the database cannot act outside it.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/triggers/manage-trigger-security
func (t *target) untrapped(ctx context.Context, at place) error {
	rows, err := t.Texts(ctx, "the triggers could not be read", at.run(`
SELECT t.name FROM sys.triggers t LEFT JOIN sys.sql_modules m ON m.object_id = t.object_id
	LEFT JOIN sys.assembly_modules a ON a.object_id = t.object_id WHERE t.parent_class = 0 AND t.is_disabled = 0
	AND COALESCE(m.execute_as_principal_id, a.execute_as_principal_id) IS NULL`))
	if err == nil && len(rows) > 0 {
		err = engine.Errorf(engine.TargetFailed, "disable the trigger, or recreate it WITH EXECUTE AS a user",
			"the DDL trigger %q of the database %q would run as the superuser", rows[0][0], at)
	}
	return err
}

// equalIn makes the users of two logins equal in one database. If only the other login has a user, that user loses
// every right, including CONNECT, but is not dropped: it may own objects.
func (t *target) equalIn(ctx context.Context, s share, other string) error {
	mine, statement := s.mine.name, ""
	if mine == "" {
		mine = other
		statement = "CREATE USER " + identifier(other) + " FOR LOGIN " + identifier(other)
	}
	if schema := s.theirs.schema; schema != "" && schema != s.mine.schema {
		statement = cmp.Or(statement, "ALTER USER "+identifier(mine)) + " WITH DEFAULT_SCHEMA = " + identifier(schema)
	}
	if statement != "" {
		if err := t.Change(ctx, t.request, s.at.run(statement)); err != nil {
			return err
		}
	}
	return t.level(ctx, s.at, s.theirs.name, mine)
}

// identifier quotes a name as QUOTENAME does.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/functions/quotename-transact-sql
func identifier(s string) string { return "[" + strings.ReplaceAll(s, "]", "]]") + "]" }

// text quotes a string as a Unicode constant. A backslash is special only before the end of a line, which fault refuses
// in passwords and names.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/language-elements/sql-server-utilities-statements-backslash
func text(s string) string { return "N'" + strings.ReplaceAll(s, "'", "''") + "'" }
