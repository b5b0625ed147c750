package redshift

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/parity"
)

// right is something that a user was granted by name: what stands between GRANT
// or REVOKE and the user's name, and the same for an option to hand it on.
type right struct {
	prefix string // before GRANT or REVOKE, for default privileges
	what   string // such as `SELECT ON "s"."t"`
	option string // such as WITH GRANT OPTION, or ""
	kind   kind
}

// kind is how a right is given and taken.
type kind int

const (
	grant kind = iota // GRANT … TO, REVOKE … FROM
	group             // ALTER GROUP … ADD USER, ALTER GROUP … DROP USER
)

// give returns the statement that gives the right to the user.
func (r right) give(user string) string {
	if r.kind == group {
		return "ALTER GROUP " + r.what + " ADD USER " + name(user)
	}
	s := r.prefix + "GRANT " + r.what + " TO " + name(user)
	if r.option != "" {
		s += " " + r.option
	}
	return s
}

// take returns the statement that takes the right from the user.
func (r right) take(user string) string {
	if r.kind == group {
		return "ALTER GROUP " + r.what + " DROP USER " + name(user)
	}
	return r.prefix + "REVOKE " + r.what + " FROM " + name(user)
}

// view is a system view of rights and how a row of it becomes a right.
type view struct {
	query string // one row: texts, then whether the right may be handed on
	texts int
	right func(t []string) (prefix, what string)
	// handOn is the clause for a right that may be handed on.
	handOn string
}

// clusterViews show rights that do not belong to one database.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/svv_views.html
var clusterViews = []view{
	{`SELECT role_name, admin_option FROM svv_user_grants WHERE user_name = $1`, 1,
		func(t []string) (string, string) { return "", "ROLE " + name(t[0]) }, "WITH ADMIN OPTION"},
	{`SELECT privilege_type, privilege_scope, database_name, admin_option FROM svv_database_privileges WHERE identity_type = 'user' AND identity_name = $1`, 3,
		func(t []string) (string, string) { return "", t[0] + scoped(t[1], "DATABASE", t[2]) }, "WITH GRANT OPTION"},
}

// databaseViews show rights in the database of the session.
var databaseViews = []view{
	{`SELECT privilege_type, privilege_scope, namespace_name, admin_option FROM svv_schema_privileges WHERE identity_type = 'user' AND identity_name = $1`, 3,
		func(t []string) (string, string) { return "", t[0] + scoped(t[1], "SCHEMA", t[2]) }, "WITH GRANT OPTION"},
	{`SELECT privilege_type, namespace_name, relation_name, admin_option FROM svv_relation_privileges WHERE identity_type = 'user' AND identity_name = $1`, 3,
		func(t []string) (string, string) { return "", t[0] + " ON " + name(t[1]) + "." + name(t[2]) }, "WITH GRANT OPTION"},
	{`SELECT privilege_type, column_name, namespace_name, relation_name, false FROM svv_column_privileges WHERE identity_type = 'user' AND identity_name = $1`, 4,
		func(t []string) (string, string) {
			return "", t[0] + " (" + name(t[1]) + ") ON " + name(t[2]) + "." + name(t[3])
		}, ""},
	{`SELECT privilege_type, namespace_name, function_name, argument_types, admin_option FROM svv_function_privileges WHERE identity_type = 'user' AND identity_name = $1`, 4,
		func(t []string) (string, string) {
			return "", t[0] + " ON FUNCTION " + name(t[1]) + "." + name(t[2]) + "(" + t[3] + ")"
		}, "WITH GRANT OPTION"},
	{`SELECT privilege_type, language_name, admin_option FROM svv_language_privileges WHERE identity_type = 'user' AND identity_name = $1`, 2,
		func(t []string) (string, string) { return "", t[0] + " ON LANGUAGE " + name(t[1]) }, "WITH GRANT OPTION"},
	{`SELECT privilege_type, object_type, owner_name, coalesce(schema_name, ''), admin_option FROM svv_default_privileges WHERE grantee_type = 'user' AND grantee_name = $1`, 4,
		func(t []string) (string, string) {
			prefix := "ALTER DEFAULT PRIVILEGES FOR USER " + name(t[2]) + " "
			if t[3] != "" {
				prefix += "IN SCHEMA " + name(t[3]) + " "
			}
			objects := map[string]string{"RELATION": "TABLES", "FUNCTION": "FUNCTIONS", "PROCEDURE": "PROCEDURES"}[t[1]]
			return prefix, t[0] + " ON " + objects
		}, "WITH GRANT OPTION"},
}

// scoped writes the object of a right on a database or schema, or of one on
// all things in it.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/t_scoped-permissions.html
func scoped(scope, object, of string) string {
	if scope == object {
		return " ON " + object + " " + name(of)
	}
	return " FOR " + scope + " IN " + object + " " + name(of)
}

// word is what may stand in a statement as the server's views give it: the kind
// of a right, or the types of a function's arguments. Types are built in, so
// that anything else is a name made to be read as something else.
var word = regexp.MustCompile(`^[A-Za-z0-9_ ,()\[\]]*$`)

