package redshift

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// target is a superuser's session for package pair. A Redshift role is not a user, so one user cannot
// act as the other: each has its own rights, which are leveled before each change.
type target struct {
	*session
	tx     pgx.Tx // nil outside of a transaction
	change pair.Change
	seal   func(user string) string // returns the digest to store
}

// Find compares names as Redshift does where enable_case_sensitive_identifier is off.
func (t target) Find(ctx context.Context, named string) (u *user, err error) {
	err = t.do(ctx, func(t target) error {
		u = &user{}
		err := t.tx.QueryRow(ctx, `SELECT i.user_name, i.superuser, i.createdb, i.connection_limit, i.syslog_access, coalesce(i.session_timeout, 0), coalesce(u.valuntil::text, ''), u.useconfig
	FROM svv_user_info i JOIN pg_user u ON u.usesysid = i.user_id WHERE i.user_name IN ($1, lower($1)) ORDER BY i.user_name = $1 DESC LIMIT 1`, named).
			Scan(&u.name, &u.superuser, &u.createdb, &u.limit, &u.syslog, &u.timeout, &u.until, &u.settings)
		if errors.Is(err, pgx.ErrNoRows) {
			u, err = nil, nil
		}
		return t.classify("the user could not be read", err)
	})
	return u, err
}

// Administrator follows the roles of roles. What makes a role an administrator's is that it can change
// users or hand out roles, as sys:superuser and sys:secadmin can.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_roles-default.html,
// https://docs.aws.amazon.com/redshift/latest/dg/r_SVV_SYSTEM_PRIVILEGES.html
func (t target) Administrator(ctx context.Context, u *user) (power string, err error) {
	switch {
	case strings.EqualFold(u.name, t.Target.User):
		return "the superuser itself", nil
	case u.superuser:
		return "a superuser", nil
	}
	err = t.do(ctx, func(t target) error {
		const what = "the user's roles could not be read"
		roles, err := t.list(ctx, what, "SELECT role_name FROM svv_user_grants WHERE user_name = $1", u.name)
		if err != nil || len(roles) == 0 {
			return err
		}
		mighty, err := t.list(ctx, what, `SELECT identity_name FROM svv_system_privileges
	WHERE identity_type = 'role' AND system_privilege IN ('CREATE USER', 'ALTER USER', 'DROP USER', 'GRANT ROLE')`)
		mighty = append(mighty, "sys:superuser", "sys:secadmin")
		for i := 0; err == nil && i < len(roles); i++ {
			if slices.Contains(mighty, roles[i]) {
				power = "a member of the role " + roles[i]
				break
			}
			var more []string
			more, err = t.list(ctx, what, "SELECT granted_role_name FROM svv_role_grants WHERE role_name = $1", roles[i])
			roles = append(roles, more...)
		}
		return err
	})
	return power, err
}

func (t target) Exceeds(context.Context, *user, *user) (string, error) { return "", nil }

// markPrefix begins the name of the group that marks a pair: it has the second
// user as a member and the first user's name behind the prefix. Users have no
// comments in Redshift; only a superuser can make a group.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_GROUP.html
const markPrefix = "rotator:"

func (t target) Marked(ctx context.Context, current, other *user) (marked bool, err error) {
	err = t.do(ctx, func(t target) error {
		marked, err = t.member(ctx, current, other)
		if err == nil && !marked {
			marked, err = t.member(ctx, other, current)
		}
		return err
	})
	return marked, err
}

// member reports whether the second user is in the group of the first.
func (t target) member(ctx context.Context, first, second *user) (bool, error) {
	groups, err := t.list(ctx, "the pair's mark could not be read",
		"SELECT g.groname FROM pg_group g, pg_user u WHERE g.groname = $1 AND u.usename = $2 AND u.usesysid = ANY (g.grolist)", markPrefix+first.name, second.name)
	return len(groups) > 0, err
}

func (t target) Mark(current, other *user) string {
	group := name(markPrefix + current.name)
	return "CREATE GROUP " + group + " (unless it exists); ALTER GROUP " + group + " ADD USER " + name(other.name)
}

// Rehearse makes the change in a transaction that is rolled back, with a password that nobody knows.
func (t target) Rehearse(ctx context.Context, _, _ *user) error {
	return t.transaction(ctx, true, func(tx pgx.Tx) error {
		c, silent := t.change, *t.change.Request
		silent.Report = nil
		c.Request, c.Rehearsal = &silent, false
		return pair.Apply(ctx, target{t.session, tx, c, decoy}, c)
	})
}

func (t target) Create(ctx context.Context, current *user, named string) (u *user, err error) {
	err = t.do(ctx, func(t target) error {
		if _, err := t.tx.Exec(ctx, "CREATE USER "+name(named)+" PASSWORD '"+decoy(named)+"'"); err != nil {
			return t.classify("the user "+name(named)+" could not be created", err)
		}
		if u, err = t.Find(ctx, named); err == nil {
			err = t.mark(ctx, current, u)
		}
		return err
	})
	return u, err
}

// Equalize levels the two users in every database; a rehearsal keeps to the one that the secret names.
func (t target) Equalize(ctx context.Context, current, other *user) error {
	var databases []string
	err := t.do(ctx, func(t target) error {
		marked, err := t.Marked(ctx, current, other)
		if err == nil && !marked {
			err = t.mark(ctx, current, other)
		}
		if err == nil {
			err = t.attributes(ctx, current, other)
		}
		if err == nil {
			err = t.level(ctx, current, other, true)
		}
		if err == nil {
			databases, err = t.list(ctx, "the databases could not be read",
				"SELECT database_name FROM svv_redshift_databases WHERE database_type = 'local' AND database_name <> current_database()")
		}
		return err
	})
	if err != nil || t.tx != nil {
		return err
	}
	for _, d := range databases {
		at := t.Target
		at.Database = d
		s, err := t.engine.dial(ctx, at)
		if err != nil {
			return err
		}
		err = target{session: s, change: t.change}.do(ctx, func(t target) error { return t.level(ctx, current, other, false) })
		s.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (t target) SetPassword(ctx context.Context, u *user) error {
	return t.do(ctx, func(t target) error { return t.setPassword(ctx, t.tx, u.name, t.seal(u.name)) })
}

// mark puts the second user into the pair's group. Which of the two is the
// second is decided once, by who is created; a pair made by AWS's templates,
// proved to be the secret's, is marked with the other as the second.
func (t target) mark(ctx context.Context, current, other *user) error {
	group := markPrefix + current.name
	if len(group) > nameLimit {
		return engine.Errorf(engine.InvalidSecret, "use a shorter user name", "the user name %q leaves no room for the name of the pair's group", current.name)
	}
	exists, err := t.list(ctx, "the pair's mark could not be read", "SELECT groname FROM pg_group WHERE groname = $1", group)
	if err == nil && len(exists) == 0 {
		err = t.exec(ctx, "CREATE GROUP "+name(group))
	}
	if err == nil {
		err = t.exec(ctx, "ALTER GROUP "+name(group)+" ADD USER "+name(other.name))
	}
	return err
}
