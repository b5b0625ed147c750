//go:build repro && mysql

package mysql_test

import (
	"testing"

	"example.com/rotator/rotation/engine"
)

func TestZPartialRevokesOwn(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		f.sql("SET GLOBAL partial_revokes = ON")
		m, mpw := f.user()
		f.sql("GRANT "+rdsMySQL+" ON *.* TO "+account(m, "%")+" WITH GRANT OPTION", "GRANT APPLICATION_PASSWORD_ADMIN, ROLE_ADMIN, XA_RECOVER_ADMIN ON *.* TO "+account(m, "%")+" WITH GRANT OPTION",
			"REVOKE INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX ON mysql.* FROM "+account(m, "%"))
		as := func(r *engine.Request) *engine.Request { r.Login = f.value(m, mpw); return r }
		user, first := f.user()
		mdb := f.as(m, mpw)
		_, err := mdb.Exec("GRANT SELECT, INSERT, CREATE ON *.* TO " + account(user, "%"))
		t.Log("the master itself grants:", err, f.granted(user, "%"))
		t.Log("rotate:", f.try(as(f.alternating(user, first, user+"_clone", "Second-Pw-2"))))
	})
}
