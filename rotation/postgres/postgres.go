// Package postgres rotates passwords of PostgreSQL and Aurora PostgreSQL roles, for a single or alternating users.
//
// The server receives a SCRAM-SHA-256 verifier, never a new password, in a way that keeps it out of all statement logs.
package postgres

import (
	"context"
	"slices"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
	"example.com/rotator/rotation/internal/sqlengine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates roles of PostgreSQL 10 and later.
type Engine struct {
	base
	tls engine.TLSPolicy
}

type base = sqlengine.Engine[*pgsession.Session]

// New returns the engine with the given policy for its connections, with the names and defaults of AWS's templates.
func New(tls engine.TLSPolicy) *Engine {
	e := &Engine{tls: tls}
	e.base = base{
		Port: 5432, Database: "postgres", Fault: fault, Connect: e.connect, Change: e.change, Grants: e.grants,
		About: engine.Kind{
			Names:       []string{"postgres", "aurora-postgresql"},
			Passwords:   engine.PasswordPolicy{Length: 32, ExcludeCharacters: `:/@"'\`, RequireEachIncludedType: true},
			CloneSuffix: "_clone",
			// Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS
			CloneLimit: 63,
		},
	}
	return e
}

func fault(t engine.Target) string {
	if len(t.User) > 63 {
		return "the user name has more than 63 bytes" // the server would truncate it and change another role
	}
	return ""
}

// Verify logs in and runs a query. A second user's sessions must become the first, or an application lacks rights.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	return e.With(ctx, v, func(s *pgsession.Session) error {
		// Qualified names protect a superuser from the database owner's search path. begin would reset the role.
		strayed, err := s.Texts(ctx, "the query failed", `SELECT coalesce(pg_catalog.shobj_description(oid, 'pg_authid')
	OPERATOR(pg_catalog.~~) 'rotator: second user of "%"', false) AND current_user OPERATOR(pg_catalog.=) session_user
	FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) session_user`)
		if slices.Equal(strayed, []string{"t"}) && r.Strategy == engine.AlternatingUsers && v.Equal(r.Pending) {
			return engine.Errorf(engine.PrivilegeMissing,
				"look for a setting of role that overrides the second user's, and for a membership without SET",
				"the sessions of %q do not become the first user", s.Target.User)
		}
		return err
	})
}

// change makes the change in one transaction, which a rehearsal rolls back, after an adoption.
func (e *Engine) change(ctx context.Context, s *pgsession.Session, c pair.Change) error {
	r, rehearsal := c.Request, c.Rehearsal
	r.Met("PostgreSQL " + s.Version())
	c.Rehearsal, c.Marked = false, !r.Adopt
	if r.Superuser && r.Adopt && r.Strategy == engine.AlternatingUsers {
		plan, err := e.adopt(ctx, s, c, !rehearsal, true)
		for _, line := range plan {
			if !rehearsal {
				r.Changed(line)
			}
		}
		if err != nil {
			return err
		}
	}
	return s.Transaction(ctx, r, rehearsal, func(w *pgsession.Work) error {
		t := &target{w}
		if rehearsal {
			const setting = "SELECT pg_catalog.current_setting('password_encryption')"
			stored, err := t.Texts(ctx, "the server's settings could not be read", setting)
			if err != nil {
				return err
			}
			if slices.Equal(stored, []string{"md5"}) {
				r.Warn("password_encryption is md5 at the server: clients of " + c.Pending + " need SCRAM from now on")
			}
		}
		if !r.Superuser {
			return t.SetPassword(ctx, &role{name: c.Pending})
		}
		c.Request = w.Request
		return pair.Apply(ctx, t, c)
	})
}

// needs returns the statements that let the role $1 change the session's user and $2. Before version 16, CREATEROLE
// suffices except for attributes that only a superuser may set. From 16 on ($3), $1 needs ADMIN OPTION on both and, for
// a second user ($4), the attributes to copy.
// Source: https://www.postgresql.org/docs/18/sql-alterrole.html and .../15/sql-createrole.html
const needs = `WITH own AS (SELECT * FROM pg_roles WHERE rolname = session_user)
SELECT format('ALTER ROLE %I %s;', $1::text,
	CASE WHEN $4 AND NOT $3 AND (rolreplication OR rolbypassrls) THEN 'SUPERUSER' ELSE 'CREATEROLE' END) FROM own
UNION ALL SELECT format('ALTER ROLE %I %s;', $1::text, a.name) FROM own,
	LATERAL (VALUES ('CREATEDB', rolcreatedb), ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls)) a (name, has)
	WHERE $3 AND $4 AND has
UNION ALL SELECT * FROM (SELECT format('GRANT %I TO %I WITH ADMIN OPTION;', rolname, $1::text) FROM pg_roles
	WHERE $3 AND rolname IN (session_user, $2) ORDER BY rolname) g
UNION ALL SELECT format('GRANT rds_password TO %I;', $1::text)
	WHERE current_setting('rds.restrict_password_commands', true) = 'on'`

func (e *Engine) grants(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	return e.Act(ctx, r, r.Current, true, func(ctx context.Context, s *pgsession.Session, c pair.Change) error {
		return s.Transaction(ctx, r, true, func(w *pgsession.Work) (err error) {
			n.Grants, err = w.Texts(ctx, "the role's attributes could not be read", needs, n.Login, c.Pending,
				w.Major >= 16, r.Strategy == engine.AlternatingUsers)
			return err
		})
	})
}
