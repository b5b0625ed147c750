package redshift

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/parity"
)

// right is a right granted to a user: the beginnings of the statements that grant and revoke it, up to the user's
// name, and the end of the granting one, such as WITH GRANT OPTION.
type right struct{ give, take, option string }

// places matches texts (%s) and names (%I) in a format.
var places = lazyregexp.New("%[sI]")

// opposite turns the format of a granting statement into that of the revoking one.
var opposite = strings.NewReplacer("GRANT ", "REVOKE ", " TO", " FROM", " ADD ", " DROP ")

// newRight returns the right that a format's statement, filled with the texts, grants.
func newRight(format string, texts ...string) right {
	fill := func(format string) string {
		i := -1
		return places.ReplaceAllStringFunc(format, func(place string) string {
			i++
			if place == "%I" {
				return name(texts[i])
			}
			return texts[i]
		})
	}
	return right{give: fill(format), take: fill(opposite.Replace(format))}
}

// view is a system view of rights. The columns of a row fill the format of the granting statement; one more says
// whether the right has the grant option.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/svv_views.html
type view struct {
	query, format string
	handOn        string // the clause for a right with grant option
}

const grantOption = "WITH GRANT OPTION"

// clusterViews show what is the same in every database. A right is on a database or schema, or scoped to its objects.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/t_scoped-permissions.html
var clusterViews = []view{
	{`SELECT g.groname, false FROM pg_group g, pg_user u WHERE u.usename = $1 AND u.usesysid = ANY (g.grolist) AND g.groname NOT LIKE '` + markPrefix + `%'`,
		"ALTER GROUP %I ADD USER", ""},
	{`SELECT role_name, admin_option FROM svv_user_grants WHERE user_name = $1`, "GRANT ROLE %I TO", "WITH ADMIN OPTION"},
	{`SELECT privilege_type, CASE privilege_scope WHEN 'DATABASE' THEN 'ON' ELSE 'FOR ' || privilege_scope || ' IN' END, database_name, admin_option
	FROM svv_database_privileges WHERE identity_type = 'user' AND identity_name = $1`, "GRANT %s %s DATABASE %I TO", grantOption},
}

var databaseViews = []view{
	{`SELECT privilege_type, CASE privilege_scope WHEN 'SCHEMA' THEN 'ON' ELSE 'FOR ' || privilege_scope || ' IN' END, namespace_name, admin_option
	FROM svv_schema_privileges WHERE identity_type = 'user' AND identity_name = $1`, "GRANT %s %s SCHEMA %I TO", grantOption},
	{`SELECT privilege_type, namespace_name, relation_name, admin_option FROM svv_relation_privileges WHERE identity_type = 'user' AND identity_name = $1`,
		"GRANT %s ON %I.%I TO", grantOption},
	{`SELECT privilege_type, column_name, namespace_name, relation_name, false FROM svv_column_privileges WHERE identity_type = 'user' AND identity_name = $1`,
		"GRANT %s (%I) ON %I.%I TO", ""},
	{`SELECT privilege_type, namespace_name, function_name, argument_types, admin_option FROM svv_function_privileges WHERE identity_type = 'user' AND identity_name = $1`,
		"GRANT %s ON FUNCTION %I.%I(%s) TO", grantOption},
	{`SELECT privilege_type, language_name, admin_option FROM svv_language_privileges WHERE identity_type = 'user' AND identity_name = $1`,
		"GRANT %s ON LANGUAGE %I TO", grantOption},
	{`SELECT owner_name, CASE WHEN schema_name <> '' THEN 'IN SCHEMA ' || quote_ident(schema_name) || ' ' ELSE '' END, privilege_type,
	CASE object_type WHEN 'RELATION' THEN 'TABLES' WHEN 'FUNCTION' THEN 'FUNCTIONS' WHEN 'PROCEDURE' THEN 'PROCEDURES' ELSE '?' || object_type END, admin_option
	FROM svv_default_privileges WHERE grantee_type = 'user' AND grantee_name = $1`, "ALTER DEFAULT PRIVILEGES FOR USER %I %sGRANT %s ON %s TO", grantOption},
}

