package sqlserver

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"example.com/rotator/rotation/engine"
)

// twoUsers are the two users that alternate: two logins, or two users of one
// contained database. Each has rights of its own, which are brought to be the
// same before each change.
type twoUsers struct {
	current, other string
	proved         bool // other is proved to be the secret's own
}

// mark is the permission by which a pair knows itself: the first user may see
// the second's definition. To grant it takes control of the second user, and
// who has that could set its password anyhow.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/grant-server-principal-permissions-transact-sql
func mark(second *principal) string {
	on := " ON LOGIN::"
	if second.contained {
		on = " ON USER::"
	}
	return "VIEW DEFINITION" + on + identifier(second.name)
}

// home is the place of the pair's own permissions.
func (s *session) home(p *principal) place {
	if p.contained {
		return place{s.target.Database}
	}
	return server
}

// order reads both users and refuses to touch an other that is not ours; it is
// nil where there is none.
func (s *session) order(ctx context.Context, p twoUsers) (current, other *principal, err error) {
	if strings.EqualFold(p.other, s.target.User) || strings.EqualFold(p.current, s.target.User) {
		return nil, nil, engine.Errorf(engine.TakeoverRefused, "give the superuser a secret of its own", "the superuser %q cannot alternate with itself", s.target.User)
	}
	if current, err = s.find(ctx, p.current); err != nil {
		return nil, nil, err
	}
	if current == nil {
		return nil, nil, engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "there is no login and no contained user %q", p.current)
	}
	if current.powerful {
		return nil, nil, powerful(current.name)
	}
	if other, err = s.find(ctx, p.other); err != nil || other == nil {
		return current, nil, err
	}
	switch {
	case current.contained && !other.contained:
		return current, nil, nil // a login of that name has nothing to do with the database's users
	case other.contained != current.contained:
		return nil, nil, engine.Errorf(engine.TakeoverRefused, "drop or rename the user of the database", "the user %q of the database hides the login of that name", other.name)
	case other.powerful:
		return nil, nil, powerful(other.name)
	case p.proved:
		return current, other, nil
	}
	marked, err := s.marked(ctx, current, other)
	if err == nil && !marked {
		err = engine.Errorf(engine.TakeoverRefused,
			"if it is this secret's second user all the same, say so as a superuser, in the database "+adoptIn(current, s.target.Database)+": GRANT "+mark(other)+" TO "+identifier(current.name),
			"the user %q exists, and nothing but its name says that it belongs to %q", other.name, current.name)
	}
	return current, other, err
}

func adoptIn(p *principal, database string) string {
	if p.contained {
		return database
	}
	return "master"
}

// marked reports whether either of the two is marked as the other's second.
func (s *session) marked(ctx context.Context, a, b *principal) (bool, error) {
	for _, each := range [][2]*principal{{a, b}, {b, a}} {
		rights, err := s.rights(ctx, s.home(each[0]), each[0].name)
		if err != nil {
			return false, err
		}
		for _, r := range rights {
			if r.what == mark(each[1]) && r.state != "D" {
				return true, nil
			}
		}
	}
	return false, nil
}

// throwaway returns a password that nobody knows and every usual policy accepts.
func throwaway() string { return rand.Text() + "aA1!" }

// alternate makes the other user equal to the current one and sets its password
// last. A rehearsal proves what can be proved without a change.
func (s *session) alternate(ctx context.Context, p twoUsers, password string, rehearsal bool) error {
	current, other, err := s.order(ctx, p)
	if err != nil {
		return err
	}
	next := *current
	next.name = p.other
	if other != nil {
		next = *other
		next.checked = current.checked
	}
	if err := next.policy(password); err != nil {
		return err
	}
	if rehearsal {
		if current.contained {
			if err := s.exec(ctx, guard); err != nil {
				return err
			}
		}
		return s.mayChange(ctx, current)
	}
	existed := other != nil
	if !existed {
		if other, err = s.create(ctx, current, p.other); err != nil {
			return err
		}
	}
	if existed {
		marked, err := s.marked(ctx, current, other)
		if err == nil && !marked {
			err = s.exec(ctx, s.grantMark(current, other))
		}
		if err != nil {
			return err
		}
	}
	if err := s.equal(ctx, current, other); err != nil {
		return err
	}
	err = s.setPassword(ctx, other, password, "")
	if errors.Is(err, engine.PolicyRejected) && existed {
		// A policy that remembers passwords refuses what an earlier try of this
		// step has set; then the password opens the server.
		t := s.target
		t.User, t.Password = other.name, password
		if there, derr := s.engine.dial(ctx, t); derr == nil {
			there.close()
			err = nil
		}
	}
	if err == nil && other.disabled {
		err = s.exec(ctx, other.statement()+" ENABLE")
	}
	return err
}

