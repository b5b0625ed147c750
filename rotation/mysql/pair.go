package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// target is a superuser's session for package pair. The server checks each account of a user separately, and accounts
// with the same name can belong to different people: a login proves only the one whose host matches the function's
// address. So a user must have exactly one account, for the same host as the other user.
type target struct {
	*session
	change   pair.Change
	password string
	keep     string   // a single user's password that stays valid if the server allows it, or ""
	current  *account // the first user that Find returned
}

// toFirst reports whether the change is to the first user, which an administrator created.
func (t *target) toFirst() bool {
	return t.change.Current == t.change.Pending+t.change.Kind.CloneSuffix
}

func (t *target) alter(ctx context.Context, statement string) error {
	return t.Change(ctx, t.change.Request, statement)
}

func (t *target) mark() string { return mark(t.change.Current, t.change.Pending) }

func (t *target) Find(ctx context.Context, name string) (*account, error) {
	roles, condition := t.dialect.users()
	rows, err := t.Texts(ctx, "the user's accounts cannot be read", "SELECT Host, "+roles+", EXISTS (SELECT * FROM "+
		"mysql.db d WHERE d.Db = "+text(t.mark())+" AND d.User = u.User AND d.Host = u.Host) FROM mysql.user u WHERE "+
		"User = "+text(name)+" AND "+condition+" ORDER BY Host")
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	a := &account{user: name, host: rows[0][0], roles: rows[0][1], marked: rows[0][2] == "1"}
	if t.current == nil {
		t.current = a
	}
	const advice = "rename or drop accounts until each user of the secret has one, for the same host"
	if len(rows) > 1 {
		var hosts []string
		for _, row := range rows {
			hosts = append(hosts, row[0])
		}
		return nil, engine.Errorf(engine.TakeoverRefused, advice,
			"the user %q has accounts for the hosts %q, which may belong to different people", name, hosts)
	}
	if a.host != t.current.host {
		return nil, engine.Errorf(engine.TakeoverRefused, advice, "the account %s is not for %s's host %q", a.name(),
			t.current.user, t.current.host)
	}
	if err := t.describe(ctx, a, a.name()); err != nil {
		return nil, err
	}
	a.newborn = strings.HasPrefix(a.attributes, birth(t.mark())+" ")
	_, err = a.password()
	return a, err
}

func (t *target) Administrator(ctx context.Context, a *account) (string, error) {
	sets, err := t.powers(ctx, *a)
	for _, set := range sets {
		if power := set.power(); power != "" {
			return "an administrator by " + power, nil
		}
	}
	return "", err
}

func (t *target) Exceeds(context.Context, *account, *account) (string, error) { return "", nil }

func (t *target) Marked(_ context.Context, _, other *account) (bool, error) {
	return other.marked || other.newborn, nil
}

func (t *target) Mark(_, other *account) string { return marking(t.mark(), *other) }

func (t *target) Rehearse(ctx context.Context, current, other *account) error {
	err := t.dialect.rehearseOther(ctx, t.password)
	if err != nil || current == nil {
		return err
	}
	return t.rehearseRights(ctx, *current, other)
}

// Create creates an account with the current one's method and a random password.
func (t *target) Create(ctx context.Context, current *account, name string) (*account, error) {
	a := account{user: name, host: current.host, plugin: current.plugin, newborn: true}
	credential, err := t.dialect.credential(ctx, a.plugin, decoy())
	if err == nil {
		err = t.secretly(ctx, "the user "+a.name()+" could not be created",
			"CREATE USER "+a.name()+" IDENTIFIED "+credential+" "+birth(t.mark()))
	}
	if code(err) == userOperationFailed {
		err = fmt.Errorf("%w: %w", pair.ErrExists, err)
	}
	return &a, err
}

// Equalize compares both accounts again at the end, because the password is set next.
func (t *target) Equalize(ctx context.Context, current, other *account) error {
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
	now, err := t.Find(ctx, other.user)
	if err == nil && (now == nil || now.attributes != current.attributes || now.roles != current.roles) {
		err = engine.Errorf(engine.TargetFailed, "give both users the same attributes by hand",
			"the users %s and %s still differ", current.name(), other.name())
	}
	return err
}

func (t *target) SetPassword(ctx context.Context, a *account) error {
	err := t.dialect.setPassword(ctx, *a, *t.current, t.password, t.keep)
	if errors.Is(err, engine.ErrOneAtATime) && !t.change.Request.KeepCurrent {
		err = t.dialect.setPassword(ctx, *a, *t.current, t.password, "")
	}
	other := func(plugin string) bool { return plugin != t.current.plugin }
	if err == nil && slices.ContainsFunc(a.plugins, other) { // that method has ended
		t.change.Request.Changed("ALTER USER " + a.name() + " IDENTIFIED WITH " + t.current.plugin)
	}
	return err
}
