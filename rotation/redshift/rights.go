package redshift

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/parity"
)

// right is something that a user was granted by name.
type right struct {
	prefix string // before GRANT or REVOKE, for default privileges
	what   string // such as `SELECT ON "s"."t"`
	option string // such as WITH GRANT OPTION, or ""
	group  bool   // membership in the group what
}

// give returns the statement that gives the right to the user.
func (r right) give(user string) string {
	if r.group {
		return "ALTER GROUP " + r.what + " ADD USER " + name(user)
	}
	return strings.TrimSpace(r.prefix + "GRANT " + r.what + " TO " + name(user) + " " + r.option)
}

// take returns the statement that takes the right from the user.
func (r right) take(user string) string {
	if r.group {
		return "ALTER GROUP " + r.what + " DROP USER " + name(user)
	}
	return r.prefix + "REVOKE " + r.what + " FROM " + name(user)
}

// view is a system view of rights and how a row of it becomes a right.
type view struct {
	query  string // one row: texts, then whether the right may be handed on
	texts  int
	right  func(t []string) right
	handOn string // the clause for a right that may be handed on
}

// clusterViews show what is the same in every database.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/svv_views.html
var clusterViews = []view{
	{`SELECT g.groname, false FROM pg_group g, pg_user u WHERE u.usename = $1 AND u.usesysid = ANY (g.grolist) AND g.groname NOT LIKE '` + markPrefix + `%'`, 1,
		func(t []string) right { return right{what: name(t[0]), group: true} }, ""},
	{`SELECT role_name, admin_option FROM svv_user_grants WHERE user_name = $1`, 1,
		func(t []string) right { return right{what: "ROLE " + name(t[0])} }, "WITH ADMIN OPTION"},
	{`SELECT privilege_type, privilege_scope, database_name, admin_option FROM svv_database_privileges WHERE identity_type = 'user' AND identity_name = $1`, 3,
		func(t []string) right { return right{what: t[0] + scoped(t[1], "DATABASE", t[2])} }, "WITH GRANT OPTION"},
}

// defaults are the objects of default privileges as the view has them, and as statements have them.
var defaults = map[string]string{"RELATION": "TABLES", "FUNCTION": "FUNCTIONS", "PROCEDURE": "PROCEDURES"}

