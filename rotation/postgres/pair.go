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
	"example.com/rotator/rotation/internal/pgsession"
)

// twoUsers are the two users that alternate. One of them, the first, owns everything
// and holds every right; the second is a member of it whose sessions become the
// first when they log in. So an object that either makes belongs to the first,
// and a right that the first gets or loses, both get or lose.
type twoUsers struct {
	current, other string
	proved         bool // other is proved to be the secret's own
}

// role is what the server knows of a role.
type role struct {
	oid       uint32
	name      string
	superuser bool
	login     bool
	flags     map[string]bool // by the word that switches it on
	limit     int
	until     string // as the server writes it, "" for no end
	comment   string
}

// flags are the attributes that a second user shares with the first.
var flags = []string{"CREATEDB", "CREATEROLE", "INHERIT", "REPLICATION", "BYPASSRLS"}

// mark is the comment that tells a second user from a stranger of that name. By
// itself it proves nothing: from version 16 on, whoever has CREATEROLE can make a role
// of any name and comment on it, and only not give it rights of another. See bound.
func mark(first string) string { return fmt.Sprintf("rotator: second user of %q", first) }

// find returns a role, or nil where there is none.
func (s *session) find(ctx context.Context, tx pgx.Tx, name string) (*role, error) {
	r := &role{name: name}
	on := make([]bool, len(flags))
	err := tx.QueryRow(ctx, `SELECT oid, rolsuper, rolcanlogin, rolcreatedb, rolcreaterole, rolinherit, rolreplication, rolbypassrls, rolconnlimit,
	coalesce(rolvaliduntil::text, ''), coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_catalog.pg_roles WHERE rolname = $1`, name).
		Scan(&r.oid, &r.superuser, &r.login, &on[0], &on[1], &on[2], &on[3], &on[4], &r.limit, &r.until, &r.comment)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	r.flags = make(map[string]bool, len(flags))
	for i, f := range flags {
		r.flags[f] = on[i]
	}
	return r, s.classify("the role could not be read", err)
}

// ordinary returns a role that a superuser may change on the strength of a
// secret: it exists and is no superuser.
func (s *session) ordinary(ctx context.Context, tx pgx.Tx, name string) (*role, error) {
	r, err := s.find(ctx, tx, name)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "there is no role %q", name)
	case r.superuser:
		return nil, engine.Errorf(engine.TakeoverRefused, "rotate a superuser by its own secret, as a single user", "the role %q is a superuser", name)
	}
	return r, nil
}

// alternate makes the other user equal to the current one and sets its password
// last.
func (s *session) alternate(ctx context.Context, p twoUsers, verifier string, rehearsal bool) error {
	if err := s.transaction(ctx, true, func(tx pgx.Tx) error { _, _, err := s.order(ctx, tx, p); return err }); err != nil {
		return err
	}
	if !rehearsal {
		if err := s.strays(ctx, p); err != nil {
			return err
		}
	}
	return s.transaction(ctx, rehearsal, func(tx pgx.Tx) error {
		current, other, err := s.order(ctx, tx, p)
		if err != nil {
			return err
		}
		if other == nil {
			if err := s.exec(ctx, tx, "CREATE ROLE %I", p.other); err != nil {
				return err
			}
			if other, err = s.ordinary(ctx, tx, p.other); err != nil {
				return err
			}
		}
		first, second := p.ranks(current, other)
		if err := s.join(ctx, tx, first, second); err != nil {
			return err
		}
		if err := s.attributes(ctx, tx, current, other); err != nil {
			return err
		}
		if err := s.settings(ctx, tx, first.name, current, other); err != nil {
			return err
		}
		if err := s.parity(ctx, tx, first.name, p); err != nil {
			return err
		}
		return s.setPassword(ctx, tx, p.other, verifier)
	})
}

// order reads both roles and refuses to touch an other that is not ours.
func (s *session) order(ctx context.Context, tx pgx.Tx, p twoUsers) (current, other *role, err error) {
	if p.current == s.Target.User || p.other == s.Target.User {
		return nil, nil, engine.Errorf(engine.TakeoverRefused, "give the superuser a secret of its own", "the superuser %q cannot alternate with itself", s.Target.User)
	}
	if current, err = s.ordinary(ctx, tx, p.current); err != nil {
		return nil, nil, err
	}
	if other, err = s.find(ctx, tx, p.other); err != nil || other == nil {
		return current, nil, err
	}
	if other.superuser || other.flags["CREATEROLE"] && !current.flags["CREATEROLE"] || other.flags["BYPASSRLS"] && !current.flags["BYPASSRLS"] || other.flags["REPLICATION"] && !current.flags["REPLICATION"] {
		return nil, nil, engine.Errorf(engine.TakeoverRefused, "use a user name without the suffix _clone, or take the extra powers from that role", "the role %q has more power than %q", p.other, p.current)
	}
	if p.proved {
		return current, other, nil
	}
	for _, second := range []struct{ role, of *role }{{other, current}, {current, other}} {
		if ours, err := s.bound(ctx, tx, second.of, second.role); err != nil || ours {
			return current, other, err
		}
	}
	first, second := pgx.Identifier{p.current}.Sanitize(), pgx.Identifier{p.other}.Sanitize()
	return nil, nil, engine.Errorf(engine.TakeoverRefused,
		"if it is this secret's second user all the same, say so as a superuser: GRANT "+first+" TO "+second+"; COMMENT ON ROLE "+second+" IS '"+strings.ReplaceAll(mark(p.current), "'", "''")+"'",
		"the role %q exists, and nothing but its name says that it belongs to %q", p.other, p.current)
}

