package redshift

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
)

// twoUsers are the two users that alternate. Redshift's roles are no users, so that
// one user cannot stand for the other: each has rights of its own, and they are
// brought to be the same before each change.
type twoUsers struct {
	current, other string
	proved         bool // other is proved to be the secret's own
}

// user is what the server knows of a user.
type user struct {
	name      string
	superuser bool
	createdb  bool
	limit     string // connections: a number or UNLIMITED
	syslog    string // RESTRICTED or UNRESTRICTED
	timeout   int    // of an idle session in seconds, 0 for none
	until     string // as the server writes it, "" for no end
	settings  []string
}

// markPrefix begins the name of the group that marks a pair: it has the second
// user as a member and the first user's name behind the prefix. Users have no
// comments in Redshift; only a superuser can make a group.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_GROUP.html
const markPrefix = "rotator:"

// find returns a user, or nil where there is none. Names are compared as
// Redshift does where enable_case_sensitive_identifier is off.
func (s *session) find(ctx context.Context, tx pgx.Tx, named string) (*user, error) {
	u := &user{}
	err := tx.QueryRow(ctx, `SELECT i.user_name, i.superuser, i.createdb, i.connection_limit, i.syslog_access, coalesce(i.session_timeout, 0), coalesce(u.valuntil::text, ''), u.useconfig
	FROM svv_user_info i JOIN pg_user u ON u.usesysid = i.user_id WHERE i.user_name IN ($1, lower($1)) ORDER BY i.user_name = $1 DESC LIMIT 1`, named).
		Scan(&u.name, &u.superuser, &u.createdb, &u.limit, &u.syslog, &u.timeout, &u.until, &u.settings)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return u, s.classify("the user could not be read", err)
}

// ordinary returns a user that a superuser may change on the strength of a
// secret: it exists and is neither a superuser nor the login itself.
func (s *session) ordinary(ctx context.Context, tx pgx.Tx, named string) (*user, error) {
	u, err := s.find(ctx, tx, named)
	switch {
	case err != nil:
		return nil, err
	case u == nil:
		return nil, engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "there is no user %q", named)
	case u.superuser:
		return nil, engine.Errorf(engine.TakeoverRefused, "rotate a superuser by its own secret, as a single user", "the user %q is a superuser", named)
	case strings.EqualFold(u.name, s.Target.User):
		return nil, engine.Errorf(engine.TakeoverRefused, "give the superuser a secret of its own", "the user %q is the superuser itself", named)
	}
	return u, nil
}

// order reads both users and refuses to touch an other that is not ours. other
// is nil where it does not exist.
func (s *session) order(ctx context.Context, tx pgx.Tx, p twoUsers) (current, other *user, err error) {
	if strings.EqualFold(p.other, s.Target.User) {
		return nil, nil, engine.Errorf(engine.TakeoverRefused, "give the superuser a secret of its own", "the superuser %q cannot alternate with itself", s.Target.User)
	}
	if current, err = s.ordinary(ctx, tx, p.current); err != nil {
		return nil, nil, err
	}
	if other, err = s.find(ctx, tx, p.other); err != nil || other == nil {
		return current, nil, err
	}
	if other, err = s.ordinary(ctx, tx, p.other); err != nil || p.proved {
		return current, other, err
	}
	var marked bool
	err = tx.QueryRow(ctx, `SELECT count(*) > 0 FROM pg_group g, pg_user u WHERE u.usesysid = ANY (g.grolist)
	AND (g.groname = $1 AND u.usename = $2 OR g.groname = $3 AND u.usename = $4)`,
		markPrefix+current.name, other.name, markPrefix+other.name, current.name).Scan(&marked)
	if err != nil {
		return nil, nil, s.classify("the pair's mark could not be read", err)
	}
	if !marked {
		return nil, nil, engine.Errorf(engine.TakeoverRefused,
			"if it is this secret's second user all the same, say so as a superuser: CREATE GROUP "+name(markPrefix+current.name)+" WITH USER "+name(other.name),
			"the user %q exists, and nothing but its name says that it belongs to %q", other.name, current.name)
	}
	return current, other, nil
}