// grantMark returns the statement that marks the second user.
func (s *session) grantMark(first, second *principal) string {
	return s.home(second).change("GRANT " + mark(second) + " TO " + identifier(first.name))
}

// create makes the second user without a right, with a password nobody knows. It
// is marked in the same transaction, so that a step that is cut off leaves no
// user behind that the next one would take for a stranger's.
func (s *session) create(ctx context.Context, current *principal, name string) (*principal, error) {
	other := *current
	other.name = name
	statement := "CREATE LOGIN " + identifier(name) + " WITH PASSWORD = " + text(throwaway()) + ", " + current.options()
	if current.contained {
		statement = guard + "CREATE USER " + identifier(name) + " WITH PASSWORD = " + text(throwaway())
		if current.schema != "" {
			statement += ", DEFAULT_SCHEMA = " + identifier(current.schema)
		}
	}
	_, err := s.conn.ExecContext(ctx, "SET XACT_ABORT ON; BEGIN TRANSACTION; "+statement+"; "+s.grantMark(current, &other)+"; COMMIT TRANSACTION")
	return &other, s.classify(ctx, "the user "+identifier(name)+" could not be created", err)
}

// options are a login's attributes, as CREATE LOGIN and ALTER LOGIN take them.
func (p *principal) options() string {
	onOff := map[bool]string{true: "ON", false: "OFF"}
	s := "DEFAULT_DATABASE = " + identifier(p.database) + ", CHECK_EXPIRATION = " + onOff[p.expires] + ", CHECK_POLICY = " + onOff[p.checked]
	if p.language != "" {
		s += ", DEFAULT_LANGUAGE = " + identifier(p.language)
	}
	return s
}

// equal gives the other user the current one's attributes, roles and permissions,
// in every database that the superuser can open, and takes what it has beyond.
func (s *session) equal(ctx context.Context, current, other *principal) error {
	if current.contained {
		if current.schema != other.schema && current.schema != "" {
			if err := s.exec(ctx, guard+other.statement()+" WITH DEFAULT_SCHEMA = "+identifier(current.schema)); err != nil {
				return err
			}
		}
		return s.level(ctx, s.home(current), current.name, other.name, nil)
	}
	if current.options() != other.options() {
		if err := s.exec(ctx, other.statement()+" WITH "+current.options()); err != nil {
			return err
		}
	}
	if err := s.level(ctx, server, current.name, other.name, nil); err != nil {
		return err
	}
	databases, err := s.databases(ctx)
	if err != nil {
		return err
	}
	for _, d := range databases {
		if err := s.equalIn(ctx, place{d}, current, other); err != nil {
			return err
		}
	}
	return nil
}

// databases returns those that the session's login can open and write.
func (s *session) databases(ctx context.Context) ([]string, error) {
	rows, err := s.texts(ctx, "the databases could not be read", "SELECT name FROM sys.databases WHERE state = 0 AND is_read_only = 0 AND name <> N'tempdb' AND HAS_DBACCESS(name) = 1 ORDER BY name")
	var names []string
	for _, row := range rows {
		names = append(names, row[0])
	}
	return names, err
}

// equalIn is equal for the users of two logins in one database. A user that the
// current login has not is not dropped, as it may own things, but loses every
// right, that to connect among them.
func (s *session) equalIn(ctx context.Context, at place, current, other *principal) error {
	theirs, err := s.userOf(ctx, at, current.name)
	if err != nil {
		return err
	}
	mine, err := s.userOf(ctx, at, other.name)
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
		if err := s.exec(ctx, at.change(statement)); err != nil {
			return err
		}
	}
	if theirs.name != "" && theirs.schema != "" && mine.schema != theirs.schema {
		if err := s.exec(ctx, at.change("ALTER USER "+identifier(mine.name)+" WITH DEFAULT_SCHEMA = "+identifier(theirs.schema))); err != nil {
			return err
		}
	}
	return s.level(ctx, at, theirs.name, mine.name, want)
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
