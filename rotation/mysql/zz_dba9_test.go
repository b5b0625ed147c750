//go:build repro && mysql

package mysql_test

import (
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

const rdsMySQL = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE, REPLICATION CLIENT, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER, CREATE ROLE, DROP ROLE"

func TestZRDSMySQL(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		for _, how := range []string{"direct", "role"} {
			m, mpw := f.user()
			if how == "direct" {
				f.sql("GRANT "+rdsMySQL+" ON *.* TO "+account(m, "%")+" WITH GRANT OPTION", "GRANT APPLICATION_PASSWORD_ADMIN, ROLE_ADMIN, XA_RECOVER_ADMIN ON *.* TO "+account(m, "%")+" WITH GRANT OPTION")
			} else {
				r := testserver.Unique("rds_superuser_role_")
				f.sql("CREATE ROLE "+r, "GRANT "+rdsMySQL+" ON *.* TO "+r+" WITH GRANT OPTION", "GRANT APPLICATION_PASSWORD_ADMIN, ROLE_ADMIN, XA_RECOVER_ADMIN ON *.* TO "+r+" WITH GRANT OPTION",
					"GRANT "+r+" TO "+account(m, "%"), "ALTER USER "+account(m, "%")+" DEFAULT ROLE "+r)
			}
			db := f.server.Database(t)
			user, first := f.user()
			as := func(r *engine.Request) *engine.Request { r.Login = f.value(m, mpw); return r }
			f.sql("GRANT ALL PRIVILEGES ON " + db + ".* TO " + account(user, "%"))
			t.Log(how, "ALL on db:", f.try(as(f.alternating(user, first, user+"_clone", "Second-Pw-2"))))
			t.Log(how, "back:", f.try(as(f.alternating(user+"_clone", "Second-Pw-2", user, "Third-Pw-3"))))
			t.Log(f.granted(user, "%"))
			// app with a password retained by hand, REQUIRE SSL
		}
	})
}

func TestZPartialRevokes(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		f.sql("SET GLOBAL partial_revokes = ON")
		m, mpw := f.user()
		f.sql("GRANT "+rdsMySQL+" ON *.* TO "+account(m, "%")+" WITH GRANT OPTION", "GRANT APPLICATION_PASSWORD_ADMIN, ROLE_ADMIN, XA_RECOVER_ADMIN ON *.* TO "+account(m, "%")+" WITH GRANT OPTION",
			"REVOKE INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX ON mysql.* FROM "+account(m, "%"))
		as := func(r *engine.Request) *engine.Request { r.Login = f.value(m, mpw); return r }
		user, first := f.user()
		f.sql("GRANT SELECT, INSERT, CREATE ON *.* TO " + account(user, "%")) // by another administrator, without the restrictions
		t.Log("unrestricted app:", f.try(as(f.alternating(user, first, user+"_clone", "Second-Pw-2"))))
		user, first = f.user()
		f.sql("GRANT SELECT, INSERT, CREATE ON *.* TO "+account(user, "%"), "REVOKE INSERT, CREATE ON mysql.* FROM "+account(user, "%"))
		t.Log("restricted app:", f.try(as(f.alternating(user, first, user+"_clone", "Second-Pw-2"))))
		t.Log(f.granted(user+"_clone", "%"))
	})
}
