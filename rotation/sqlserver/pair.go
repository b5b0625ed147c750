package sqlserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// target is the session for package pair. A pair is two logins, or two users of a contained database.
type target struct {
	*session
	request  *engine.Request
	password string
	first    *principal // the first principal that Find returned
}

// Find ignores a login if the first user is a contained user: the two cannot be a pair.
func (t *target) Find(ctx context.Context, name string) (*principal, error) {
	p, err := t.find(ctx, name)
	switch {
	case err != nil || p == nil:
		return nil, err
	case t.first == nil:
		if t.first = p; p.contained {
			err = t.untrapped(ctx, t.home(p))
		}
	case p.contained && !t.first.contained:
		return nil, engine.Errorf(engine.TakeoverRefused, "drop or rename the user of the database",
			"the database's user %q hides the login with that name", p.name)
	case t.first.contained && !p.contained:
		return nil, nil
	}
	return p, err
}

func (t *target) Administrator(_ context.Context, p *principal) (string, error) {
	if p.powerful {
		return "an administrator", nil
	}
	return "", nil
}

func (t *target) Exceeds(context.Context, *principal, *principal) (string, error) { return "", nil }

// Marked reports whether either user is marked as the other's second.
func (t *target) Marked(ctx context.Context, current, other *principal) (bool, error) {
	for _, each := range [][2]*principal{{current, other}, {other, current}} {
		rights, err := t.rights(ctx, t.home(each[0]), each[0].name)
		if err != nil || slices.ContainsFunc(rights,
			func(r right) bool { return r.what == mark(each[1]) && r.state != "D" }) {
			return err == nil, err
		}
	}
	return false, nil
}

func (t *target) Mark(current, other *principal) string { return t.grantMark(current, other) }

func (t *target) Rehearse(ctx context.Context, current, other *principal) error {
	p := other
	if current != nil {
		next := *current
		next.name = user(t.request.Pending)
		p = &next
	}
	err := p.policy(t.password)
	if err == nil {
		err = t.mayChange(ctx, p)
	}
	if err == nil && current != nil && !p.contained {
		_, err = t.shares(ctx, current.name, p.name)
	}
	return err
}

// mark is the permission that marks a pair: the first user may view the second's definition. Granting it requires
// control of the second user, which also allows setting its password.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/grant-server-principal-permissions-transact-sql
func mark(second *principal) string {
	on := " ON LOGIN::"
	if second.contained {
		on = " ON USER::"
	}
	return "VIEW DEFINITION" + on + identifier(second.name)
}

func (s *session) grantMark(first, second *principal) string {
	return s.home(second).run("GRANT " + mark(second) + " TO " + identifier(first.name))
}

// Create creates the second user with an unknown password, and marks it in the same transaction.
func (t *target) Create(ctx context.Context, current *principal, name string) (*principal, error) {
	other := *current
	other.name = name
	unknown := " WITH PASSWORD = " + text(rand.Text()+"aA1!")
	statement := "CREATE LOGIN " + identifier(name) + unknown + ", " + current.options
	if current.contained {
		statement = "CREATE USER " + identifier(name) + unknown
		if current.schema != "" {
			statement += ", DEFAULT_SCHEMA = " + identifier(current.schema)
		}
	}
	marking := t.grantMark(current, &other)
	err := t.Secretly(ctx, "the user "+identifier(name)+" could not be created",
		"SET XACT_ABORT ON; BEGIN TRANSACTION; "+statement+"; "+marking+"; COMMIT TRANSACTION")
	if have := numbers(err); slices.Contains(have, 15025) || slices.Contains(have, 15023) {
		return nil, fmt.Errorf("%w: %w", pair.ErrExists, err)
	}
	if err == nil {
		t.request.Changed(marking)
	}
	return &other, err
}

func (t *target) SetPassword(ctx context.Context, p *principal) error {
	err := t.setPassword(ctx, p, t.password, "")
	if err == nil && p.disabled && t.request.Strategy == engine.AlternatingUsers {
		err = t.Change(ctx, t.request, p.statement()+" ENABLE")
	}
	return err
}

// Equalize equalizes the two in every database where either has a user.
func (t *target) Equalize(ctx context.Context, current, other *principal) error {
	marked, err := t.Marked(ctx, current, other)
	if err == nil && !marked {
		err = t.Change(ctx, t.request, t.grantMark(current, other))
	}
	if err == nil && current.contained && current.schema != other.schema && current.schema != "" {
		err = t.Change(ctx, t.request, other.statement()+" WITH DEFAULT_SCHEMA = "+identifier(current.schema))
	}
	if err == nil && !current.contained && current.options != other.options {
		err = t.Change(ctx, t.request, other.statement()+" WITH "+current.options)
	}
	if err == nil {
		err = t.level(ctx, t.home(current), current.name, other.name, nil)
	}
	if err != nil || current.contained {
		return err
	}
	shares, err := t.shares(ctx, current.name, other.name)
	for i := 0; err == nil && i < len(shares); i++ {
		err = t.equalIn(ctx, shares[i], other.name)
	}
	return err
}
