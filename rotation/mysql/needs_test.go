package mysql_test

import (
	"testing"

	"example.com/rotator/internal/testing/grants"
	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// TestGrants checks the grants for a single user, and for alternating users with the grants that the note adds.
func TestGrants(t *testing.T) {
	for _, c := range []struct {
		name     string
		strategy engine.Strategy
		role     bool
	}{
		{"alternating", engine.AlternatingUsers, false},
		{"alternating, a default role", engine.AlternatingUsers, true},
		{"single", engine.SingleUser, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) { proveGrants(t, f, c.strategy, c.role) })
		})
	}
}

// TestGrantsOfStrictMariaDB: a server that accepts no hashes also needs what the note says.
func TestGrantsOfStrictMariaDB(t *testing.T) {
	f := strictMariaDB(t, "")
	proveGrants(t, f, engine.AlternatingUsers, false)
	proveGrants(t, f, engine.AlternatingUsers, true)

	user, password := f.user()
	master, masterPassword := f.user()
	f.sql("GRANT CREATE USER, SELECT, SHOW VIEW ON *.* TO " + account(master, "%") + " WITH GRANT OPTION")
	r := f.alternating(user, password, user+"_clone", "Second-Pw-2")
	r.Login = f.value(master, masterPassword)
	fails(t, f.engine.Set(t.Context(), r), engine.PrivilegeMissing, "to database 'mysql'")
	f.sql("GRANT UPDATE ON mysql.* TO " + account(master, "%"))
	f.set(r)
}

// proveGrants checks the grants, for users with a default role if role is true.
func proveGrants(t *testing.T, f *fixture, strategy engine.Strategy, role bool) {
	shop := f.server.Database(t) // the secret's: without the right on it, a rotation stops
	customary := testserver.Unique("r_")
	f.sql("CREATE ROLE " + customary)
	create := func() (value engine.Value, name string) {
		user, password := f.user()
		return f.value(user, password).With("dbname", shop), account(user, "%")
	}
	target := grants.Target{Engine: f.engine, Least: 3,
		Env: map[string]string{"STRATEGY": string(strategy), "RECOVER_BY_SUPERUSER": "true"},
		New: func() (value, superuser engine.Value) {
			value, user := create()
			superuser, master := create()
			f.sql("GRANT SELECT ON " + shop + ".* TO " + user)
			if strategy == engine.AlternatingUsers {
				f.sql("GRANT SELECT ON " + shop + ".* TO " + master + " WITH GRANT OPTION")
			}
			if f.strict {
				f.sql("GRANT UPDATE ON mysql.* TO " + master)
			}
			switch {
			case role && f.name == "mariadb":
				f.sql("GRANT "+customary+" TO "+user, "SET DEFAULT ROLE "+customary+" FOR "+user,
					"GRANT "+customary+" TO "+master+" WITH ADMIN OPTION", "GRANT UPDATE ON mysql.* TO "+master)
			case role:
				f.sql("GRANT "+customary+" TO "+user, "SET DEFAULT ROLE "+customary+" TO "+user,
					"GRANT ROLE_ADMIN ON *.* TO "+master)
			}
			return value, superuser
		},
		Exec: func(line string) { f.sql(line) }}
	if strategy == engine.SingleUser {
		target.Before = func(v engine.Value) {
			user, _ := v.Text("username")
			f.sql("ALTER USER " + account(user, "%") + " IDENTIFIED BY 'By-hand-0'")
		}
	}
	target.Prove(t)
}
