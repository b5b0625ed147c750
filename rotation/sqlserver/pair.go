package sqlserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// target is the session for package pair. A pair is two logins.
type target struct {
	*session
	request  *engine.Request
	password string
}

func (t *target) Find(ctx context.Context, name string) (*principal, error) { return t.find(ctx, name) }

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
		rights, err := t.rights(ctx, server, each[0].name)
		if err != nil || slices.ContainsFunc(rights,
			func(r right) bool { return r.what == mark(each[1].name) && r.state != "D" }) {
			return err == nil, err
		}
	}
	return false, nil
}

func (t *target) Mark(current, other *principal) string { return grantMark(current.name, other.name) }

func (t *target) Rehearse(ctx context.Context, current, _ *principal) error {
	err := t.mayChange(ctx)
	if err == nil && current != nil {
		_, err = t.shares(ctx, current.name, user(t.request.Pending))
	}
	return err
}

// mark is the permission that marks a pair: the first login may view the second's definition. Granting it requires
// control of the second login, which also allows setting its password.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/grant-server-principal-permissions-transact-sql
func mark(second string) string { return "VIEW DEFINITION ON LOGIN::" + identifier(second) }

func grantMark(first, second string) string {
	return server.run("GRANT " + mark(second) + " TO " + identifier(first))
}

// Create creates the second login with an unknown password, and marks it in the same transaction.
func (t *target) Create(ctx context.Context, current *principal, name string) (*principal, error) {
	marking := grantMark(current.name, name)
	err := t.Secretly(ctx, "the login "+identifier(name)+" could not be created",
		"SET XACT_ABORT ON; BEGIN TRANSACTION; CREATE LOGIN "+identifier(name)+" WITH PASSWORD = "+
			text(rand.Text()+"aA1!")+", "+current.options+"; "+marking+"; COMMIT TRANSACTION")
	if slices.Contains(numbers(err), 15025) {
		return nil, fmt.Errorf("%w: %w", pair.ErrExists, err)
	}
	if err == nil {
		t.request.Changed(marking)
	}
	other := *current
	other.name = name
	return &other, err
}

func (t *target) SetPassword(ctx context.Context, p *principal) error {
	err := t.setPassword(ctx, "LOGIN", p.name, t.password, "")
	if err == nil && p.disabled && t.request.Strategy == engine.AlternatingUsers {
		err = t.Change(ctx, t.request, "ALTER LOGIN "+identifier(p.name)+" ENABLE")
	}
	return err
}

// Equalize equalizes the two at the server and in every database where either has a user.
func (t *target) Equalize(ctx context.Context, current, other *principal) error {
	marked, err := t.Marked(ctx, current, other)
	if err == nil && !marked {
		err = t.Change(ctx, t.request, grantMark(current.name, other.name))
	}
	if err == nil && current.options != other.options {
		err = t.Change(ctx, t.request, "ALTER LOGIN "+identifier(other.name)+" WITH "+current.options)
	}
	if err == nil {
		err = t.level(ctx, server, current.name, other.name, nil)
	}
	if err != nil {
		return err
	}
	shares, err := t.shares(ctx, current.name, other.name)
	for i := 0; err == nil && i < len(shares); i++ {
		err = t.equalIn(ctx, shares[i], other.name)
	}
	return err
}
