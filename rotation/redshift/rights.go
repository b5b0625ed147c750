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

const grantOption = " WITH GRANT OPTION"

// query returns a query of rights. Each row has what precedes the user's name in the statements that grant and revoke
// the right, and the option with which it is granted.
func query(what, option, from string) string {
	return fmt.Sprintf("SELECT 'GRANT ' || %s || ' TO ', 'REVOKE ' || %[1]s || ' FROM ', %s FROM %s", what, option, from)
}

const mayGrant = "CASE WHEN admin_option THEN '" + grantOption + "' ELSE '' END"

// privileges is query for a view of rights with the usual columns.
func privileges(of, what, option string) string {
	return query("privilege_type || "+what, option,
		"svv_"+of+"_privileges WHERE identity_type = 'user' AND identity_name = $1")
}

// scope returns what precedes the name of a database or schema: a right is on it, or scoped to its objects.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/t_scoped-permissions.html
func scope(of string) string {
	return "CASE privilege_scope WHEN '" + of + "' THEN ' ON ' ELSE ' FOR ' || privilege_scope || ' IN ' END || '" +
		of + " ' || "
}

// queries return the rights of the user $1. They read Redshift's system views.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/svv_views.html
func queries() []string {
	return []string{
		`SELECT alter_group || ' ADD USER ', alter_group || ' DROP USER ', ''
		FROM (SELECT 'ALTER GROUP ' || quote_ident(groname) AS alter_group FROM pg_group, pg_user
			WHERE usename = $1 AND usesysid = ANY (grolist) AND groname NOT LIKE '` + markPrefix + `%') g`,
		query("'ROLE ' || quote_ident(role_name)", "CASE WHEN admin_option THEN ' WITH ADMIN OPTION' ELSE '' END",
			"svv_user_grants WHERE user_name = $1"),
		privileges("database", scope("DATABASE")+"quote_ident(database_name)", mayGrant),
		privileges("schema", scope("SCHEMA")+"quote_ident(namespace_name)", mayGrant),
		privileges("relation", "' ON ' || quote_ident(namespace_name) || '.' || quote_ident(relation_name)", mayGrant),
		privileges("column", `' (' || quote_ident(column_name) || ') ON ' || quote_ident(namespace_name) || '.' ||
		quote_ident(relation_name)`, "''"),
		privileges("function", `' ON FUNCTION ' || quote_ident(namespace_name) || '.' || quote_ident(function_name) ||
		'(' || argument_types || ')'`, mayGrant),
		privileges("language", "' ON LANGUAGE ' || quote_ident(language_name)", mayGrant),
		`SELECT maker || 'GRANT ' || what || ' TO ', maker || 'REVOKE ' || what || ' FROM ', ` + mayGrant + `
		FROM (SELECT 'ALTER DEFAULT PRIVILEGES FOR USER ' || quote_ident(owner_name) ||
			CASE WHEN schema_name <> '' THEN ' IN SCHEMA ' || quote_ident(schema_name) || ' ' ELSE ' ' END AS maker,
		privilege_type || ' ON ' || CASE object_type WHEN 'RELATION' THEN 'TABLES' WHEN 'FUNCTION' THEN 'FUNCTIONS'
			WHEN 'PROCEDURE' THEN 'PROCEDURES' ELSE '?' || object_type END AS what, admin_option
		FROM svv_default_privileges WHERE grantee_type = 'user' AND grantee_name = $1) d`,
	}
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

// read returns the rights that the queries show for user, as rights of the user to.
func (t *target) read(ctx context.Context, queries []string, user, to string) (rights []pair.Right, err error) {
	for _, query := range queries {
		rows, err := t.Query(ctx, "the user's rights could not be read", 3, query, user)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			rights = append(rights, pair.Right{Give: row[0] + name(to) + row[2], Take: row[1] + name(to)})
		}
	}
	return rights, nil
}

// owned returns the tables and schemas that a user owns, and an owner's rights on them for the user to.
func (t *target) owned(ctx context.Context, user, to string) (objects []string, rights []pair.Right, err error) {
	rows, err := t.Query(ctx, "the user's objects could not be read", 2, `
SELECT 'ON ' || quote_ident(nspname) || '.' || quote_ident(relname), 'SELECT,INSERT,UPDATE,DELETE,REFERENCES'
	FROM pg_class c, pg_namespace n, pg_user u
	WHERE n.oid = c.relnamespace AND c.relowner = u.usesysid AND u.usename = $1 AND c.relkind IN ('r', 'v')
UNION ALL SELECT 'ON SCHEMA ' || quote_ident(nspname), 'USAGE,CREATE'
	FROM pg_namespace n, pg_user u WHERE n.nspowner = u.usesysid AND u.usename = $1`, user)
	for _, row := range rows {
		objects = append(objects, row[0])
		for privilege := range strings.SplitSeq(row[1], ",") {
			what := privilege + " " + row[0]
			rights = append(rights, pair.Right{Give: "GRANT " + what + " TO " + name(to),
				Take: "REVOKE " + what + " FROM " + name(to)})
		}
	}
	return objects, rights, err
}

// level makes the other user's rights equal to the current user's, except those that others granted.
func (t *target) level(ctx context.Context, current, other *user) error {
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
			want, err = t.read(ctx, queries(), current.name, other.name)
		}
		if err == nil {
			have, err = t.read(ctx, queries(), other.name, other.name)
		}
		// The views show an owner's rights on an object once another user has rights on it.
		want, have = without(append(without(want, theirs), implied...), mine), without(have, mine)
		return want, have, err
	}, func(statement string) error {
		if strange(statement) {
			return nil
		}
		return t.Change(ctx, statement)
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
