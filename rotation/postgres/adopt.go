package postgres

import (
	"context"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
	"example.com/rotator/rotation/pair"
)

// Adopt takes over a pair that AWS's template or an operator created. In every database, the first user gets what the
// second owns, was granted directly, or has by policies that name it. Each database has a separate transaction, and the
// mark comes last, so an adoption can be repeated. The plan includes what the login may not change.
func (e *Engine) Adopt(ctx context.Context, r *engine.Request, apply bool) (plan []string, err error) {
	err = e.Act(ctx, r, r.Login, !apply, func(ctx context.Context, s *pgsession.Session, c pair.Change) error {
		plan, err = e.adopt(ctx, s, c, apply, false)
		return err
	})
	return plan, err
}

// adopt is Adopt in a session. In a rotation, which nobody watches, it leaves marked pairs alone, and marks no pair of
// which it must leave something alone: the second user's sessions, which become the first, would lose that.
func (e *Engine) adopt(ctx context.Context, s *pgsession.Session, c pair.Change, apply, rotation bool) (plan []string,
	err error) {
	c.Marked = false // the proof suffices here
	var first, second *role
	var databases []string
	err = s.Transaction(ctx, c.Request, true, func(w *pgsession.Work) error {
		t := &target{w}
		current, other, err := pair.Find(ctx, t, c)
		if err != nil || other == nil {
			return err
		}
		if marked, _ := t.Marked(ctx, current, other); marked && rotation {
			return nil
		}
		first, second = ranks(current, other)
		databases, err = t.Texts(ctx, unreadable, `SELECT DISTINCT d.datname::text
	FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
	WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1 AND d.datname <> current_database()`, second.oid)
		return err
	})
	if err != nil || second == nil {
		return nil, err
	}
	var left []string
	for _, database := range append(databases, s.Target.Database) {
		there, last := s, database == s.Target.Database
		if !last {
			elsewhere := s.Target
			elsewhere.Database = database
			if there, err = e.connect(ctx, elsewhere); err != nil {
				// The database's owner can forbid logins, but must not be able to stop an operator's adoption.
				left = append(left, database+": left alone, as "+s.Target.User+" cannot log in there")
				plan = append(plan, left[len(left)-1])
				continue
			}
			defer there.Close()
		}
		var t *taking
		if err := there.Transaction(ctx, c.Request, !apply, func(w *pgsession.Work) error {
			t = &taking{target: &target{w}, first: first, second: second}
			err := t.take(ctx, last)
			if stays := slices.Concat(left, t.left); err == nil && last && rotation && stays != nil {
				err = engine.Errorf(engine.TakeoverRefused, "adopt the pair with `rotatorctl adopt --yes`, which without "+
					"--yes only prints the changes", "the pair cannot be adopted completely: %s", stays[0])
			}
			return err
		}); err != nil {
			return plan, err
		}
		plan, left = append(plan, t.plan...), append(left, t.left...)
	}
	return plan, nil
}

const unreadable = "the catalogs could not be read"

type taking struct {
	*target
	first, second *role
	plan          []string
	left          []string // the part of plan that does not change
}

func (t *taking) note(line string) { t.plan = append(t.plan, t.Target.Database+": "+line) }

func (t *taking) leave(why string) {
	t.note("left alone" + why)
	t.left = append(t.left, t.plan[len(t.plan)-1])
}

func (t *taking) take(ctx context.Context, last bool) error {
	if err := t.own(ctx); err != nil {
		return err
	}
	queries := []string{grants, defaults, policies}
	if last {
		queries = append(queries, memberships)
	}
	for _, query := range queries {
		if err := t.doAll(ctx, query); err != nil {
			return err
		}
	}
	if !last {
		return nil
	}
	if err := t.join(ctx, t.first, t.second); err != nil || t.second.comment == mark(t.first.name) {
		return err
	}
	t.plan = append(t.plan, comment(t.first, t.second))
	return t.do(ctx, comment(t.first, t.second))
}

// own makes the first user the owner of what the second owns. To do so, the login temporarily joins both roles.
func (t *taking) own(ctx context.Context) error {
	objects, err := t.Texts(ctx, unreadable, `SELECT pg_describe_object(classid, objid, 0) FROM pg_shdepend
	WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1 AND deptype = 'o'
		AND classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)
		AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) ORDER BY 1`, t.second.oid)
	if err != nil || len(objects) == 0 {
		return err
	}
	statements, err := t.Text(ctx, unreadable, `SELECT concat(
	string_agg(format('GRANT %I TO %I%s; ', rolname, session_user, $3::text), ''),
	format('REASSIGN OWNED BY %I TO %I', pg_get_userbyid($1), pg_get_userbyid($2)),
	string_agg(format('; REVOKE %I FROM %I', rolname, session_user), ''))
	FROM pg_roles WHERE oid IN ($1, $2) AND NOT pg_has_role(session_user, oid, 'USAGE')`,
		t.second.oid, t.first.oid, t.options())
	if err != nil {
		return err
	}
	if err := t.do(ctx, statements); err != nil {
		return err
	}
	for _, o := range objects {
		t.note(o + " belongs to " + t.first.name + " instead of " + t.second.name)
	}
	return nil
}