// read returns the rights that the views show for the user.
func (s *session) read(ctx context.Context, tx pgx.Tx, views []view, user string) ([]right, error) {
	const what = "the user's rights could not be read"
	var rights []right
	for _, v := range views {
		rows, err := tx.Query(ctx, v.query, user)
		if err != nil {
			return nil, s.classify(what, err)
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (right, error) {
			texts := make([]string, v.texts)
			var handOn bool
			into := make([]any, 0, v.texts+1)
			for i := range texts {
				into = append(into, &texts[i])
			}
			if err := row.Scan(append(into, &handOn)...); err != nil {
				return right{}, err
			}
			r := right{}
			r.prefix, r.what = v.right(texts)
			if handOn {
				r.option = v.handOn
			}
			// The words that stand unquoted are the right itself and a scope or
			// the types of arguments.
			unquoted := []string{texts[0]}
			if strings.Contains(v.query, "privilege_scope") {
				unquoted = append(unquoted, texts[1])
			}
			if strings.Contains(v.query, "argument_types") {
				unquoted = append(unquoted, texts[3])
			}
			for _, u := range unquoted {
				if v.texts > 1 && !word.MatchString(u) {
					return right{}, engine.Errorf(engine.PrivilegeMissing, "bring both users to the same rights by hand", "the user %q has a right %q that is not known", user, u)
				}
			}
			return r, nil
		})
		if err != nil {
			return nil, s.classify(what, err)
		}
		rights = append(rights, found...)
	}
	return rights, nil
}

// groups returns the user's groups, but for those that mark pairs.
func (s *session) groups(ctx context.Context, tx pgx.Tx, user string) ([]right, error) {
	const what = "the user's groups could not be read"
	rows, err := tx.Query(ctx, "SELECT g.groname FROM pg_group g, pg_user u WHERE u.usename = $1 AND u.usesysid = ANY (g.grolist)", user)
	if err != nil {
		return nil, s.classify(what, err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, s.classify(what, err)
	}
	var groups []right
	for _, n := range names {
		if !strings.HasPrefix(n, markPrefix) {
			groups = append(groups, right{what: name(n), kind: group})
		}
	}
	return groups, nil
}

// owned returns the tables and schemas that a user owns, as they are quoted in
// rights, with the rights that an owner has without being granted them.
func (s *session) owned(ctx context.Context, tx pgx.Tx, user string) (objects []string, rights []right, err error) {
	const what = "the user's objects could not be read"
	rows, err := tx.Query(ctx, `SELECT n.nspname, c.relname FROM pg_class c, pg_namespace n, pg_user u
	WHERE n.oid = c.relnamespace AND c.relowner = u.usesysid AND u.usename = $1 AND c.relkind IN ('r', 'v')
	UNION ALL SELECT n.nspname, '' FROM pg_namespace n, pg_user u WHERE n.nspowner = u.usesysid AND u.usename = $1`, user)
	if err != nil {
		return nil, nil, s.classify(what, err)
	}
	var schema, relation string
	_, err = pgx.ForEachRow(rows, []any{&schema, &relation}, func() error {
		if relation == "" {
			on := " ON SCHEMA " + name(schema)
			objects = append(objects, on)
			rights = append(rights, right{what: "USAGE" + on}, right{what: "CREATE" + on})
			return nil
		}
		on := " ON " + name(schema) + "." + name(relation)
		objects = append(objects, on)
		for _, p := range []string{"SELECT", "INSERT", "UPDATE", "DELETE", "REFERENCES"} {
			rights = append(rights, right{what: p + on})
		}
		return nil
	})
	return objects, rights, s.classify(what, err)
}

// both returns the rights of both users in this database that can be compared.
// With cluster they cover groups, roles and rights on databases, too. What
// belongs to the other user itself is left out: an owner needs no grant.
func (s *session) both(ctx context.Context, tx pgx.Tx, p twoUsers, cluster bool) (want, have []right, err error) {
	views := databaseViews
	if cluster {
		views = slices.Concat(clusterViews, databaseViews)
	}
	of := func(user string) []right {
		var rights, groups []right
		if err == nil {
			rights, err = s.read(ctx, tx, views, user)
		}
		if err == nil && cluster {
			groups, err = s.groups(ctx, tx, user)
		}
		return slices.Concat(groups, rights)
	}
	want, have = of(p.current), of(p.other)
	if err != nil {
		return nil, nil, err
	}
	theirs, implied, err := s.owned(ctx, tx, p.current)
	if err != nil {
		return nil, nil, err
	}
	mine, _, err := s.owned(ctx, tx, p.other)
	if err != nil {
		return nil, nil, err
	}
	// The views show an owner's rights on its objects once anybody else has some.
	want = append(beside(want, theirs), implied...)
	return beside(want, mine), beside(have, mine), nil
}

// beside returns the rights but for those on the objects.
func beside(rights []right, objects []string) []right {
	return slices.DeleteFunc(slices.Clone(rights), func(r right) bool {
		return slices.ContainsFunc(objects, func(object string) bool { return strings.HasSuffix(r.what, object) })
	})
}

// level gives the other user the current one's rights in this database and takes
// what it has beyond them.
func (s *session) level(ctx context.Context, tx pgx.Tx, p twoUsers, cluster bool) error {
	left, err := parity.Level(
		func() ([]right, []right, error) { return s.both(ctx, tx, p, cluster) },
		func(r right) error { return s.exec(ctx, tx, r.take(p.other)) },
		func(r right) error { return s.exec(ctx, tx, r.give(p.other)) })
	if err == nil && len(left) > 0 {
		err = engine.Errorf(engine.PrivilegeMissing, "give both users the same by hand, or the superuser the right to",
			"the users %q and %q differ in %s%s", p.current, p.other, left[0].prefix, left[0].what)
	}
	return err
}
