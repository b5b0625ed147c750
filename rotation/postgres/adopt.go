package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

var _ engine.Adopter = (*Engine)(nil)

// Adopt takes over a pair that AWS's template or an operator made: what the second user owns, was
// granted by name, or is named by, in any database, becomes the first's. Each database has a
// transaction of its own, and the mark comes last, so an adoption that was cut off can be repeated.
// What the login may not change is in the plan as left alone.
func (e *Engine) Adopt(ctx context.Context, r *engine.Request, apply bool) (plan []string, err error) {
	s, err := e.connect(ctx, r.Login)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.adopt(ctx, r, apply)
}

// adoptUnmarked adopts a pair without a mark as a part of a rotation.
func (s *session) adoptUnmarked(ctx context.Context, r *engine.Request, rehearsal bool) error {
	_, _, marked, err := s.find(ctx, r)
	if err != nil || marked {
		return err
	}
	plan, err := s.adopt(ctx, r, !rehearsal)
	for _, line := range plan {
		if err == nil && !rehearsal {
			r.Changed(line)
		}
	}
	return err
}

// find returns the pair that may be adopted; without a second user it counts as marked.
func (s *session) find(ctx context.Context, r *engine.Request) (first, second *role, marked bool, err error) {
	err = s.transaction(ctx, true, func(tx pgx.Tx) error {
		c, err := s.users(r)
		if err != nil {
			return err
		}
		c.Marked = false // the proof is enough here
		t := &target{s, tx, r, ""}
		current, other, err := pair.Find(ctx, t, c)
		if err != nil || other == nil {
			marked = other == nil
			return err
		}
		first, second = ranks(current, other)
		marked, err = t.Marked(ctx, current, other)
		return err
	})
	return first, second, marked, err
}

