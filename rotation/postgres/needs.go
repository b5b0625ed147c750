package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
)

var _ engine.Needer = (*Engine)(nil)

// Needs says what the superuser secret's role needs; a user changes its own
// password without any privilege. Until version 15, CREATEROLE is enough for every
// role but those whose attributes only a superuser may give. From 16 on it takes
// ADMIN OPTION on the role, and whoever gives an attribute must have it.
// Source: https://www.postgresql.org/docs/18/sql-alterrole.html and .../15/sql-createrole.html
func (e *Engine) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	if !r.Superuser {
		n.Note = "none: a user may change its own password"
		return nil
	}
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.connect(ctx, r.Current)
	if err != nil {
		return err
	}
	defer s.Close()
	var fine, createdb, replication, bypass bool
	var users []string
	if err := s.transaction(ctx, true, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT current_setting('server_version_num')::int >= 160000, rolcreatedb, rolreplication, rolbypassrls,
	ARRAY(SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname IN (session_user, $1) ORDER BY rolname)
	FROM pg_catalog.pg_roles WHERE rolname = session_user`, pending.User).Scan(&fine, &createdb, &replication, &bypass, &users)
		return s.classify("the role's attributes could not be read", err)
	}); err != nil {
		return err
	}
	if r.Strategy == engine.SingleUser {
		createdb, replication, bypass = false, false, false // they stay as they are
	}
	login := pgx.Identifier{n.Login}.Sanitize()
	if !fine && (replication || bypass) {
		n.Grants = []string{"ALTER ROLE " + login + " SUPERUSER;"}
		return nil
	}
	n.Grants = []string{"ALTER ROLE " + login + " CREATEROLE;"}
	if !fine {
		return nil
	}
	for _, a := range []struct {
		has  bool
		name string
	}{{createdb, "CREATEDB"}, {replication, "REPLICATION"}, {bypass, "BYPASSRLS"}} {
		if a.has {
			n.Grants = append(n.Grants, "ALTER ROLE "+login+" "+a.name+";")
		}
	}
	for _, u := range users {
		n.Grants = append(n.Grants, "GRANT "+pgx.Identifier{u}.Sanitize()+" TO "+login+" WITH ADMIN OPTION;")
	}
	return nil
}