// quoted and word match the parts of a right's statement. A right whose text, except quoted names, has more than the
// words, parentheses and commas of a kind of right, a scope or built-in types must not become part of a statement.
var (
	quoted = lazyregexp.New(`"([^"]|"")*"`)
	word   = lazyregexp.New(`^[A-Za-z0-9_ ,.()\[\]]*$`)
)

func (r right) strange() bool { return !word.MatchString(quoted.ReplaceAllString(r.give, "")) }

func (t *target) read(ctx context.Context, views []view, user string) (rights []right, err error) {
	for _, v := range views {
		rows, err := t.Query(ctx, strings.Count(v.format, "%")+1, v.query, user)
		if err != nil {
			return nil, t.Classify("the user's rights could not be read", err)
		}
		for _, row := range rows {
			r := newRight(v.format, row...)
			if row[len(row)-1] == "t" {
				r.option = v.handOn
			}
			rights = append(rights, r)
		}
	}
	return rights, nil
}

// owned returns the tables and schemas that a user owns, quoted as in rights, with the rights of an owner.
func (t *target) owned(ctx context.Context, user string) (objects []string, rights []right, err error) {
	rows, err := t.Query(ctx, 2, `SELECT n.nspname, c.relname FROM pg_class c, pg_namespace n, pg_user u
	WHERE n.oid = c.relnamespace AND c.relowner = u.usesysid AND u.usename = $1 AND c.relkind IN ('r', 'v')
	UNION ALL SELECT n.nspname, '' FROM pg_namespace n, pg_user u WHERE n.nspowner = u.usesysid AND u.usename = $1`, user)
	for _, row := range rows {
		schema, relation := row[0], row[1]
		on, implied := "ON SCHEMA "+name(schema), []string{"USAGE", "CREATE"}
		if relation != "" {
			on, implied = "ON "+name(schema)+"."+name(relation), []string{"SELECT", "INSERT", "UPDATE", "DELETE", "REFERENCES"}
		}
		objects = append(objects, on)
		for _, p := range implied {
			rights = append(rights, newRight("GRANT %s %s TO", p, on))
		}
	}
	return objects, rights, t.Classify("the user's objects could not be read", err)
}

func without(rights []right, objects []string) []right {
	return slices.DeleteFunc(slices.Clone(rights), func(r right) bool {
		return slices.ContainsFunc(objects, func(object string) bool { return strings.HasSuffix(r.give, " "+object+" TO") })
	})
}

// level makes the other user's rights in the views equal to the current user's, except grants of others.
func (t *target) level(ctx context.Context, current, other *user, views []view) error {
	var want, have []right
	change := func(r right, statement, option string) error {
		if r.strange() {
			return nil
		}
		return t.exec(ctx, strings.TrimSpace(statement+" "+name(other.name)+" "+option))
	}
	take := func(r right) error { return change(r, r.take, "") }
	give := func(r right) error { return change(r, r.give, r.option) }
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
		// The views show an owner's rights on its objects once another user has some.
		want, have = without(append(without(want, theirs), implied...), mine), without(have, mine)
		return want, have, err
	}, take, give)
	if err != nil {
		return err
	}
	for _, r := range left {
		more := r
		more.option = cmp.Or(r.option, "WITH GRANT OPTION")
		switch {
		case r.strange() || !slices.Contains(want, r):
			t.Request.Warn(fmt.Sprintf("the users %q and %q differ in a right that only its grantor can level: %s %s", current.name, other.name, r.give, r.option))
		case !slices.Contains(have, more):
			return engine.Errorf(engine.PrivilegeMissing, "give both users the same by hand", "the user %q cannot be given what %q has: %s", other.name, current.name, r.give)
		}
	}
	return nil
}
