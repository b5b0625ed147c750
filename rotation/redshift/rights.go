package redshift

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// places matches texts (%s) and names (%I) in a format.
var places = lazyregexp.New("%[sI]")

// opposite turns the format of a granting statement into that of the revoking one.
var opposite = strings.NewReplacer("GRANT ", "REVOKE ", " TO", " FROM", " ADD ", " DROP ")

// newRight fills a format with texts and returns the right that the statement grants to a user.
func newRight(user, option, format string, texts ...string) pair.Right {
	fill := func(format string) string {
		i := -1
		return places().ReplaceAllStringFunc(format, func(place string) string {
			i++
			if place == "%I" {
				return name(texts[i])
			}
			return texts[i]
		}) + " " + name(user)
	}
	return pair.Right{Give: fill(format) + option, Take: fill(opposite.Replace(format))}
}

// view is a system view of rights. The columns of a row fill the format of the granting statement; an extra one shows
// whether the right has the grant option.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/svv_views.html
type view struct {
	query, format string
	handOn        string // the clause for a right with grant option
}

const grantOption = " WITH GRANT OPTION"

// privileges returns the query for a view of rights with the usual columns.
func privileges(of, columns string) string {
	return "SELECT " + columns + " FROM svv_" + of + "_privileges WHERE identity_type = 'user' AND identity_name = $1"
}

// scope returns what precedes the name of a database or schema: a right is on it, or scoped to its objects.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/t_scoped-permissions.html
func scope(of string) string {
	return "CASE privilege_scope WHEN '" + of + "' THEN 'ON' ELSE 'FOR ' || privilege_scope || ' IN' END"
}

// clusterViews show rights that are the same in every database.
var clusterViews = []view{
	{`SELECT g.groname, false FROM pg_group g, pg_user u WHERE u.usename = $1 AND u.usesysid = ANY (g.grolist)
	AND g.groname NOT LIKE '` + markPrefix + `%'`, "ALTER GROUP %I ADD USER", ""},
	{"SELECT role_name, admin_option FROM svv_user_grants WHERE user_name = $1", "GRANT ROLE %I TO", " WITH ADMIN OPTION"},
	{privileges("database", "privilege_type, "+scope("DATABASE")+", database_name, admin_option"),
		"GRANT %s %s DATABASE %I TO", grantOption},
}

var databaseViews = []view{
	{privileges("schema", "privilege_type, "+scope("SCHEMA")+", namespace_name, admin_option"),
		"GRANT %s %s SCHEMA %I TO", grantOption},
	{privileges("relation", "privilege_type, namespace_name, relation_name, admin_option"),
		"GRANT %s ON %I.%I TO", grantOption},
	{privileges("column", "privilege_type, column_name, namespace_name, relation_name, false"),
		"GRANT %s (%I) ON %I.%I TO", ""},
	{privileges("function", "privilege_type, namespace_name, function_name, argument_types, admin_option"),
		"GRANT %s ON FUNCTION %I.%I(%s) TO", grantOption},
	{privileges("language", "privilege_type, language_name, admin_option"), "GRANT %s ON LANGUAGE %I TO", grantOption},
	{`SELECT owner_name, CASE WHEN schema_name <> '' THEN 'IN SCHEMA ' || quote_ident(schema_name) || ' ' ELSE '' END,
	privilege_type, CASE object_type WHEN 'RELATION' THEN 'TABLES' WHEN 'FUNCTION' THEN 'FUNCTIONS'
		WHEN 'PROCEDURE' THEN 'PROCEDURES' ELSE '?' || object_type END, admin_option
	FROM svv_default_privileges WHERE grantee_type = 'user' AND grantee_name = $1`,
		"ALTER DEFAULT PRIVILEGES FOR USER %I %sGRANT %s ON %s TO", grantOption},
}

