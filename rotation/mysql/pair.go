package mysql

import (
	"cmp"
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

func (t *target) alter(ctx context.Context, statement string) error {
	return t.Change(ctx, t.change.Request, statement)
}

func (t *target) mark() string { return mark(t.change.Current, t.change.Pending) }

func (t *target) Find(ctx context.Context, name string) (*account, error) {
	rows, err := t.Texts(ctx, "the user's accounts cannot be read", "SELECT Host, "+t.facts.role+", EXISTS (SELECT * "+
		"FROM mysql.db d WHERE d.Db = "+text(t.mark())+" AND d.User = u.User AND d.Host = u.Host) FROM mysql.user u "+
		"WHERE User = "+text(name)+" AND "+t.facts.isUser+" ORDER BY Host")
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	a := &account{user: name, host: rows[0][0], marked: rows[0][2] == "1"}
	if role := rows[0][1]; role != "" {
		a.roles = identifier(role)
	}
	if t.current == nil {
		t.current = a
	}
	for _, row := range rows {
		if one := (account{user: name, host: row[0]}); one.host != t.current.host {
			return nil, engine.Errorf(engine.TakeoverRefused,
				"rename or drop accounts until each user of the secret has one, for the same host",
				"the accounts %s and %s may belong to different people", t.current.name(), one.name())
		}
	}
	err = t.describe(ctx, a)
	a.newborn = strings.HasPrefix(a.attributes, birth(t.mark())+" ")
	return a, err
}

func (t *target) Administrator(ctx context.Context, a, _ *account) (string, error) {
	sets, err := t.powers(ctx, *a)
	for _, set := range sets {
		if power := set.power(); power != "" {
			return "an administrator by " + power, nil
		}
	}
	return "", err
}

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

// Equalize copies the mark with the other rights.
func (t *target) Equalize(ctx context.Context, current, other *account) error {
	var err error
	if !current.marked {
		err = t.alter(ctx, marking(t.mark(), *current))
	}
	if err == nil {
		err = t.level(ctx, *current, *other)
	}
	if err == nil && other.attributes != current.attributes {
		err = t.alter(ctx, "ALTER USER "+other.name()+" "+current.attributes)
	}
	if err == nil && other.roles != current.roles {
		err = t.alter(ctx, fmt.Sprintf(t.facts.defaultRoles, other.name(), cmp.Or(current.roles, "NONE")))
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
