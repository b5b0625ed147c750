package redshift

// shim makes PostgreSQL answer the engine's queries of Redshift's system views from its own catalogs, so the statements
// that both servers support run for real. A PostgreSQL role whose name begins with sys: or role_ is also shown as a
// Redshift role. What only Redshift has (GRANT ROLE, scoped permissions, SYSLOG ACCESS, SESSION TIMEOUT, CONNECTION
// LIMIT UNLIMITED) is absent here, and its statements are checked as text. The views are in pg_catalog, as on Redshift.
const shim = `
SET allow_system_table_mods = on;
CREATE VIEW pg_catalog.svv_user_info AS SELECT usename::text AS user_name, usesysid::int AS user_id, usecreatedb AS createdb, usesuper AS superuser,
	CASE rolconnlimit WHEN -1 THEN 'UNLIMITED' ELSE rolconnlimit::text END AS connection_limit, 'RESTRICTED'::text AS syslog_access, 0 AS session_timeout
	FROM pg_user JOIN pg_roles ON oid = usesysid;
CREATE VIEW pg_catalog.svv_role_grants AS SELECT u.rolname::text AS role_name, r.rolname::text AS granted_role_name, u.rolcanlogin AS to_user, m.admin_option
	FROM pg_auth_members m JOIN pg_roles u ON u.oid = member JOIN pg_roles r ON r.oid = roleid WHERE r.rolname LIKE 'sys:%' OR r.rolname LIKE 'role\_%';
CREATE VIEW pg_catalog.svv_user_grants AS SELECT role_name AS user_name, granted_role_name AS role_name, admin_option FROM svv_role_grants WHERE to_user;
CREATE VIEW pg_catalog.svv_system_privileges AS SELECT 'ALTER USER'::text AS system_privilege, rolname::text AS identity_name, 'role'::text AS identity_type
	FROM pg_roles WHERE rolname LIKE 'role\_alters\_%';
CREATE VIEW pg_catalog.svv_database_privileges AS SELECT datname::text AS database_name, privilege_type, 'DATABASE'::text AS privilege_scope,
	pg_get_userbyid(grantee)::text AS identity_name, 'user'::text AS identity_type, is_grantable AS admin_option FROM pg_database, aclexplode(datacl) WHERE grantee <> 0;
CREATE VIEW pg_catalog.svv_schema_privileges AS SELECT nspname::text AS namespace_name, privilege_type, 'SCHEMA'::text AS privilege_scope,
	pg_get_userbyid(grantee)::text AS identity_name, 'user'::text AS identity_type, is_grantable AS admin_option FROM pg_namespace, aclexplode(nspacl) WHERE grantee <> 0;
CREATE VIEW pg_catalog.svv_relation_privileges AS SELECT nspname::text AS namespace_name, relname::text AS relation_name, privilege_type,
	pg_get_userbyid(grantee)::text AS identity_name, 'user'::text AS identity_type, is_grantable AS admin_option
	FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace, aclexplode(relacl) WHERE grantee <> 0;
CREATE VIEW pg_catalog.svv_column_privileges AS SELECT nspname::text AS namespace_name, relname::text AS relation_name, attname::text AS column_name, privilege_type,
	pg_get_userbyid(grantee)::text AS identity_name, 'user'::text AS identity_type
	FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace, aclexplode(attacl) WHERE grantee <> 0;
CREATE VIEW pg_catalog.svv_function_privileges AS SELECT nspname::text AS namespace_name, proname::text AS function_name, pg_get_function_identity_arguments(p.oid) AS argument_types,
	privilege_type, pg_get_userbyid(grantee)::text AS identity_name, 'user'::text AS identity_type, is_grantable AS admin_option
	FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace, aclexplode(proacl) WHERE grantee <> 0 AND prokind = 'f';
CREATE VIEW pg_catalog.svv_language_privileges AS SELECT lanname::text AS language_name, privilege_type,
	pg_get_userbyid(grantee)::text AS identity_name, 'user'::text AS identity_type, is_grantable AS admin_option FROM pg_language, aclexplode(lanacl) WHERE grantee <> 0;
CREATE VIEW pg_catalog.svv_default_privileges AS SELECT nspname::text AS schema_name, CASE defaclobjtype WHEN 'r' THEN 'RELATION' ELSE 'FUNCTION' END AS object_type,
	pg_get_userbyid(defaclrole)::text AS owner_name, privilege_type, pg_get_userbyid(grantee)::text AS grantee_name, 'user'::text AS grantee_type, is_grantable AS admin_option
	FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace, aclexplode(defaclacl) WHERE defaclobjtype IN ('r', 'f') AND grantee NOT IN (0, defaclrole);
GRANT SELECT ON svv_user_info, svv_user_grants, svv_role_grants, svv_system_privileges, svv_database_privileges, svv_schema_privileges, svv_relation_privileges, svv_column_privileges, svv_function_privileges, svv_language_privileges, svv_default_privileges TO PUBLIC;
RESET allow_system_table_mods`
