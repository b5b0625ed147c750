package mysql_test

import (
	"context"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// reset returns a request by which the superuser sets the single user's password.
func (f *fixture) reset(user, next string) *engine.Request {
	r := f.single(user, "lost", next)
	r.Login, r.Superuser = f.admin(), true
	return r
}

func TestAccountOfTheSameNameForOtherHostsIsNotTaken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		// The login uses the account for the function's address and proves nothing about another account with the
		// same name.
		name, own := f.user("localhost", "127.0.0.1")
		database := f.server.Database(t)
		f.sql("CREATE USER "+account(name, "10.9.8.7")+" IDENTIFIED "+f.by("Somebody-Elses-Pw-1"),
			"GRANT ALL ON "+database+".* TO "+account(name, "10.9.8.7"))
		before := f.created(name, "10.9.8.7")
		r := f.alternating(name, own, name+"_clone", "Second-Pw-2")
		for _, err := range []error{f.engine.DryRun(t.Context(), r), f.engine.Set(t.Context(), r)} {
			fails(t, err, engine.TakeoverRefused, "'10.9.8.7'", "several accounts", "GRANT SHOW VIEW ON `rotator-",
				"rename or drop it")
		}
		fails(t, f.engine.Set(t.Context(), f.reset(name, "Third-Pw-3")), engine.TakeoverRefused, "10.9.8.7")
		f.opens(name, true, own)

		// An administrator marks it.
		f.claim(name, own)
		if f.set(r); f.created(name, "10.9.8.7") != before {
			t.Error("the current user's account has changed")
		}
		f.sameRights(name, name+"_clone", "10.9.8.7")

		// The account that the engine created for the second user counts as the secret's.
		f.set(f.alternating(name+"_clone", "Second-Pw-2", name, "Third-Pw-3"))
		if f.created(name, "10.9.8.7") == before {
			t.Error("the account that an administrator marked kept its password")
		}
		f.set(f.reset(name, "Fourth-Pw-4"))
		f.opens(name, true, "Fourth-Pw-4")
	})
}

func TestSecondUsersAccountForOtherHostsIsNotTaken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		name, own := f.user("localhost", "10.9.8.7")
		clone := name + "_clone"
		f.sql("CREATE USER "+account(clone, "localhost")+" IDENTIFIED "+f.by("Proved-Pw-1"),
			"CREATE USER "+account(clone, "10.9.8.7")+" IDENTIFIED "+f.by("Somebody-Elses-Pw-1"))
		before := f.created(clone, "10.9.8.7")
		r := f.alternating(name, own, clone, "Second-Pw-2")
		r.Proofs = []engine.Value{f.value(clone, "Proved-Pw-1")}
		fails(t, f.engine.Set(t.Context(), r), engine.TakeoverRefused, "'10.9.8.7'")
		if f.created(clone, "10.9.8.7") != before {
			t.Error("another account was changed")
		}
	})
}

// An administrator created the first user's accounts and may have made them the definers of views. They are not dropped
// just because the second user has lost one.
func TestNoAccountOfTheFirstUserIsDropped(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		name, own := f.user("localhost", "10.9.8.7")
		clone := name + "_clone"
		f.claim(name, own)
		f.set(f.alternating(name, own, clone, "Second-Pw-2"))
		f.sql("DROP USER " + account(clone, "10.9.8.7"))
		before := f.created(name, "10.9.8.7")
		r := f.alternating(clone, "Second-Pw-2", name, "Third-Pw-3")
		for _, err := range []error{f.engine.DryRun(t.Context(), r), f.engine.Set(t.Context(), r)} {
			fails(t, err, engine.TakeoverRefused, "'10.9.8.7'", "or drop this one")
		}
		if f.created(name, "10.9.8.7") != before {
			t.Error("the account was changed")
		}
		f.opens(name, true, own)
		f.sql("DROP USER " + account(name, "10.9.8.7"))
		f.set(r)
	})
}

func TestAnAdministratorByARoleIsKnown(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, byDefault := range []bool{true, false} {
			boss, old := f.user()
			role, inner := testserver.Unique("team_"), testserver.Unique("dba_")
			f.sql("CREATE ROLE "+role+", "+inner, "GRANT ALL PRIVILEGES ON *.* TO "+inner+" WITH GRANT OPTION",
				"GRANT "+inner+" TO "+role, "GRANT "+role+" TO "+account(boss, "%"))
			switch {
			case !byDefault:
			case f.name == "mariadb":
				f.sql("SET DEFAULT ROLE " + role + " FOR " + account(boss, "%"))
			default:
				f.sql("SET DEFAULT ROLE " + role + " TO " + account(boss, "%"))
			}
			r := f.reset(boss, "The-Attackers-Pw-1")
			fails(t, f.engine.DryRun(context.Background(), r), engine.TakeoverRefused, boss, "on everything")
			fails(t, f.engine.Set(context.Background(), r), engine.TakeoverRefused, boss)
			f.opens(boss, true, old)

			// An administrator cannot be the second user of an ordinary user either.
			low, lowPassword := f.user()
			f.sql("RENAME USER " + account(boss, "%") + " TO " + account(low+"_clone", "%"))
			r = f.alternating(low, lowPassword, low+"_clone", "Second-Pw-2")
			r.Proofs = []engine.Value{f.value(low+"_clone", old)}
			fails(t, f.engine.DryRun(context.Background(), r), engine.TakeoverRefused, "an administrator")
			f.sql("DROP ROLE " + role + ", " + inner)
		}
	})
}