// doAll makes the changes that a query returns, and adds them to the plan. It leaves alone those that the login may not
// make, and rows that begin with a question mark, which have no statement.
func (t *taking) doAll(ctx context.Context, query string) error {
	statements, err := t.Texts(ctx, unreadable, query, t.second.oid, t.first.oid)
	if err != nil {
		return err
	}
	for _, statement := range statements {
		if what, unknown := strings.CutPrefix(statement, "?"); unknown {
			t.leave(": " + t.second.name + " keeps " + what)
			continue
		}
		denied, err := t.optional(ctx, func() error { return t.do(ctx, statement) })
		if err != nil {
			return err
		}
		if denied != nil {
			t.leave(", as " + t.Target.User + " may not: " + statement)
		} else {
			t.note(statement)
		}
	}
	return nil
}

// memberships, grants, defaults and policies return statements; $1 is the second user and $2 the first.
const memberships = `SELECT format('GRANT %I TO %I', pg_get_userbyid(roleid), pg_get_userbyid($2)) FROM pg_auth_members
	WHERE member = $1 AND roleid <> $2 AND NOT pg_has_role($2, roleid, 'MEMBER')`

// grants covers every right in this database that was granted directly to only the second user, and lists rights on
// other kinds of objects, which hardly any application needs, and user mappings, which may hold passwords.
const grants = `WITH held (kind, object, acl, columns) AS (
	SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass::text, relacl, ''
		FROM pg_class WHERE relacl IS NOT NULL
	UNION ALL SELECT 'TABLE', attrelid::regclass::text, attacl, ' (' || quote_ident(attname) || ')'
		FROM pg_attribute WHERE attacl IS NOT NULL AND NOT attisdropped
	UNION ALL SELECT 'SCHEMA', quote_ident(nspname), nspacl, '' FROM pg_namespace
	UNION ALL SELECT CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, oid::regprocedure::text, proacl, ''
		FROM pg_proc WHERE proacl IS NOT NULL
	UNION ALL SELECT 'DATABASE', quote_ident(datname), datacl, '' FROM pg_database
)
SELECT format('GRANT %s%s ON %s %s TO %I%s', a.privilege_type, columns, kind, object, pg_get_userbyid($2),
	CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM held, LATERAL aclexplode(acl) a
WHERE a.grantee = $1 AND NOT EXISTS (SELECT FROM aclexplode(acl) b
	WHERE b.grantee = $2 AND b.privilege_type = a.privilege_type AND b.is_grantable >= a.is_grantable)
UNION ALL
SELECT '?a right on ' || pg_describe_object(classid, objid, objsubid) FROM pg_shdepend
WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1 AND deptype = 'a'
	AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
	AND classid::regclass <> ALL ('{pg_class,pg_namespace,pg_proc,pg_database,pg_default_acl}'::regclass[])
UNION ALL SELECT '?the user mapping for the server ' || srvname FROM pg_user_mappings m
WHERE umuser = $1 AND NOT EXISTS (SELECT FROM pg_user_mappings o WHERE o.srvid = m.srvid AND o.umuser = $2)`

// defaults covers every right that the second user, but not the first, gets or grants by default.
const defaults = `WITH held AS (
	SELECT CASE defaclrole WHEN $1 THEN $2 ELSE defaclrole END AS maker, defaclnamespace, defaclobjtype,
		CASE a.grantee WHEN $1 THEN $2 ELSE a.grantee END AS grantee, a.privilege_type, a.is_grantable
	FROM pg_default_acl, LATERAL aclexplode(defaclacl) a WHERE (defaclrole = $1) <> (a.grantee = $1)
)
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s GRANT %s ON %s TO %s%s', pg_get_userbyid(maker),
	(SELECT ' IN SCHEMA ' || quote_ident(nspname) FROM pg_namespace n WHERE n.oid = defaclnamespace), privilege_type,
	CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
		WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END,
	CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
	CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM held h WHERE grantee <> maker AND NOT EXISTS (
	SELECT FROM pg_default_acl d, LATERAL aclexplode(d.defaclacl) a
	WHERE d.defaclrole = maker AND d.defaclnamespace = h.defaclnamespace AND d.defaclobjtype = h.defaclobjtype
		AND a.grantee = h.grantee AND a.privilege_type = h.privilege_type)`

// policies covers every policy that names only the second user.
const policies = `SELECT format('ALTER POLICY %I ON %s TO %s', polname, polrelid::regclass,
	(SELECT string_agg(quote_ident(pg_get_userbyid(r)), ', ') FROM unnest(polroles || $2::oid) r))
FROM pg_policy WHERE $1 = ANY (polroles) AND NOT $2 = ANY (polroles)`