// alternate makes the other user equal to the current one, in every database,
// and sets its password last. A rehearsal keeps to the database that the secret
// names.
func (s *session) alternate(ctx context.Context, p twoUsers, seal func(user string) string, rehearsal bool) error {
	var databases []string
	prepare := func(tx pgx.Tx) error {
		current, other, err := s.order(ctx, tx, p)
		if err != nil {
			return err
		}
		if other == nil {
			if _, err := tx.Exec(ctx, "CREATE USER "+name(p.other)+" PASSWORD '"+decoy(p.other)+"'"); err != nil {
				return s.classify("the user "+name(p.other)+" could not be created", err)
			}
			if other, err = s.ordinary(ctx, tx, p.other); err != nil {
				return err
			}
		}
		p.current, p.other = current.name, other.name
		if err := s.mark(ctx, tx, p); err != nil {
			return err
		}
		if err := s.attributes(ctx, tx, current, other); err != nil {
			return err
		}
		if err := s.level(ctx, tx, p, true); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "SELECT database_name FROM svv_redshift_databases WHERE database_type = 'local' AND database_name <> current_database()")
		if err != nil {
			return s.classify("the databases could not be read", err)
		}
		databases, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return s.classify("the databases could not be read", err)
	}
	finish := func(tx pgx.Tx) error { return s.setPassword(ctx, tx, p.other, seal(p.other)) }
	if rehearsal {
		return s.transaction(ctx, true, func(tx pgx.Tx) error {
			if err := prepare(tx); err != nil {
				return err
			}
			return finish(tx)
		})
	}
	if err := s.transaction(ctx, false, prepare); err != nil {
		return err
	}
	for _, d := range databases {
		t := s.Target
		t.Database = d
		there, err := s.engine.dial(ctx, t)
		if err != nil {
			return err
		}
		err = there.transaction(ctx, false, func(tx pgx.Tx) error { return there.level(ctx, tx, p, false) })
		there.Close()
		if err != nil {
			return err
		}
	}
	return s.transaction(ctx, false, finish)
}

// mark puts the second user into the pair's group. Which of the two is the
// second is decided once, by who is created; a pair made by AWS's templates,
// proved to be the secret's, is marked with the other as the second.
func (s *session) mark(ctx context.Context, tx pgx.Tx, p twoUsers) error {
	var group, member bool
	err := tx.QueryRow(ctx, `SELECT count(*) > 0, coalesce(max(CASE WHEN u.usesysid = ANY (g.grolist) THEN 1 ELSE 0 END), 0) = 1
	FROM pg_group g, pg_user u WHERE g.groname = $1 AND u.usename = $2`, markPrefix+p.current, p.other).Scan(&group, &member)
	if err != nil {
		return s.classify("the pair's mark could not be read", err)
	}
	var back bool
	err = tx.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_group g, pg_user u WHERE g.groname = $1 AND u.usename = $2 AND u.usesysid = ANY (g.grolist)", markPrefix+p.other, p.current).Scan(&back)
	switch {
	case err != nil:
		return s.classify("the pair's mark could not be read", err)
	case member || back:
		return nil
	case len(markPrefix+p.current) > nameLimit:
		return engine.Errorf(engine.InvalidSecret, "use a shorter user name", "the user name %q leaves no room for the name of the pair's group", p.current)
	case group:
		return s.exec(ctx, tx, "ALTER GROUP "+name(markPrefix+p.current)+" ADD USER "+name(p.other))
	}
	return s.exec(ctx, tx, "CREATE GROUP "+name(markPrefix+p.current)+" WITH USER "+name(p.other))
}

// attributes gives the other user the current one's attributes and settings.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_USER.html
func (s *session) attributes(ctx context.Context, tx pgx.Tx, current, other *user) error {
	var options, values []string
	if current.createdb != other.createdb {
		options = append(options, map[bool]string{true: "CREATEDB", false: "NOCREATEDB"}[current.createdb])
	}
	if current.limit != other.limit {
		limit := "UNLIMITED"
		if n, err := strconv.Atoi(current.limit); err == nil {
			limit = strconv.Itoa(n)
		}
		options = append(options, "CONNECTION LIMIT "+limit)
	}
	if current.syslog != other.syslog {
		access := "RESTRICTED"
		if current.syslog == "UNRESTRICTED" {
			access = "UNRESTRICTED"
		}
		options = append(options, "SYSLOG ACCESS "+access)
	}
	if current.until != other.until {
		until := current.until
		if until == "" {
			until = "infinity"
		}
		options = append(options, "VALID UNTIL "+text(until))
	}
	switch {
	case current.timeout == other.timeout:
	case current.timeout == 0:
		options = append(options, "RESET SESSION TIMEOUT")
	default:
		options = append(options, "SESSION TIMEOUT "+strconv.Itoa(current.timeout))
	}
	for _, have := range other.settings {
		key, _, _ := strings.Cut(have, "=")
		if !slices.ContainsFunc(current.settings, func(want string) bool { return strings.HasPrefix(want, key+"=") }) {
			options = append(options, "RESET "+name(key))
		}
	}
	for _, want := range current.settings {
		if slices.Contains(other.settings, want) {
			continue
		}
		key, value, _ := strings.Cut(want, "=")
		items := []string{value}
		if key == "search_path" {
			// The one setting that is a list of names, stored quoted.
			items = pgsession.Names(value)
		}
		values = append(values, items...)
		for i, item := range items {
			items[i] = text(item)
		}
		options = append(options, "SET "+name(key)+" TO "+strings.Join(items, ", "))
	}
	for _, o := range options {
		o = "ALTER USER " + name(other.name) + " " + o
		// A setting's value may be a key, which has no place in an error.
		shown, _, _ := strings.Cut(o, " TO ")
		_, err := tx.Exec(ctx, o)
		if err := s.classify(shown, pgsession.Without(err, values)); err != nil {
			return err
		}
	}
	return nil
}