// quoted and word match the parts of a right's statement. A right is never executed if, outside quoted names, it has
// more than the words, parentheses and commas of a kind of right, a scope or built-in types.
var (
	quoted = lazyregexp.New(`"([^"]|"")*"`)
	word   = lazyregexp.New(`^[A-Za-z0-9_ ,.()\[\]]*$`)
)

func strange(statement string) bool {
	return !word().MatchString(quoted().ReplaceAllString(statement, ""))
}

// read returns the rights that the views show for user, as rights of the user to.
func (t *target) read(ctx context.Context, views []view, user, to string) (rights []pair.Right, err error) {
	for _, v := range views {
		rows, err := t.Query(ctx, "the user's rights could not be read", strings.Count(v.format, "%")+1, v.query, user)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			option := ""
			if row[len(row)-1] == "t" {
				option = v.handOn
			}
			rights = append(rights, newRight(to, option, v.format, row...))
		}
	}
	return rights, nil
}

// owned returns the tables and schemas that a user owns, quoted as in rights, with an owner's rights for the user to.
func (t *target) owned(ctx context.Context, user, to string) (objects []string, rights []pair.Right, err error) {
	rows, err := t.Query(ctx, "the user's objects could not be read", 2, `
SELECT n.nspname, c.relname FROM pg_class c, pg_namespace n, pg_user u
	WHERE n.oid = c.relnamespace AND c.relowner = u.usesysid AND u.usename = $1 AND c.relkind IN ('r', 'v')
	UNION ALL SELECT n.nspname, '' FROM pg_namespace n, pg_user u WHERE n.nspowner = u.usesysid AND u.usename = $1`, user)
	for _, row := range rows {
		schema, relation := row[0], row[1]
		on, implied := "ON SCHEMA "+name(schema), []string{"USAGE", "CREATE"}
		if relation != "" {
			on = "ON " + name(schema) + "." + name(relation)
			implied = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "REFERENCES"}
		}
		objects = append(objects, on)
		for _, p := range implied {
			rights = append(rights, newRight(to, "", "GRANT %s %s TO", p, on))
		}
	}
	return objects, rights, err
}

// level makes the other user's rights in the views equal to the current user's, except those that others granted.
func (t *target) level(ctx context.Context, current, other *user, views []view) error {
	var want, have []pair.Right
	without := func(rights []pair.Right, objects []string) []pair.Right {
		return slices.DeleteFunc(rights, func(r pair.Right) bool {
			return slices.ContainsFunc(objects, func(on string) bool {
				return strings.HasSuffix(strings.TrimSuffix(r.Give, grantOption), " "+on+" TO "+name(other.name))
			})
		})
	}
	left, err := pair.Level(func() ([]pair.Right, []pair.Right, error) {
		theirs, implied, err := t.owned(ctx, current.name, other.name)
		if err != nil {
			return nil, nil, err
		}
		mine, _, err := t.owned(ctx, other.name, other.name)
		if err == nil {
			want, err = t.read(ctx, views, current.name, other.name)
		}
		if err == nil {
			have, err = t.read(ctx, views, other.name, other.name)
		}
		// The views show an owner's rights on an object once another user has rights on it.
		want, have = without(append(without(want, theirs), implied...), mine), without(have, mine)
		return want, have, err
	}, func(statement string) error {
		if strange(statement) {
			return nil
		}
		return t.exec(ctx, statement)
	})
	if err != nil {
		return err
	}
	for _, r := range left {
		switch {
		case strange(r.Give) || !slices.Contains(want, r):
			t.Request.Warn(fmt.Sprintf("the users %q and %q differ in a right that only its grantor can level: %s",
				current.name, other.name, r.Give))
		case !slices.ContainsFunc(have, func(h pair.Right) bool { return h.Give == r.Give+grantOption }):
			return engine.Errorf(engine.PrivilegeMissing, "give both users the same by hand",
				"the user %q cannot be given what %q has: %s", other.name, current.name, r.Give)
		}
	}
	return nil
}
