package postgres

import (
	"context"
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
		plan, err = adopt(ctx, s, c, apply, false)
		return err
	})
	return plan, err
}

// adopt is Adopt in a session. With unmarked, as in a rotation, it leaves marked pairs alone.
func adopt(ctx context.Context, s *pgsession.Session, c pair.Change, apply, unmarked bool) (plan []string, err error) {
	c.Marked = false // the proof suffices here
	var first, second *role
	var databases []string
	err = s.Transaction(ctx, c.Request, true, func(w *pgsession.Work) error {
		t := &target{Work: w}
		current, other, err := pair.Find(ctx, t, c)
		if err != nil || other == nil {
			return err
		}
		if marked, _ := t.Marked(ctx, current, other); marked && unmarked {
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
	for _, database := range append(databases, s.Target.Database) {
		there, last := s, database == s.Target.Database
		if !last {
			if there, err = s.At(ctx, database); err != nil {
				// The database's owner can forbid logins, but must not be able to stop an adoption.
				plan = append(plan, database+": left alone, as "+s.Target.User+" cannot log in there")
				continue
			}
			defer there.Close()
		}
		var t *taking
		if err := there.Transaction(ctx, c.Request, !apply, func(w *pgsession.Work) error {
			t = &taking{target: &target{Work: w}, first: first, second: second}
			return t.take(ctx, last)
		}); err != nil {
			return plan, err
		}
		plan = append(plan, t.plan...)
	}
	return plan, nil
}

const unreadable = "the catalogs could not be read"

type taking struct {
	*target
	first, second *role
	plan          []string
}

func (t *taking) note(line string) { t.plan = append(t.plan, t.Target.Database+": "+line) }

func (t *taking) take(ctx context.Context, last bool) error {
	if err := t.own(ctx); err != nil {
		return err
	}
	for _, query := range []string{grants, defaults, policies} {
		if err := t.doAll(ctx, query); err != nil {
			return err
		}
	}
	if err := t.mappings(ctx); err != nil || !last {
		return err
	}
	if err := t.doAll(ctx, memberships); err != nil {
		return err
	}
	if err := t.join(ctx, t.first, t.second); err != nil || t.second.comment == mark(t.first.name) {
		return err
	}
	shown, err := t.exec(ctx, "COMMENT ON ROLE %I IS %L", t.second.name, mark(t.first.name))
	t.plan = append(t.plan, shown[:strings.LastIndex(shown, "...")]+"'"+mark(t.first.name)+"'")
	return err
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

// doAll runs the statements that a query returns. A row that begins with a question mark is a right of an unknown kind.
func (t *taking) doAll(ctx context.Context, query string) error {
	statements, err := t.Texts(ctx, unreadable, query, t.second.oid, t.first.oid)
	if err != nil {
		return err
	}
	for _, statement := range statements {
		if what, unknown := strings.CutPrefix(statement, "?"); unknown {
			t.note("left alone, as it has no statement: a right of " + t.second.name + " on " + what)
			continue
		}
		if err := t.try(ctx, statement, func() error { return t.do(ctx, statement) }); err != nil {
			return err
		}
	}
	return nil
}

// try makes a change and adds it to the plan, marked as left alone if the login may not make it.
func (t *taking) try(ctx context.Context, statement string, do func() error) error {
	denied, err := t.optional(ctx, do)
	if denied != nil {
		statement = "left alone, as " + t.Target.User + " may not: " + statement
	}
	t.note(statement)
	return err
}

// mappings copies the second user's user mappings, whose options can hold passwords.
func (t *taking) mappings(ctx context.Context) error {
	rows, err := t.Query(ctx, unreadable, 2, `SELECT srvname::text, umoptions FROM pg_user_mappings m WHERE umuser = $1
	AND NOT EXISTS (SELECT FROM pg_user_mappings o WHERE o.srvid = m.srvid AND o.umuser = $2)`,
		t.second.oid, t.first.oid)
	for _, row := range rows {
		format, args := "CREATE USER MAPPING FOR %I SERVER %I", []string{t.first.name, row[0]}
		options := pgsession.Elements(row[1])
		for _, o := range options {
			name, text, _ := strings.Cut(o, "=")
			args = append(args, name, text)
		}
		if len(options) > 0 {
			format += " OPTIONS (" + strings.Repeat(", %I %L", len(options))[2:] + ")"
		}
		err := t.try(ctx, "CREATE USER MAPPING FOR "+t.first.name+" SERVER "+row[0], func() error {
			_, err := t.exec(ctx, format, args...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return err
}

// memberships, grants, defaults and policies return statements; $1 is the second user and $2 the first.
const memberships = `SELECT format('GRANT %I TO %I', pg_get_userbyid(roleid), pg_get_userbyid($2)) FROM pg_auth_members
	WHERE member = $1 AND roleid <> $2 AND NOT pg_has_role($2, roleid, 'MEMBER')`

// grants covers every right in this database that was granted directly to only the second user.
const grants = `WITH held (kind, object, acl, columns) AS (
	SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass::text, relacl, ''
		FROM pg_class WHERE relacl IS NOT NULL
	UNION ALL SELECT 'TABLE', attrelid::regclass::text, attacl, ' (' || quote_ident(attname) || ')'
		FROM pg_attribute WHERE attacl IS NOT NULL AND NOT attisdropped
	UNION ALL SELECT 'SCHEMA', quote_ident(nspname), nspacl, '' FROM pg_namespace
	UNION ALL SELECT CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, oid::regprocedure::text, proacl, ''
		FROM pg_proc WHERE proacl IS NOT NULL
	UNION ALL SELECT CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, oid::regtype::text, typacl, ''
		FROM pg_type WHERE typacl IS NOT NULL
	UNION ALL SELECT 'FOREIGN SERVER', quote_ident(srvname), srvacl, '' FROM pg_foreign_server
	UNION ALL SELECT 'FOREIGN DATA WRAPPER', quote_ident(fdwname), fdwacl, '' FROM pg_foreign_data_wrapper
	UNION ALL SELECT 'LANGUAGE', quote_ident(lanname), lanacl, '' FROM pg_language
	UNION ALL SELECT 'LARGE OBJECT', oid::text, lomacl, '' FROM pg_largeobject_metadata
	UNION ALL SELECT 'DATABASE', quote_ident(datname), datacl, '' FROM pg_database
	UNION ALL SELECT 'TABLESPACE', quote_ident(spcname), spcacl, '' FROM pg_tablespace
)
SELECT format('GRANT %s%s ON %s %s TO %I%s', a.privilege_type, columns, kind, object, pg_get_userbyid($2),
	CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM held, LATERAL aclexplode(acl) a
WHERE a.grantee = $1 AND NOT EXISTS (SELECT FROM aclexplode(acl) b
	WHERE b.grantee = $2 AND b.privilege_type = a.privilege_type AND b.is_grantable >= a.is_grantable)
UNION ALL
SELECT '?' || pg_describe_object(classid, objid, objsubid) FROM pg_shdepend
WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1 AND deptype = 'a'
	AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
	AND classid::regclass <> ALL ('{pg_class,pg_namespace,pg_proc,pg_type,pg_foreign_server,pg_foreign_data_wrapper,
		pg_language,pg_largeobject,pg_largeobject_metadata,pg_database,pg_tablespace,pg_default_acl}'::regclass[])`

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