// bound reports whether a role is the second user of another by its mark and by being
// a member of it, which takes ADMIN OPTION on the other, and until version 15
// CREATEROLE, with which one may change both anyhow. The engine gives a second user
// both in the transaction that creates it.
// Source: https://www.postgresql.org/docs/18/sql-createrole.html (CREATEROLE)
func (s *session) bound(ctx context.Context, tx pgx.Tx, first, second *role) (bool, error) {
	if second.comment != mark(first.name) {
		return false, nil
	}
	return s.member(ctx, tx, first, second)
}

// member reports whether second was granted first itself.
func (s *session) member(ctx context.Context, tx pgx.Tx, first, second *role) (yes bool, err error) {
	err = tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_auth_members WHERE roleid = $1 AND member = $2)", first.oid, second.oid).Scan(&yes)
	return yes, s.classify("memberships could not be read", err)
}

// ranks says which of the two is the first user: the mark decides, and for a
// pair that AWS's templates made, the name.
func (p twoUsers) ranks(current, other *role) (first, second *role) {
	if current.comment == mark(p.other) || other.comment != mark(p.current) && strings.HasSuffix(p.current, "_clone") && other.name+"_clone" == p.current && p.proved {
		return other, current
	}
	return current, other
}

// join makes the second user a member of the first, and marks it.
func (s *session) join(ctx context.Context, tx pgx.Tx, first, second *role) error {
	member, err := s.member(ctx, tx, first, second)
	if err != nil {
		return err
	}
	if !member {
		if err := s.exec(ctx, tx, "GRANT %I TO %I", first.name, second.name); err != nil {
			return err
		}
	}
	// What somebody granted the second user alone must not be lost when the
	// first takes over.
	rows, err := tx.Query(ctx, `SELECT pg_get_userbyid(roleid) FROM pg_catalog.pg_auth_members
	WHERE member = $1 AND roleid <> $2 AND NOT pg_has_role($2, roleid, 'MEMBER')`, second.oid, first.oid)
	if err != nil {
		return s.classify("memberships could not be read", err)
	}
	groups, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return s.classify("memberships could not be read", err)
	}
	for _, g := range groups {
		if err := s.exec(ctx, tx, "GRANT %I TO %I", g, first.name); err != nil {
			return err
		}
	}
	if second.comment == mark(first.name) {
		return nil
	}
	return s.exec(ctx, tx, "COMMENT ON ROLE %I IS %L", second.name, mark(first.name))
}

// attributes gives the other user the current one's attributes.
func (s *session) attributes(ctx context.Context, tx pgx.Tx, current, other *role) error {
	var words, args []string
	if !other.login {
		words = append(words, "LOGIN")
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
	return s.exec(ctx, tx, "ALTER ROLE %I "+strings.Join(words, " "), append([]string{other.name}, args...)...)
}

// parity compares the two before the password is set: it is the last word on
// whether the other user may do what the current one may.
func (s *session) parity(ctx context.Context, tx pgx.Tx, first string, p twoUsers) error {
	current, err := s.ordinary(ctx, tx, p.current)
	if err != nil {
		return err
	}
	other, err := s.ordinary(ctx, tx, p.other)
	if err != nil {
		return err
	}
	var missing []string
	for _, f := range flags {
		if current.flags[f] != other.flags[f] {
			missing = append(missing, f)
		}
	}
	if current.limit != other.limit {
		missing = append(missing, "CONNECTION LIMIT")
	}
	second := p.other
	if first == p.other {
		second = p.current
	}
	rows, err := tx.Query(ctx, `SELECT pg_get_userbyid(m.roleid) FROM pg_catalog.pg_auth_members m, pg_catalog.pg_roles f, pg_catalog.pg_roles s
	WHERE f.rolname = $1 AND s.rolname = $2 AND (m.member = s.oid AND m.roleid <> f.oid AND NOT pg_has_role(f.oid, m.roleid, 'MEMBER')
		OR m.member = f.oid AND NOT pg_has_role(s.oid, m.roleid, 'MEMBER'))
	UNION ALL SELECT $1 WHERE NOT pg_has_role($2::name, $1::name, 'MEMBER')`, first, second)
	if err != nil {
		return s.classify("memberships could not be compared", err)
	}
	groups, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return s.classify("memberships could not be compared", err)
	}
	if missing = append(missing, groups...); missing != nil {
		slices.Sort(missing)
		return engine.Errorf(engine.PrivilegeMissing, "give both users the same by hand, or the superuser the right to", "the users %q and %q differ in %s", p.current, p.other, strings.Join(missing, ", "))
	}
	return nil
}

// exec runs a statement whose names and texts the server itself puts in and
// quotes: %I stands for a name, %L for a text. An error has the names alone: a text
// may be the value of a role's setting, which applications keep keys in.
func (s *session) exec(ctx context.Context, tx pgx.Tx, format string, args ...string) error {
	var statement, shown string
	if err := tx.QueryRow(ctx, "SELECT pg_catalog.format($1, VARIADIC $3::text[]), pg_catalog.format($2, VARIADIC $3::text[])",
		format, strings.ReplaceAll(format, "%L", "..."), args).Scan(&statement, &shown); err != nil {
		return s.classify("the statement could not be made", err)
	}
	_, err := tx.Exec(ctx, statement)
	texts := args[strings.Count(format, "%I"):] // behind the names, which is what lets shown do with fewer
	return s.classify(shown, pgsession.Without(err, texts))
}
