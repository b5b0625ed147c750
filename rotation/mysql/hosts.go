package mysql

import (
	"context"
	"fmt"
	"slices"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// at returns the account for the host, or nil.
func at(list []account, host string) *account {
	i := slices.IndexFunc(list, func(a account) bool { return a.host == host })
	if i < 0 {
		return nil
	}
	return &list[i]
}

// bySuperuser makes or rehearses the change for every account of the user that logs in by a password.
func (t target) bySuperuser(ctx context.Context) error {
	r, rehearsal := t.change.Request, t.change.Rehearsal
	if !rehearsal {
		if err := t.lock(ctx, r.Secret); err != nil {
			return err
		}
	}
	all, err := t.dialect.accounts(ctx, t.current, t.role())
	if err != nil {
		return err
	}
	accounts := slices.DeleteFunc(slices.Clone(all), func(a account) bool { return a.plugin == "" })
	var others []account
	if r.Strategy == engine.AlternatingUsers {
		if others, err = t.dialect.accounts(ctx, t.pending, t.role()); err != nil {
			return err
		}
	}
	apply := func(rehearsal bool) error {
		for _, a := range accounts {
			if err := t.at(a, at(others, a.host), rehearsal).apply(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	if len(accounts) == 0 { // refused with the reason
		return t.at(append(all, account{host: "%"})[0], nil, true).apply(ctx)
	}
	if rehearsal || len(accounts) > 1 { // nothing changes before every account was looked at
		if err := apply(true); err != nil {
			return err
		}
	}
	lost, err := t.strangers(ctx, accounts, others)
	if err != nil || rehearsal {
		return err
	}
	if err := apply(false); err != nil {
		return err
	}
	for _, a := range lost {
		if err := t.alter(ctx, "DROP USER "+a.name()); err != nil {
			return err
		}
	}
	return nil
}

// at returns the target for an account of the user and the other user's for the same host. Only what
// opens these two proves them.
func (t target) at(a account, other *account, rehearsal bool) target {
	t.host, t.like = a.host, a
	r := *t.change.Request
	if rehearsal && !t.change.Rehearsal {
		r.Report = nil // the change that follows reports
	}
	known := credentials(&r)
	if r.Strategy == engine.AlternatingUsers && !t.dialect.marks() {
		known = append(known, t.birth())
	}
	r.Proofs = slices.DeleteFunc(known, func(v engine.Value) bool {
		return !a.accepts(v) && (other == nil || !other.accepts(v))
	})
	named := func(user string) string { return account{user: user, host: a.host}.name() }
	t.change = pair.Change{Kind: t.change.Kind, Request: &r, Superuser: named(t.target.User), Current: named(t.current), Pending: named(t.pending), Rehearsal: rehearsal}
	return t
}

func (t target) apply(ctx context.Context) error { return pair.Apply(ctx, t, t.change) }

// credentials are the values by which an account can be seen to be the secret's: those that the core
// has found to be accepted, and those of this rotation.
func credentials(r *engine.Request) []engine.Value {
	return append([]engine.Value{r.Current, r.Pending}, r.Proofs...)
}

// strangers refuses accounts that share a name with one of the secret's: a login meets only the account
// that fits the function's address. It returns those of the second user that the current one has lost.
func (t target) strangers(ctx context.Context, accounts, others []account) (lost []account, err error) {
	alternating := t.change.Request.Strategy == engine.AlternatingUsers
	for _, a := range accounts {
		if !alternating && len(accounts) == 1 || a.marked || slices.ContainsFunc(credentials(t.change.Request), a.accepts) {
			continue
		}
		claim := "give it the secret's password"
		if t.dialect.marks() {
			claim = "do this as an administrator of the target: " + t.Mark(nil, &a)
		}
		return nil, engine.Errorf(engine.TakeoverRefused, "rename or drop it; or, if it is the secret's user, "+claim,
			"the user %s has another password than the secret, and nothing but its name says that it is the secret's", a.name())
	}
	for _, a := range others {
		switch {
		case at(accounts, a.host) != nil:
		case a.marked:
			if err := pair.RefuseAdministrator(ctx, t, &a, a.name()); err != nil {
				return nil, err
			}
			lost = append(lost, a)
		case a.plugin != "":
			// For logins from there the server would take this account, with
			// its own password, in place of the one that the secret names.
			return nil, engine.Errorf(engine.TakeoverRefused, fmt.Sprintf("create an account of %q for the same host, or drop this one", t.current),
				"the user %s exists, and %q has no account for its host", a.name(), t.current)
		}
	}
	return lost, nil
}
