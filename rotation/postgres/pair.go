package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
)

// target is a superuser's transaction, for package pair. Of two users that alternate one, the first,
// owns everything and holds every right; the second is a member of it whose sessions become the
// first when they log in. So an object that either makes belongs to the first, and a right that the
// first gets or loses, both get or lose.
type target struct {
	*session
	tx       pgx.Tx
	request  *engine.Request
	verifier string
}

// Find returns a role, or nil where there is none. An administrator is a superuser; until version
// 15, who has CREATEROLE, and so can change every other role; and a member of one that has the powers
// of the server's process, or of the superuser that acts here. On RDS and its like nobody else is a
// superuser: there it is the members of the provider's role.
// Source: https://www.postgresql.org/docs/current/predefined-roles.html
func (t *target) Find(ctx context.Context, name string) (*role, error) {
	r := &role{name: name}
	on := make([]bool, len(flags))
	err := t.tx.QueryRow(ctx, `SELECT oid, CASE WHEN rolsuper THEN 'a superuser'
	WHEN rolcreaterole AND $2 < 16 THEN 'a role with CREATEROLE'
	ELSE coalesce((SELECT 'a member of ' || p.rolname FROM pg_catalog.pg_roles p WHERE p.oid <> r.oid AND pg_has_role(r.oid, p.oid, 'MEMBER')
		AND (p.rolsuper OR p.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files', 'rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', session_user))
		ORDER BY p.rolname LIMIT 1), '') END,
	rolcanlogin, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolconnlimit,
	coalesce(rolvaliduntil::text, ''), coalesce(shobj_description(oid, 'pg_authid'), ''), ARRAY(SELECT roleid FROM pg_catalog.pg_auth_members WHERE member = r.oid)
	FROM pg_catalog.pg_roles r WHERE rolname = $1`, name, t.major).
		Scan(&r.oid, &r.power, &r.login, &on[0], &on[1], &on[2], &on[3], &r.limit, &r.until, &r.comment, &r.groups)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	r.flags = make(map[string]bool, len(flags))
	for i, f := range flags {
		r.flags[f] = on[i]
	}
	return r, t.classify("the role could not be read", err)
}

// Administrator returns what makes the role one.
func (t *target) Administrator(_ context.Context, r *role) (string, error) { return r.power, nil }

// Exceeds returns an attribute by which the other role could do more than its own work.
func (t *target) Exceeds(_ context.Context, current, other *role) (string, error) {
	for _, f := range flags[1:] {
		if other.flags[f] && !current.flags[f] {
			return f, nil
		}
	}
	return "", nil
}

// mark is the comment that tells a second user from a stranger of that name. By
// itself it proves nothing: from version 16 on, whoever has CREATEROLE can make a role
// of any name and comment on it, and only not give it rights of another. See Marked.
func mark(first string) string { return fmt.Sprintf("rotator: second user of %q", first) }

// Marked reports whether a role is the second user of the other by its mark and by being
// a member of it, which takes ADMIN OPTION on the other, and until version 15
// CREATEROLE, with which one may change both anyhow. The engine gives a second user
// both in the transaction that creates it.
// Source: https://www.postgresql.org/docs/18/sql-createrole.html (CREATEROLE)
func (t *target) Marked(_ context.Context, current, other *role) (bool, error) {
	first, second := ranks(current, other)
	return second.comment == mark(first.name) && slices.Contains(second.groups, first.oid), nil
}

// ranks says which of the two is the first user: the mark decides, then the membership, and then
// the name.
func ranks(current, other *role) (first, second *role) {
	back := current.comment == mark(other.name)
	if !back && other.comment != mark(current.name) {
		back = slices.Contains(current.groups, other.oid)
		if !back && !slices.Contains(other.groups, current.oid) {
			back = current.name == other.name+"_clone"
		}
	}
	if back {
		return other, current
	}
	return current, other
}

// Mark returns the statements that make the two a pair.
func (t *target) Mark(current, other *role) string {
	first, second := ranks(current, other)
	statements := "COMMENT ON ROLE " + pgx.Identifier{second.name}.Sanitize() + " IS '" + strings.ReplaceAll(mark(first.name), "'", "''") + "'"
	if !slices.Contains(second.groups, first.oid) {
		statements = "GRANT " + pgx.Identifier{first.name}.Sanitize() + " TO " + pgx.Identifier{second.name}.Sanitize() + "; " + statements
	}
	return statements
}

// Rehearse is not called: a rehearsal makes the changes in a transaction that is rolled back.
func (t *target) Rehearse(context.Context, *role, *role) error { return nil }

// Create makes the role, which Equalize marks.
func (t *target) Create(ctx context.Context, _ *role, name string) (*role, error) {
	if _, err := t.exec(ctx, t.tx, "CREATE ROLE %I", name); err != nil {
		return nil, t.denied(err, "ALTER ROLE "+pgx.Identifier{t.Target.User}.Sanitize()+" CREATEROLE")
	}
	return t.Find(ctx, name)
}

// Equalize makes the second user a member of the first, copies attributes and settings, and reports
// what the second has of its own and the first has not.
func (t *target) Equalize(ctx context.Context, current, other *role) error {
	first, second := ranks(current, other)
	if err := t.join(ctx, first, second); err != nil {
		return err
	}
	if err := t.attributes(ctx, current, other, other == second); err != nil {
		return err
	}
	if err := t.settings(ctx, first.name, current, other); err != nil {
		return err
	}
	if second.comment != mark(first.name) {
		if err := t.grant(ctx, "COMMENT ON ROLE %I IS %L", second.name, mark(first.name)); err != nil {
			return err
		}
	}
	return t.foreign(ctx, first, second)
}

// SetPassword stores the verifier.
func (t *target) SetPassword(ctx context.Context, r *role) error {
	return t.setPassword(ctx, t.tx, r.name, t.verifier)
}