func (s *session) adopt(ctx context.Context, r *engine.Request, apply bool) (plan []string, err error) {
	first, second, _, err := s.find(ctx, r)
	if err != nil || second == nil {
		return nil, err
	}
	databases := []string{s.Target.Database}
	err = s.transaction(ctx, true, func(tx pgx.Tx) error {
		names, err := s.texts(ctx, tx, `SELECT DISTINCT d.datname::text FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_database d ON d.oid = s.dbid
	WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.refobjid = $1 AND d.datname <> current_database()`, second.oid)
		databases = append(names, databases...)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, database := range databases {
		there, own := s, database == s.Target.Database
		if !own {
			elsewhere := s.Target
			elsewhere.Database = database
			if there, err = s.engine.dial(ctx, elsewhere); err != nil {
				// Its owner can forbid that, and could so stop an adoption.
				plan = append(plan, database+": left alone, as "+s.Target.User+" cannot log in there")
				continue
			}
			defer there.Close()
		}
		var t *taking
		err := there.transaction(ctx, !apply, func(tx pgx.Tx) error {
			t = &taking{target: &target{there, tx, r, ""}, first: first, second: second, database: database}
			return t.take(ctx, own)
		})
		if err != nil {
			return plan, err
		}
		plan = append(plan, t.plan...)
	}
	return plan, nil
}

// texts returns the first column of a query.
func (s *session) texts(ctx context.Context, tx pgx.Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, s.classify("the catalogs could not be read", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return out, s.classify("the catalogs could not be read", err)
}

// taking is the adoption in one database.
type taking struct {
	*target
	first, second *role
	database      string
	plan          []string
}

func (t *taking) take(ctx context.Context, last bool) error {
	if err := t.own(ctx); err != nil {
		return err
	}
	for _, query := range []string{grants, defaults, policies} {
		statements, err := t.texts(ctx, t.tx, query, t.second.name, t.first.name)
		if err != nil {
			return err
		}
		for _, statement := range statements {
			if err := t.do(ctx, statement); err != nil {
				return err
			}
		}
	}
	if err := t.mappings(ctx); err != nil || !last {
		return err
	}
	groups, err := t.texts(ctx, t.tx, `SELECT format('GRANT %I TO %I', pg_get_userbyid(roleid), pg_get_userbyid($2)) FROM pg_catalog.pg_auth_members
	WHERE member = $1 AND roleid <> $2 AND NOT pg_has_role($2, roleid, 'MEMBER')`, t.second.oid, t.first.oid)
	if err != nil {
		return err
	}
	for _, statement := range groups {
		if err := t.do(ctx, statement); err != nil {
			return err
		}
	}
	if err := t.join(ctx, t.first, t.second); err != nil {
		return err
	}
	if t.second.comment == mark(t.first.name) {
		return nil
	}
	shown, err := t.exec(ctx, t.tx, "COMMENT ON ROLE %I IS %L", t.second.name, mark(t.first.name))
	t.plan = append(t.plan, shown[:strings.LastIndex(shown, "...")]+"'"+mark(t.first.name)+"'")
	return err
}

// own makes the first user the owner of what the second owns. A login that is no superuser must be a
// member of both for that, which it is until the end of the transaction.
func (t *taking) own(ctx context.Context) error {
	objects, err := t.texts(ctx, t.tx, `SELECT pg_describe_object(classid, objid, 0) FROM pg_catalog.pg_shdepend WHERE refclassid = 'pg_catalog.pg_authid'::regclass AND refobjid = $1
	AND deptype = 'o' AND classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass) AND dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())) ORDER BY 1`, t.second.oid)
	if err != nil || len(objects) == 0 {
		return err
	}
	missing, err := t.texts(ctx, t.tx, `SELECT rolname::text FROM pg_catalog.pg_roles WHERE oid IN ($1, $2) AND NOT pg_has_role(session_user, oid, 'USAGE')`, t.first.oid, t.second.oid)
	if err != nil {
		return err
	}
	for _, name := range missing {
		options := ""
		if t.major >= 16 {
			options = " WITH INHERIT TRUE, SET TRUE"
		}
		if _, err := t.exec(ctx, t.tx, "GRANT %I TO %I"+options, name, t.Target.User); err != nil {
			return err
		}
	}
	if _, err := t.exec(ctx, t.tx, "REASSIGN OWNED BY %I TO %I", t.second.name, t.first.name); err != nil {
		return err
	}
	for _, o := range objects {
		t.plan = append(t.plan, t.database+": "+o+" belongs to "+t.first.name+" instead of "+t.second.name)
	}
	for _, name := range missing {
		if _, err := t.exec(ctx, t.tx, "REVOKE %I FROM %I", name, t.Target.User); err != nil {
			return err
		}
	}
	return nil
}

// do runs a statement, or notes that it is left alone. A right of a kind that is not known here comes
// as a description behind a question mark.
func (t *taking) do(ctx context.Context, statement string) error {
	if what, unknown := strings.CutPrefix(statement, "?"); unknown {
		t.plan = append(t.plan, t.database+": left alone, as it has no statement: a right of "+t.second.name+" on "+what)
		return nil
	}
	return t.try(ctx, statement, func() error {
		_, err := t.tx.Exec(ctx, statement)
		return t.classify(statement, err)
	})
}

// try puts a change into the plan, as one that is left alone where the login may not make it.
func (t *taking) try(ctx context.Context, statement string, do func() error) error {
	denied, err := t.optional(ctx, do)
	note := ""
	if denied != nil {
		note = "left alone, as " + t.Target.User + " may not: "
	}
	t.plan = append(t.plan, t.database+": "+note+statement)
	return err
}

// mappings copies the second user's user mappings, whose options can hold passwords.
func (t *taking) mappings(ctx context.Context) error {
	rows, err := t.tx.Query(ctx, `SELECT srvname::text, coalesce(umoptions, '{}') FROM pg_catalog.pg_user_mappings m
	WHERE umuser = $1 AND NOT EXISTS (SELECT FROM pg_catalog.pg_user_mappings o WHERE o.srvid = m.srvid AND o.umuser = $2)`, t.second.oid, t.first.oid)
	if err != nil {
		return t.classify("the user mappings could not be read", err)
	}
	type mapping struct {
		server  string
		options []string
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m mapping, err error) { return m, row.Scan(&m.server, &m.options) })
	if err != nil {
		return t.classify("the user mappings could not be read", err)
	}
	for _, m := range all {
		format, args := "CREATE USER MAPPING FOR %I SERVER %I", []string{t.first.name, m.server}
		var names, texts []string
		for _, o := range m.options {
			name, text, _ := strings.Cut(o, "=")
			names, texts = append(names, name), append(texts, text)
		}
		if names != nil {
			format += " OPTIONS (" + strings.Repeat(", %I %L", len(names))[2:] + ")"
		}
		for i := range names {
			args = append(args, names[i], texts[i])
		}
		err := t.try(ctx, "CREATE USER MAPPING FOR "+t.first.name+" SERVER "+m.server, func() error {
			_, err := t.exec(ctx, t.tx, format, args...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// grants makes a statement for every right in this database that the second
// user ($1) was granted by name and the first ($2) was not. A right of a kind
// that is not known here comes out as a description behind a question mark.
const grants = `WITH ids AS (SELECT (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1) AS second, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $2) AS first),
held (kind, object, acl, columns) AS (
	SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, relacl, '' FROM pg_catalog.pg_class c WHERE relacl IS NOT NULL
	UNION ALL SELECT 'TABLE', attrelid::regclass::text, attacl, ' (' || quote_ident(attname) || ')' FROM pg_catalog.pg_attribute WHERE attacl IS NOT NULL AND NOT attisdropped
	UNION ALL SELECT 'SCHEMA', quote_ident(nspname), nspacl, '' FROM pg_catalog.pg_namespace WHERE nspacl IS NOT NULL
	UNION ALL SELECT CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, p.oid::regprocedure::text, proacl, '' FROM pg_catalog.pg_proc p WHERE proacl IS NOT NULL
	UNION ALL SELECT CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, t.oid::regtype::text, typacl, '' FROM pg_catalog.pg_type t WHERE typacl IS NOT NULL
	UNION ALL SELECT 'FOREIGN SERVER', quote_ident(srvname), srvacl, '' FROM pg_catalog.pg_foreign_server WHERE srvacl IS NOT NULL
	UNION ALL SELECT 'FOREIGN DATA WRAPPER', quote_ident(fdwname), fdwacl, '' FROM pg_catalog.pg_foreign_data_wrapper WHERE fdwacl IS NOT NULL
	UNION ALL SELECT 'LANGUAGE', quote_ident(lanname), lanacl, '' FROM pg_catalog.pg_language WHERE lanacl IS NOT NULL
	UNION ALL SELECT 'LARGE OBJECT', oid::text, lomacl, '' FROM pg_catalog.pg_largeobject_metadata WHERE lomacl IS NOT NULL
	UNION ALL SELECT 'DATABASE', quote_ident(datname), datacl, '' FROM pg_catalog.pg_database WHERE datacl IS NOT NULL
	UNION ALL SELECT 'TABLESPACE', quote_ident(spcname), spcacl, '' FROM pg_catalog.pg_tablespace WHERE spcacl IS NOT NULL
)
SELECT format('GRANT %s%s ON %s %s TO %I%s', a.privilege_type, columns, kind, object, $2, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM held, ids, LATERAL aclexplode(acl) a
WHERE a.grantee = ids.second AND NOT EXISTS (SELECT FROM aclexplode(acl) b WHERE b.grantee = ids.first AND b.privilege_type = a.privilege_type AND b.is_grantable >= a.is_grantable)
UNION ALL
SELECT '?' || pg_describe_object(classid, objid, objsubid) FROM pg_catalog.pg_shdepend s, ids
WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.refobjid = ids.second AND s.deptype = 'a'
	AND s.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
	AND s.classid NOT IN ('pg_class'::regclass, 'pg_namespace'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_foreign_server'::regclass,
		'pg_foreign_data_wrapper'::regclass, 'pg_language'::regclass, 'pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass, 'pg_database'::regclass, 'pg_tablespace'::regclass, 'pg_default_acl'::regclass)`

// objects are the kinds of ALTER DEFAULT PRIVILEGES.
const objects = `CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END`

// defaults makes a statement for every right that the second user ($1) gets, or gives, by a default
// and the first ($2) does not.
const defaults = `WITH ids AS (SELECT (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1) AS second, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $2) AS first),
held AS (SELECT CASE WHEN defaclrole = second THEN first ELSE defaclrole END AS maker, defaclnamespace, defaclobjtype,
	CASE WHEN a.grantee = second THEN first ELSE a.grantee END AS grantee, a.privilege_type, a.is_grantable
	FROM pg_catalog.pg_default_acl, ids, LATERAL aclexplode(defaclacl) a WHERE defaclrole = second AND a.grantee <> second OR defaclrole <> second AND a.grantee = second)
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s GRANT %s ON %s TO %s%s', pg_get_userbyid(maker), CASE WHEN defaclnamespace <> 0 THEN ' IN SCHEMA ' || quote_ident((SELECT nspname FROM pg_catalog.pg_namespace n WHERE n.oid = defaclnamespace)) ELSE '' END,
	privilege_type, ` + objects + `, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM held h WHERE grantee <> maker AND NOT EXISTS (SELECT FROM pg_catalog.pg_default_acl d, LATERAL aclexplode(d.defaclacl) a WHERE d.defaclrole = maker AND d.defaclnamespace = h.defaclnamespace
	AND d.defaclobjtype = h.defaclobjtype AND a.grantee = h.grantee AND a.privilege_type = h.privilege_type)`

// policies makes a statement for every policy that names the second user ($1) and not the first ($2).
const policies = `WITH ids AS (SELECT (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1) AS second, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $2) AS first)
SELECT format('ALTER POLICY %I ON %s TO %s', polname, polrelid::regclass, (SELECT string_agg(quote_ident(pg_get_userbyid(r)), ', ') FROM unnest(polroles || first) r))
FROM pg_catalog.pg_policy, ids WHERE second = ANY (polroles) AND NOT first = ANY (polroles)`
