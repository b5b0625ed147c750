package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
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

// users returns the change of the request.
func (s *session) users(r *engine.Request) (c pair.Change, err error) {
	current, err := parse(r.Current)
	if err != nil {
		return c, err
	}
	pending, err := parse(r.Pending)
	return pair.Change{Kind: s.engine.Kind(), Request: r, Superuser: s.Target.User, Current: current.User, Pending: pending.User, Marked: !r.Adopt}, err
}

// role is what the server knows of a role.
type role struct {
	oid     uint32
	name    string
	power   string // that makes it an administrator, or ""
	login   bool
	flags   map[string]bool // by the word that switches it on
	limit   int
	until   string // as the server writes it, "" for no end
	comment string
	groups  []uint32 // those that it is a member of itself
}

// flags are the attributes that a second user shares with the first. INHERIT is not one: the second
// always inherits, so it has the first's rights before its sessions become the first.
var flags = []string{"CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS"}

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

// grant runs a statement and reports it.
func (t *target) grant(ctx context.Context, format string, args ...string) error {
	shown, err := t.exec(ctx, t.tx, format, args...)
	if err == nil {
		t.request.Changed(shown)
	}
	return err
}

// optional calls what may fail because the login has not the right to it, or the server does not know
// the object, and returns that error as denied.
func (t *target) optional(ctx context.Context, do func() error) (denied, err error) {
	savepoint, err := t.tx.Begin(ctx)
	if err != nil {
		return nil, t.classify("no savepoint", err)
	}
	switch err = do(); {
	case code(err) == "42501" || code(err) == "42704":
		return err, t.classify("the savepoint is lost", savepoint.Rollback(ctx))
	case err != nil:
		return nil, err
	}
	return nil, t.classify("the savepoint is lost", savepoint.Commit(ctx))
}

// join makes the second user a member of the first that has its rights and can become it. From
// version 16 on, that is said by each membership.
func (t *target) join(ctx context.Context, first, second *role) error {
	complete := "true"
	options := ""
	if t.major >= 16 {
		complete, options = "inherit_option AND set_option", " WITH INHERIT TRUE, SET TRUE"
	}
	var member bool
	if err := t.tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_auth_members WHERE roleid = $1 AND member = $2 AND "+complete+")", first.oid, second.oid).Scan(&member); err != nil {
		return t.classify("memberships could not be read", err)
	}
	if member {
		return nil
	}
	return t.denied(t.grant(ctx, "GRANT %I TO %I"+options, first.name, second.name), t.adviceChange(first.name))
}

// attributes gives the other user the current one's attributes.
func (t *target) attributes(ctx context.Context, current, other *role, second bool) error {
	var words, args []string
	if !other.login {
		words = append(words, "LOGIN")
	}
	if second {
		var inherits bool
		if err := t.tx.QueryRow(ctx, "SELECT rolinherit FROM pg_catalog.pg_roles WHERE oid = $1", other.oid).Scan(&inherits); err != nil {
			return t.classify("the role could not be read", err)
		}
		if !inherits {
			words = append(words, "INHERIT")
		}
	}
	for _, f := range flags {
		switch {
		case current.flags[f] && !other.flags[f]:
			words = append(words, f)
		case !current.flags[f] && other.flags[f]:
			words = append(words, "NO"+f)
		}
	}
	if current.limit != other.limit {
		words = append(words, fmt.Sprintf("CONNECTION LIMIT %d", current.limit))
	}
	if current.until != other.until {
		words = append(words, "VALID UNTIL %L")
		args = append(args, cmp.Or(current.until, "infinity"))
	}
	if words == nil {
		return nil
	}
	err := t.grant(ctx, "ALTER ROLE %I "+strings.Join(words, " "), append([]string{other.name}, args...)...)
	return t.denied(err, t.adviceChange(other.name)+"; and give it the attributes that it gives")
}

// foreign reports what the second user owns or was granted by name. It stays: whoever made or granted
// it did so without being asked, and what it takes over is an operator's choice.
func (t *target) foreign(ctx context.Context, first, second *role) error {
	rows, err := t.tx.Query(ctx, `SELECT 'a member of ' || quote_ident(pg_get_userbyid(roleid)) FROM pg_catalog.pg_auth_members WHERE member = $1 AND roleid <> $2 AND NOT pg_has_role($2, roleid, 'MEMBER')
	UNION ALL SELECT format('%s of %s objects or rights in %s', CASE deptype WHEN 'o' THEN 'the owner' WHEN 'r' THEN 'named by policies' ELSE 'the holder' END, count(*), coalesce('the database ' || quote_ident(d.datname), 'the whole server'))
	FROM pg_catalog.pg_shdepend s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid
	WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.refobjid = $1 AND s.deptype IN ('o', 'a', 'r')
		AND s.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass) GROUP BY deptype, d.datname ORDER BY 1`, second.oid, first.oid)
	if err != nil {
		return t.classify("the second user's rights could not be read", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return t.classify("the second user's rights could not be read", err)
	}
	for _, f := range found {
		t.request.Warn("the second user " + second.name + " is by itself " + f + ", which " + first.name + " and so the application is not; `rotatorctl adopt` shows it")
	}
	return nil
}