// databaseViews show rights in the database of the session.
var databaseViews = []view{
	{`SELECT privilege_type, privilege_scope, namespace_name, admin_option FROM svv_schema_privileges WHERE identity_type = 'user' AND identity_name = $1`, 3,
		func(t []string) right { return right{what: t[0] + scoped(t[1], "SCHEMA", t[2])} }, "WITH GRANT OPTION"},
	{`SELECT privilege_type, namespace_name, relation_name, admin_option FROM svv_relation_privileges WHERE identity_type = 'user' AND identity_name = $1`, 3,
		func(t []string) right { return right{what: t[0] + " ON " + name(t[1]) + "." + name(t[2])} }, "WITH GRANT OPTION"},
	{`SELECT privilege_type, column_name, namespace_name, relation_name, false FROM svv_column_privileges WHERE identity_type = 'user' AND identity_name = $1`, 4,
		func(t []string) right {
			return right{what: t[0] + " (" + name(t[1]) + ") ON " + name(t[2]) + "." + name(t[3])}
		}, ""},
	{`SELECT privilege_type, namespace_name, function_name, argument_types, admin_option FROM svv_function_privileges WHERE identity_type = 'user' AND identity_name = $1`, 4,
		func(t []string) right {
			return right{what: t[0] + " ON FUNCTION " + name(t[1]) + "." + name(t[2]) + "(" + t[3] + ")"}
		}, "WITH GRANT OPTION"},
	{`SELECT privilege_type, language_name, admin_option FROM svv_language_privileges WHERE identity_type = 'user' AND identity_name = $1`, 2,
		func(t []string) right { return right{what: t[0] + " ON LANGUAGE " + name(t[1])} }, "WITH GRANT OPTION"},
	{`SELECT privilege_type, object_type, owner_name, coalesce(schema_name, ''), admin_option FROM svv_default_privileges WHERE grantee_type = 'user' AND grantee_name = $1`, 4,
		func(t []string) right {
			prefix := "ALTER DEFAULT PRIVILEGES FOR USER " + name(t[2]) + " "
			if t[3] != "" {
				prefix += "IN SCHEMA " + name(t[3]) + " "
			}
			return right{prefix: prefix, what: t[0] + " ON " + cmp.Or(defaults[t[1]], "?"+t[1])}
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

// A right is strange if its text, but for names in quotes, is more than the words, brackets and commas
// of a kind of right, a scope or built-in types: it must not become a part of a statement.
var (
	quoted = lazyregexp.New(`"([^"]|"")*"`)
	word   = lazyregexp.New(`^[A-Za-z0-9_ ,.()\[\]]*$`)
)

func (r right) strange() bool {
	return !word.MatchString(quoted.ReplaceAllString(r.prefix+r.what, ""))
}

// read returns the rights that the views show for the user.
func (t target) read(ctx context.Context, views []view, user string) (rights []right, err error) {
	for _, v := range views {
		rows, _ := t.tx.Query(ctx, v.query, user) // the rows have its error
		texts, handOn := make([]string, v.texts), false
		var row []any
		for i := range texts {
			row = append(row, &texts[i])
		}
		_, err := pgx.ForEachRow(rows, append(row, &handOn), func() error {
			r := v.right(texts)
			if handOn {
				r.option = v.handOn
			}
			rights = append(rights, r)
			return nil
		})
		if err != nil {
			return nil, t.classify("the user's rights could not be read", err)
		}
	}
	return rights, nil
}

// owned returns the tables and schemas that a user owns, as they are quoted in
// rights, with the rights that an owner has without being granted them.
func (t target) owned(ctx context.Context, user string) (objects []string, rights []right, err error) {
	rows, _ := t.tx.Query(ctx, `SELECT n.nspname, c.relname FROM pg_class c, pg_namespace n, pg_user u
	WHERE n.oid = c.relnamespace AND c.relowner = u.usesysid AND u.usename = $1 AND c.relkind IN ('r', 'v')
	UNION ALL SELECT n.nspname, '' FROM pg_namespace n, pg_user u WHERE n.nspowner = u.usesysid AND u.usename = $1`, user)
	var schema, relation string
	_, err = pgx.ForEachRow(rows, []any{&schema, &relation}, func() error {
		on, implied := " ON SCHEMA "+name(schema), []string{"USAGE", "CREATE"}
		if relation != "" {
			on, implied = " ON "+name(schema)+"."+name(relation), []string{"SELECT", "INSERT", "UPDATE", "DELETE", "REFERENCES"}
		}
		objects = append(objects, on)
		for _, p := range implied {
			rights = append(rights, right{what: p + on})
		}
		return nil
	})
	return objects, rights, t.classify("the user's objects could not be read", err)
}

// without returns the rights other than those on the objects.
func without(rights []right, objects []string) []right {
	return slices.DeleteFunc(slices.Clone(rights), func(r right) bool {
		return slices.ContainsFunc(objects, func(object string) bool { return strings.HasSuffix(r.what, object) })
	})
}

// level gives the other user the current one's rights in this database and takes
// what it has beyond them. What others granted, and only they can take, is left alone.
func (t target) level(ctx context.Context, current, other *user, cluster bool) error {
	views := databaseViews
	if cluster {
		views = slices.Concat(clusterViews, databaseViews)
	}
	var want, have []right
	change := func(statement func(right, string) string) func(right) error {
		return func(r right) error {
			if r.strange() {
				return nil
			}
			return t.exec(ctx, statement(r, other.name))
		}
	}
	left, err := parity.Level(func() ([]right, []right, error) {
		theirs, implied, err := t.owned(ctx, current.name)
		if err != nil {
			return nil, nil, err
		}
		mine, _, err := t.owned(ctx, other.name)
		if err == nil {
			want, err = t.read(ctx, views, current.name)
		}
		if err == nil {
			have, err = t.read(ctx, views, other.name)
		}
		// The views show an owner's rights on its objects once anybody else has some. An owner needs no grant.
		want, have = without(append(without(want, theirs), implied...), mine), without(have, mine)
		return want, have, err
	}, change(right.take), change(right.give))
	if err != nil {
		return err
	}
	for _, r := range left {
		more := r
		more.option = cmp.Or(r.option, "WITH GRANT OPTION")
		switch {
		case r.strange() || !slices.Contains(want, r):
			t.change.Request.Warn(fmt.Sprintf("the users %q and %q differ in a right that only its grantor can level: %s%s %s", current.name, other.name, r.prefix, r.what, r.option))
		case !slices.Contains(have, more):
			return engine.Errorf(engine.PrivilegeMissing, "give both users the same by hand", "the user %q cannot be given what %q has: %s%s", other.name, current.name, r.prefix, r.what)
		}
	}
	return nil
}
