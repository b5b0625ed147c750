package postgres

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

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
