package sqlserver

import (
	"context"

	"example.com/rotator/rotation/engine"
)

// databases returns those that the session's login can open and write.
func (s *session) databases(ctx context.Context) ([]string, error) {
	rows, err := s.texts(ctx, "the databases could not be read", "SELECT name FROM sys.databases WHERE state = 0 AND is_read_only = 0 AND name <> N'tempdb' AND HAS_DBACCESS(name) = 1 ORDER BY name")
	var names []string
	for _, row := range rows {
		names = append(names, row[0])
	}
	return names, err
}

// equalIn is Equalize for the users of two logins in one database. A user that the
// current login has not is not dropped, as it may own things, but loses every
// right, that to connect among them.
func (t *target) equalIn(ctx context.Context, at place, current, other *principal) error {
	theirs, err := t.userOf(ctx, at, current.name)
	if err != nil {
		return err
	}
	mine, err := t.userOf(ctx, at, other.name)
	if err != nil || theirs.name == "" && mine.name == "" {
		return err
	}
	if mine.name == "dbo" && theirs.name != "dbo" {
		return engine.Errorf(engine.PrivilegeMissing, "give the database another owner", "the login %q owns the database %s, and %q does not", other.name, identifier(at.database), current.name)
	}
	if mine.name == "dbo" {
		return nil // both own it, which only one can: they are the same login
	}
	var want []right
	if theirs.name == "dbo" {
		// The owner is everything in it; the nearest to that is the role.
		want = []right{{state: "G", what: "CONNECT"}, {role: "db_owner"}}
		theirs.schema = "dbo"
	}
	if mine.name == "" {
		mine.name, mine.schema = other.name, theirs.schema
		statement := "CREATE USER " + identifier(other.name) + " FOR LOGIN " + identifier(other.name)
		if theirs.schema != "" {
			statement += " WITH DEFAULT_SCHEMA = " + identifier(theirs.schema)
		}
		if err := t.change(ctx, at.change(statement)); err != nil {
			return err
		}
	}
	if theirs.name != "" && theirs.schema != "" && mine.schema != theirs.schema {
		if err := t.change(ctx, at.change("ALTER USER "+identifier(mine.name)+" WITH DEFAULT_SCHEMA = "+identifier(theirs.schema))); err != nil {
			return err
		}
	}
	return t.level(ctx, at, theirs.name, mine.name, want)
}

// dbUser is a login's user in a database, with name "" where it has none.
type dbUser struct{ name, schema string }

func (s *session) userOf(ctx context.Context, at place, login string) (dbUser, error) {
	rows, err := s.texts(ctx, "the login's users could not be read", at.run(`SELECT u.name, COALESCE(u.default_schema_name, N'') FROM sys.database_principals u
	JOIN sys.server_principals l ON l.sid = u.sid WHERE l.name = `+text(login)+` AND u.type = 'S'`))
	if err != nil || len(rows) == 0 {
		return dbUser{}, err
	}
	return dbUser{rows[0][0], rows[0][1]}, nil
}
