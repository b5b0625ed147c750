package mysql

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// target is a superuser's session for package pair, and for one host. The server checks each account of
// a user separately, and accounts of one name can belong to different people: so package pair decides
// about accounts, such as app@localhost and app_clone@localhost, and each needs its own proof.
type target struct {
	*session
	change           pair.Change // its names are those of accounts
	current, pending string      // the users' names
	host, password   string
	like             account // the current user's for the host
}

// role is the name of the role that the accounts of both users have and that allows nothing. Only an
// administrator can give it, so it tells a second user from a stranger of that name. What a user can
// set itself, as MySQL's attributes, or choose, as its name, would prove nothing.
func role(user, other string) string {
	sum := sha256.Sum256([]byte(min(user, other) + "\x00" + max(user, other)))
	return "rotator_" + hex.EncodeToString(sum[:8])
}

func (t target) role() string {
	if t.current != t.pending {
		return role(t.current, t.pending)
	}
	first := strings.TrimSuffix(t.current, t.change.Kind.CloneSuffix)
	return role(first, first+t.change.Kind.CloneSuffix)
}

// marking are the statements that mark an account.
func (t target) marking(a *account) []string {
	return []string{"CREATE ROLE IF NOT EXISTS " + t.role(), "GRANT " + t.role() + " TO " + a.name()}
}

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

// birth is the login of a second user that has not been given its rights, on a server that cannot mark.
func (t target) birth() engine.Value {
	r := t.change.Request
	return r.Pending.With("password", pair.BirthPassword(r, t.pending))
}

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

func (t target) Find(ctx context.Context, name string) (*account, error) {
	user := t.pending
	if name == t.change.Current {
		user = t.current
	}
	list, err := t.dialect.accounts(ctx, user, t.role())
	a := at(list, t.host)
	if a != nil && user == t.current && a.plugin == "" {
		err = engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "the user %s does not log in by a password", name)
	}
	return a, err
}

func (t target) Administrator(ctx context.Context, a *account) (string, error) {
	rights, err := t.powers(ctx, *a)
	if err != nil || rights.power() == "" {
		return "", err
	}
	return "an administrator by " + rights.power(), nil
}

// Exceeds compares rights on everything. Equalize takes them, but not from somebody else's account.
func (t target) Exceeds(ctx context.Context, current, other *account) (string, error) {
	if other.marked {
		return "", nil
	}
	theirs, err := t.powers(ctx, *other)
	if err != nil {
		return "", err
	}
	ours, err := t.powers(ctx, *current)
	return theirs.exceeds(ours), err
}

func (t target) Marked(_ context.Context, _, other *account) (bool, error) { return other.marked, nil }

// Mark is, on a server without roles, to begin again with no second user.
func (t target) Mark(_, other *account) string {
	if !t.dialect.marks() {
		return "DROP USER " + other.name() + ", which the rotation creates again"
	}
	return strings.Join(t.marking(other), "; ")
}

func (t target) Rehearse(ctx context.Context, current, other *account) error {
	err := t.dialect.rehearseOther(ctx, t.password)
	if err != nil || current == nil || !t.dialect.marks() {
		return err // without roles, a GRANT would create the user
	}
	return t.rehearseRights(ctx, *current, other)
}

func (t target) Create(ctx context.Context, current *account, name string) (*account, error) {
	if t.dialect.marks() {
		if err := t.alter(ctx, t.marking(current)[0]); err != nil {
			return nil, err
		}
	}
	birth, _ := t.birth().Text("password")
	if err := t.dialect.create(ctx, account{user: t.pending, host: t.host}, *current, t.role(), birth); err != nil {
		return nil, err
	}
	other, err := t.Find(ctx, name)
	if err == nil && other == nil {
		err = engine.Errorf(engine.TargetFailed, "let Secrets Manager repeat the step", "the user %s was dropped while it was created", name)
	}
	return other, err
}

// Equalize also compares both accounts at the end: it is the last step before the password.
func (t target) Equalize(ctx context.Context, current, other *account) error {
	for _, a := range []*account{current, other} {
		if !t.dialect.marks() || a.marked {
			continue
		}
		for _, statement := range t.marking(a) {
			if err := t.alter(ctx, statement); err != nil {
				return err
			}
		}
	}
	if err := t.level(ctx, *other, *current); err != nil {
		return err
	}
	if other.attributes != current.attributes {
		if err := t.alter(ctx, "ALTER USER "+other.name()+" "+current.attributes); err != nil {
			return err
		}
	}
	if err := t.dialect.attributes(ctx, *other, *current); err != nil {
		return err
	}
	now, err := t.Find(ctx, t.change.Pending)
	if err == nil && (now == nil || now.attributes != current.attributes || now.roles != current.roles || now.comment != current.comment) {
		err = engine.Errorf(engine.TargetFailed, "give both users the same attributes by hand", "the users %s and %s still differ", current.name(), other.name())
	}
	return err
}

func (t target) SetPassword(ctx context.Context, a *account) error {
	err := t.dialect.setPassword(ctx, *a, t.like, t.password)
	if err == nil && (a.locked != t.like.locked || a.plugin != t.like.plugin) {
		t.request.Changed("ALTER USER " + a.name() + " IDENTIFIED WITH " + t.like.plugin + t.like.lock())
	}
	return err
}
