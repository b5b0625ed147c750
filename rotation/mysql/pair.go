package mysql

import (
	"context"
	"errors"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// target is a superuser's session for package pair and for one host. The server checks each account of a user
// separately, and accounts with the same name can belong to different people. So package pair works on accounts, such
// as app@localhost and app_clone@localhost.
type target struct {
	*session
	change           pair.Change // with names of accounts
	current, pending string      // the users' names
	host, password   string
	keep             string   // a single user's password that stays valid if the server allows it, or ""
	like             account  // the current user's account for the host
	other            *account // the pending user's account, or nil
}

// toFirst reports whether the change is to the first user, which an administrator created.
func (t target) toFirst() bool { return t.current == t.pending+t.change.Kind.CloneSuffix }

// mark is the pair's mark. A single user has the mark of the pair whose first user it would be.
func (t target) mark() string {
	if t.current != t.pending {
		return mark(t.current, t.pending)
	}
	first := strings.TrimSuffix(t.current, t.change.Kind.CloneSuffix)
	return mark(first, first+t.change.Kind.CloneSuffix)
}

// bySuperuser makes or rehearses the change for every account of the user that logs in with a password.
func (t target) bySuperuser(ctx context.Context) error {
	r, rehearsal := t.change.Request, t.change.Rehearsal
	all, err := t.accounts(ctx, t.current, t.mark())
	if err != nil {
		return err
	}
	accounts := slices.DeleteFunc(slices.Clone(all), func(a account) bool { return a.plugin == "" })
	var others []account
	if r.Strategy == engine.AlternatingUsers {
		if others, err = t.accounts(ctx, t.pending, t.mark()); err != nil {
			return err
		}
	} else if len(accounts) == 1 { // with several, a retry could not tell how far it got
		password, _ := r.Current.Text("password")
		for _, proof := range r.Proofs {
			if proved, _ := proof.Text("password"); proved == password {
				t.keep = password
			}
		}
	}
	if r.KeepCurrent && t.keep == "" {
		return engine.ErrOneAtATime
	}
	if len(accounts) == 0 { // Find then returns the reason
		accounts, rehearsal = append(all, account{})[:1], true
	}
	several := len(accounts) > 1 || len(others) > 1
	apply := func(rehearsal bool) error {
		for _, a := range accounts {
			one := t.at(a, at(others, a.host), several, rehearsal)
			if err := pair.Apply(ctx, one, one.change); err != nil {
				return err
			}
		}
		return nil
	}
	if rehearsal || several { // nothing changes before every account is checked
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

// at returns the target for an account of the user and the other user's account for the same host.
func (t target) at(a account, other *account, several, rehearsal bool) target {
	t.host, t.like, t.like.several, t.other = a.host, a, several, other
	r := *t.change.Request
	if rehearsal && !t.change.Rehearsal {
		r.Report = nil // the later change reports
	}
	if several { // a login proves only the account that it uses
		r.Proofs = nil
	}
	named := func(user string) string { return account{user: user, host: a.host}.name() }
	t.change = pair.Change{Kind: t.change.Kind, Request: &r, Superuser: named(t.Target.User), Current: named(t.current),
		Pending: named(t.pending), Rehearsal: rehearsal}
	return t
}

// strangers refuses accounts that share a name with the secret's: a login proves only the account whose host matches
// the function's address. It returns the second user's accounts for hosts where the first user no longer has one.
func (t target) strangers(ctx context.Context, accounts, others []account) (lost []account, err error) {
	for _, a := range accounts {
		if len(accounts) > 1 && !a.marked {
			return nil, engine.Errorf(engine.TakeoverRefused,
				"rename or drop it; if it is the secret's, do this as an administrator of the target: "+t.Mark(nil, &a),
				"the user %q has several accounts, and %s is not proved to be the secret's", t.current, a.name())
		}
	}
	for _, a := range others {
		switch {
		case at(accounts, a.host) != nil:
		case a.newborn, a.marked && !t.toFirst():
			if err := pair.RefuseAdministrator(ctx, t, &a, a.name()); err != nil {
				return nil, err
			}
			lost = append(lost, a)
		case a.plugin != "":
			// For logins from that host, the server would use this account, not the secret's.
			return nil, engine.Errorf(engine.TakeoverRefused, "create "+t.current+" for this host, or drop this one",
				"the user %s exists, but %q has no account for its host", a.name(), t.current)
		}
	}
	return lost, nil
}

func (t target) Find(_ context.Context, name string) (*account, error) {
	a := t.other
	if name == t.change.Current {
		a = &t.like
	}
	if a == nil || a.user == "" {
		return nil, nil
	}
	_, err := a.password()
	return a, err
}

func (t target) now(ctx context.Context) (*account, error) {
	list, err := t.accounts(ctx, t.pending, t.mark())
	return at(list, t.host), err
}

func (t target) Administrator(ctx context.Context, a *account) (string, error) {
	sets, err := t.powers(ctx, *a)
	for _, set := range sets {
		if power := set.power(); power != "" {
			return "an administrator by " + power, nil
		}
	}
	return "", err
}

// Exceeds compares global rights. Equalize revokes excess rights, but must not revoke them from a stranger's account.
func (t target) Exceeds(ctx context.Context, current, other *account) (string, error) {
	if other.marked {
		return "", nil
	}
	theirs, err := t.powers(ctx, *other)
	if err != nil {
		return "", err
	}
	ours, err := t.powers(ctx, *current)
	return exceed(theirs, ours), err
}

func (t target) Marked(_ context.Context, _, other *account) (bool, error) {
	return other.marked || other.newborn, nil
}

func (t target) Mark(_, other *account) string { return marking(t.mark(), *other) }

func (t target) Rehearse(ctx context.Context, current, other *account) error {
	err := t.dialect.rehearseOther(ctx, t.password)
	if err != nil || current == nil {
		return err
	}
	return t.rehearseRights(ctx, *current, other)
}

// Create creates an account with the current one's method and a random password, unless a concurrent call has done so.
func (t target) Create(ctx context.Context, _ *account, name string) (*account, error) {
	credential, err := t.dialect.credential(ctx, t.like.plugin, decoy())
	if err == nil {
		err = t.secretly(ctx, "the user "+name+" could not be created",
			"CREATE USER "+name+" IDENTIFIED "+credential+" "+birth(t.mark()))
	}
	if err != nil && code(err) != userOperationFailed {
		return nil, err
	}
	created, err := t.now(ctx)
	if err == nil && (created == nil || !created.newborn && !created.marked) {
		err = engine.Errorf(engine.TargetFailed, "let Secrets Manager retry",
			"the user %s was changed while it was created", name)
	}
	return created, err
}

// Equalize compares both accounts again at the end, because the password is set next.
func (t target) Equalize(ctx context.Context, current, other *account) error {
	for _, a := range []*account{current, other} {
		if !a.marked {
			if err := t.alter(ctx, marking(t.mark(), *a)); err != nil {
				return err
			}
		}
	}
	if err := t.level(ctx, *current, *other); err != nil {
		return err
	}
	if other.attributes != current.attributes {
		if err := t.alter(ctx, "ALTER USER "+other.name()+" "+current.attributes); err != nil {
			return err
		}
	}
	if other.roles != current.roles {
		if err := t.alter(ctx, t.dialect.defaultRoles(*other, current.roles)); err != nil {
			return err
		}
	}
	now, err := t.now(ctx)
	if err == nil && (now == nil || now.attributes != current.attributes || now.roles != current.roles) {
		err = engine.Errorf(engine.TargetFailed, "give both users the same attributes by hand",
			"the users %s and %s still differ", current.name(), other.name())
	}
	return err
}

func (t target) SetPassword(ctx context.Context, a *account) error {
	err := t.dialect.setPassword(ctx, *a, t.like, t.password, t.keep)
	if errors.Is(err, engine.ErrOneAtATime) && !t.request.KeepCurrent {
		err = t.dialect.setPassword(ctx, *a, t.like, t.password, "")
	}
	if err == nil && a.plugin != t.like.plugin {
		t.request.Changed("ALTER USER " + a.name() + " IDENTIFIED WITH " + t.like.plugin)
	}
	return err
}
