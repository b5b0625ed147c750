package sqlserver

import (
	"context"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// database is one that a login can open or not.
type database struct {
	place
	open, readOnly bool
}

// databases returns all of the server's, as the session's login sees them. One that is offline is open to nobody.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/functions/has-dbaccess-transact-sql
func (s *session) databases(ctx context.Context) (all []database, err error) {
	rows, err := s.Texts(ctx, "the databases could not be read", "SELECT name, HAS_DBACCESS(name), is_read_only FROM sys.databases WHERE name <> N'tempdb' ORDER BY name")
	for _, r := range rows {
		all = append(all, database{place(r[0]), yes(r[1]), yes(r[2])})
	}
	return all, err
}

// dbUser is a login's user in a database, with name "" where it has none.
type dbUser struct{ name, schema string }

// usersOf returns the users of logins in a database, by login.
func (s *session) usersOf(ctx context.Context, at place, current, other string) (map[string]dbUser, error) {
	rows, err := s.Texts(ctx, "the logins' users could not be read", at.run(`SELECT l.name, u.name, COALESCE(u.default_schema_name, N'') FROM sys.database_principals u
	JOIN sys.server_principals l ON l.sid = u.sid WHERE l.name IN (`+text(current)+`, `+text(other)+`) AND u.type = 'S'`))
	users := map[string]dbUser{}
	for _, r := range rows {
		users[r[0]] = dbUser{r[1], r[2]}
	}
	return users, err
}

// share is a database in which the current or the other login has a user.
type share struct {
	at           place
	theirs, mine dbUser
}

// shares returns those of two logins, and refuses a database in which the two cannot be made equal.
func (t *target) shares(ctx context.Context, current, other string) ([]share, error) {
	all, err := t.databases(ctx)
	if err != nil {
		return nil, err
	}
	var shares []share
	var closed []string
	for _, d := range all {
		if !d.open {
			closed = append(closed, string(d.place))
			continue
		}
		users, err := t.usersOf(ctx, d.place, current, other)
		theirs, mine := users[current], users[other]
		switch {
		case err != nil:
			return nil, err
		case theirs.name == "" && mine.name == "":
			continue
		case mine.name == "dbo" && theirs.name != "dbo":
			return nil, engine.Errorf(engine.PrivilegeMissing, "give the database another owner", "the login %q owns the database %q, and %q does not", other, d.place, current)
		case d.readOnly && mine.name == "":
			return nil, engine.Errorf(engine.PrivilegeMissing, "set the database READ_WRITE for the first rotation", "the login %q cannot get a user in the database %q, which is read-only", other, d.place)
		}
		if err := t.untrapped(ctx, d.place); err != nil {
			return nil, err
		}
		shares = append(shares, share{d.place, theirs, mine})
	}
	return shares, t.missed(ctx, closed)
}

// missed refuses databases that the current login can open and the superuser cannot: the other one would lack them.
func (t *target) missed(ctx context.Context, closed []string) error {
	if closed == nil {
		return nil
	}
	i := slices.IndexFunc(t.request.Proofs, func(p engine.Value) bool { return user(p) == user(t.request.Current) })
	if i < 0 {
		t.request.Warn("the superuser cannot open the databases " + strings.Join(closed, ", ") + ": the second login gets nothing there")
		return nil
	}
	s, err := t.engine.connect(ctx, t.request.Proofs[i])
	if err != nil {
		return err
	}
	defer s.Close()
	theirs, err := s.databases(ctx)
	for _, d := range theirs {
		if d.open && slices.Contains(closed, string(d.place)) {
			return engine.Errorf(engine.PrivilegeMissing, "make the superuser a user of that database with the role db_owner", "the login %q can open the database %q, and the superuser %q cannot",
				s.target.User, d.place, t.session.target.User)
		}
	}
	return err
}

// untrapped refuses a database with a DDL trigger that would run as the superuser: whoever may create triggers there
// must not get the superuser's rights. One that runs as a user of the database cannot leave it.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/triggers/manage-trigger-security
func (t *target) untrapped(ctx context.Context, at place) error {
	rows, err := t.Texts(ctx, "the triggers could not be read", at.run(`SELECT t.name FROM sys.triggers t LEFT JOIN sys.sql_modules m ON m.object_id = t.object_id LEFT JOIN sys.assembly_modules a ON a.object_id = t.object_id
	WHERE t.parent_class = 0 AND t.is_disabled = 0 AND COALESCE(m.execute_as_principal_id, a.execute_as_principal_id) IS NULL`))
	if err == nil && len(rows) > 0 {
		err = engine.Errorf(engine.TargetFailed, "disable the trigger for the rotation, or make it WITH EXECUTE AS a user of the database", "the DDL trigger %q of the database %q would run as the superuser", rows[0][0], at)
	}
	return err
}

// equalIn makes the users of two logins equal in one database. A user that the current login does not have is not
// dropped, as it may own things, but loses every right, including that to connect.
func (t *target) equalIn(ctx context.Context, s share, other string) error {
	if s.mine.name == "dbo" {
		return nil // both own it, which only one can: they are the same login
	}
	var want []right
	if s.theirs.name == "dbo" {
		// The owner is everything in it; the nearest to that is the role.
		want = []right{{state: "G", what: "CONNECT"}, {role: "ROLE [db_owner]"}}
		s.theirs.schema = "dbo"
	}
	statement, schema := "ALTER USER "+identifier(s.mine.name), ""
	if s.mine.name == "" {
		s.mine.name = other
		statement = "CREATE USER " + identifier(other) + " FOR LOGIN " + identifier(other)
	}
	if s.theirs.name != "" && s.theirs.schema != s.mine.schema && s.theirs.schema != "" {
		schema = " WITH DEFAULT_SCHEMA = " + identifier(s.theirs.schema)
	}
	if schema != "" || strings.HasPrefix(statement, "CREATE") {
		if err := t.Change(ctx, t.request, s.at.run(statement+schema)); err != nil {
			return err
		}
	}
	return t.level(ctx, s.at, s.theirs.name, s.mine.name, want)
}
