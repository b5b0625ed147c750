package redshift

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"

	"example.com/rotator/rotation/internal/pgsession"
)

// target is a transaction; for package pair, a superuser's. A Redshift user cannot act as another, so each has separate
// rights, which are equalized before each change.
type target struct{ *pgsession.Work }

type user struct {
	name       string
	superuser  bool
	settings   []string
	attributes []string // one clause of ALTER USER each
}

// Find compares names as Redshift does if enable_case_sensitive_identifier is off.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_USER.html
func (t *target) Find(ctx context.Context, named string) (*user, error) {
	rows, err := t.Query(ctx, "the user could not be read", 8, `
SELECT i.user_name, i.superuser, array_to_string(u.useconfig, chr(31)),
	CASE WHEN i.createdb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
	'CONNECTION LIMIT ' || i.connection_limit,
	'SYSLOG ACCESS ' || i.syslog_access,
	'VALID UNTIL ' || quote_literal(coalesce(u.valuntil::text, 'infinity')),
	CASE WHEN i.session_timeout > 0 THEN 'SESSION TIMEOUT ' || i.session_timeout::text ELSE 'RESET SESSION TIMEOUT' END
	FROM svv_user_info i JOIN pg_user u ON u.usesysid = i.user_id
	WHERE i.user_name IN ($1, lower($1)) ORDER BY i.user_name = $1 DESC LIMIT 1`, named)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	row := rows[0]
	settings := strings.FieldsFunc(row[2], func(r rune) bool { return r == 31 }) // they do not contain that character
	return &user{row[0], row[1] == "t", settings, row[3:]}, nil
}

// Administrator also follows roles of roles. A role makes its members administrators if it can change users or grant
// roles, as sys:superuser and sys:secadmin can.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_roles-default.html,
// https://docs.aws.amazon.com/redshift/latest/dg/r_SVV_SYSTEM_PRIVILEGES.html
func (t *target) Administrator(ctx context.Context, u, _ *user) (power string, err error) {
	switch {
	case strings.EqualFold(u.name, t.Target.User):
		return "the superuser itself", nil
	case u.superuser:
		return "a superuser", nil
	}
	const what = "the user's roles could not be read"
	roles, err := t.Texts(ctx, what, "SELECT role_name FROM svv_user_grants WHERE user_name = $1", u.name)
	if err != nil || len(roles) == 0 {
		return "", err
	}
	mighty, err := t.Texts(ctx, what, `SELECT identity_name FROM svv_system_privileges
	WHERE identity_type = 'role' AND system_privilege IN ('CREATE USER', 'ALTER USER', 'DROP USER', 'GRANT ROLE')`)
	mighty = append(mighty, "sys:superuser", "sys:secadmin")
	for i := 0; err == nil && i < len(roles); i++ {
		if slices.Contains(mighty, roles[i]) {
			return "a member of the role " + roles[i], nil
		}
		var more []string
		more, err = t.Texts(ctx, what, "SELECT granted_role_name FROM svv_role_grants WHERE role_name = $1", roles[i])
		roles = append(roles, more...)
	}
	return "", err
}

// markPrefix begins the name of the group that marks a pair. The first user's name follows, and the second user is a
// member. Redshift users have no comments, and only a superuser can create a group.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_GROUP.html
const markPrefix = "rotator:"

// Marked reports whether either user is in the other's group.
func (t *target) Marked(ctx context.Context, current, other *user) (bool, error) {
	groups, err := t.Texts(ctx, "the pair's mark could not be read", `SELECT g.groname FROM pg_group g, pg_user u
	WHERE (g.groname = $1 AND u.usename = $2 OR g.groname = $3 AND u.usename = $4) AND u.usesysid = ANY (g.grolist)`,
		markPrefix+current.name, other.name, markPrefix+other.name, current.name)
	return len(groups) > 0, err
}

func (t *target) Mark(current, other *user) string {
	group := name(markPrefix + current.name)
	return "CREATE GROUP " + group + " (unless it exists); ALTER GROUP " + group + " ADD USER " + name(other.name)
}

func (t *target) Create(ctx context.Context, _ *user, named string) (*user, error) {
	statement := "CREATE USER " + name(named) + " PASSWORD '" + digest(rand.Text(), named) + "'"
	if err := t.Exec(ctx, "the user "+name(named)+" could not be created", statement); err != nil {
		return nil, err
	}
	return t.Find(ctx, named)
}

// Equalize marks the pair and equalizes its users, in the secret's database.
func (t *target) Equalize(ctx context.Context, current, other *user) error {
	for _, step := range []func(context.Context, *user, *user) error{t.mark, t.attributes, t.level} {
		if err := step(ctx, current, other); err != nil {
			return err
		}
	}
	return nil
}

// mark adds the second user to the pair's group. The user that the engine creates is the second. In a pair from AWS's
// templates that is proved to be the secret's, the other user becomes the second.
func (t *target) mark(ctx context.Context, current, other *user) error {
	if marked, err := t.Marked(ctx, current, other); err != nil || marked {
		return err
	}
	group := markPrefix + current.name
	exists, err := t.Texts(ctx, "the pair's mark could not be read",
		"SELECT groname FROM pg_group WHERE groname = $1", group)
	if err == nil && len(exists) == 0 {
		err = t.Change(ctx, "CREATE GROUP "+name(group))
	}
	if err == nil {
		err = t.Change(ctx, "ALTER GROUP "+name(group)+" ADD USER "+name(other.name))
	}
	return err
}

// attributes gives the other user the current user's attributes and settings.
func (t *target) attributes(ctx context.Context, current, other *user) error {
	alter := "ALTER USER " + name(other.name) + " "
	var clauses []string
	for i, want := range current.attributes {
		if want != other.attributes[i] {
			clauses = append(clauses, want)
		}
	}
	for _, have := range other.settings {
		key, _, _ := strings.Cut(have, "=")
		if !slices.ContainsFunc(current.settings, func(s string) bool { return strings.HasPrefix(s, key+"=") }) {
			clauses = append(clauses, "RESET "+name(key))
		}
	}
	for _, c := range clauses {
		if err := t.Change(ctx, alter+c); err != nil {
			return err
		}
	}
	for _, want := range current.settings {
		if slices.Contains(other.settings, want) {
			continue
		}
		key, value, _ := strings.Cut(want, "=")
		items := []string{value}
		if key == "search_path" {
			// This is the only setting that is a list of names, which are stored quoted.
			items = pgsession.Names(value)
		}
		var quoted []string
		for _, item := range items {
			quoted = append(quoted, pgsession.Literal(item))
		}
		// A setting's value may be a key, which must not appear in an error or a log.
		shown := alter + "SET " + name(key)
		if err := t.Exec(ctx, shown, shown+" TO "+strings.Join(quoted, ", "), items...); err != nil {
			return err
		}
		t.Request.Changed(shown)
	}
	return nil
}
