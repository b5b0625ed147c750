package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
)

// strays moves to the first user what the second owns or was granted by itself,
// in every database. There is nothing to move in a pair that this engine has
// made, unless somebody granted rights to the second user by name; pairs made by
// AWS's templates have objects that the first cannot even read.
func (s *session) strays(ctx context.Context, p twoUsers) error {
	var first, second string
	var databases []string
	err := s.transaction(ctx, true, func(tx pgx.Tx) error {
		current, other, err := s.order(ctx, tx, p)
		if err != nil || other == nil {
			return err
		}
		f, n := p.ranks(current, other)
		first, second = f.name, n.name
		rows, err := tx.Query(ctx, `SELECT DISTINCT d.datname FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_database d
	ON d.oid = CASE WHEN s.dbid = 0 THEN (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) ELSE s.dbid END
	WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.refobjid = $1 AND s.deptype IN ('o', 'a')`, n.oid)
		if err != nil {
			return s.classify("the second user's rights could not be read", err)
		}
		databases, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return s.classify("the second user's rights could not be read", err)
	})
	if err != nil || first == "" {
		return err
	}
	for _, name := range databases {
		if err := s.within(ctx, name, func(s *session) error {
			return s.transaction(ctx, false, func(tx pgx.Tx) error { return s.move(ctx, tx, first, second) })
		}); err != nil {
			return err
		}
	}
	return nil
}

// within calls do with a session in another database of the server.
func (s *session) within(ctx context.Context, database string, do func(*session) error) error {
	if database == s.Target.Database {
		return do(s)
	}
	t := s.Target
	t.Database = database
	other, err := s.engine.dial(ctx, t)
	if err != nil {
		return err
	}
	defer other.Close()
	return do(other)
}

// move gives the first user, in this database, what the second owns and holds.
func (s *session) move(ctx context.Context, tx pgx.Tx, first, second string) error {
	var owns bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_shdepend WHERE refclassid = 'pg_catalog.pg_authid'::regclass
	AND refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1) AND deptype = 'o'
	AND dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())))`, second).Scan(&owns); err != nil {
		return s.classify("the second user's objects could not be read", err)
	}
	if owns {
		if err := s.exec(ctx, tx, "REASSIGN OWNED BY %I TO %I", second, first); err != nil {
			return err
		}
	}
	rows, err := tx.Query(ctx, grants, second, first)
	if err != nil {
		return s.classify("the second user's grants could not be read", err)
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return s.classify("the second user's grants could not be read", err)
	}
	for _, statement := range statements {
		if strings.HasPrefix(statement, "?") {
			return engine.Errorf(engine.PrivilegeMissing, "grant it to the first user by hand", "the second user %q has a right of its own on %s", second, statement[1:])
		}
		if _, err := tx.Exec(ctx, statement); err != nil {
			return s.classify(statement, err)
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
		'pg_foreign_data_wrapper'::regclass, 'pg_language'::regclass, 'pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass, 'pg_database'::regclass, 'pg_tablespace'::regclass)`
