package mysql

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// birth is the login of a second user that has not been given its rights, on a server that cannot mark.
func (t target) birth() engine.Value {
	r := t.change.Request
	return r.Pending.With("password", pair.BirthPassword(r, t.pending))
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
