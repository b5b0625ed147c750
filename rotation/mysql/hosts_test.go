package mysql_test

import (
	"context"
	"strings"
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

// A login proves only the account for the function's address. Another one with that name can be somebody else's, or
// make the server use it instead of the secret's.
func TestAccountsForOtherHostsAreRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		name, own := f.user("localhost")
		clone := name + "_clone"
		r := f.alternating(name, own, clone, "Second-Pw-2")
		r.Proofs = []engine.Value{r.Current, f.value(clone, "Proved-Pw-1")}
		for user, clones := range map[string][]string{name: nil, clone: {"localhost"}, clone + " alone": nil} {
			user, _, _ := strings.Cut(user, " ")
			for _, host := range clones {
				f.sql("CREATE USER " + account(clone, host) + " IDENTIFIED " + f.by("Proved-Pw-1"))
			}
			f.sql("CREATE USER " + account(user, "10.9.8.7") + " IDENTIFIED " + f.by("Somebody-Elses-Pw-1"))
			before := f.created(user, "10.9.8.7")
			errs := []error{f.engine.DryRun(t.Context(), r), f.engine.Set(t.Context(), r)}
			if user == name {
				errs = append(errs, f.engine.Set(t.Context(), f.reset(name, "Third-Pw-3")))
			}
			for _, err := range errs {
				fails(t, err, engine.TakeoverRefused, user, "10.9.8.7", "rename or drop")
			}
			if f.created(user, "10.9.8.7") != before {
				t.Error("another account was changed")
			}
			f.opens(name, true, own)
			f.sql("DROP USER IF EXISTS " + account(user, "10.9.8.7") + ", " + account(clone, "localhost"))
		}
		f.set(r)
		f.set(f.alternating(clone, "Second-Pw-2", name, "Third-Pw-3"))
		f.set(f.reset(name, "Fourth-Pw-4"))
		f.opens(name, true, "Fourth-Pw-4")
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
