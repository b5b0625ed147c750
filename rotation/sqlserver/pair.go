package sqlserver

import (
	"context"
	"errors"
	"slices"

	"example.com/rotator/rotation/engine"
)

// target is the session for package pair. A pair is two logins, or two users of one contained
// database.
type target struct {
	*session
	request  *engine.Request
	password string
	first    *principal // the first that Find has found
}

// Find ignores a login where the first user is a user of the database: the two cannot be a pair.
func (t *target) Find(ctx context.Context, name string) (*principal, error) {
	p, err := t.find(ctx, name)
	switch {
	case err != nil || p == nil:
		return nil, err
	case t.first == nil:
		t.first = p
	case p.contained && !t.first.contained:
		return nil, engine.Errorf(engine.TakeoverRefused, "drop or rename the user of the database", "the user %q of the database hides the login of that name", p.name)
	case t.first.contained && !p.contained:
		return nil, nil
	}
	return p, nil
}

func (t *target) Administrator(_ context.Context, p *principal) (string, error) {
	if p.powerful {
		return "an administrator", nil
	}
	return "", nil
}

func (t *target) Exceeds(context.Context, *principal, *principal) (string, error) { return "", nil }

// Marked reports whether either of the two is marked as the other's second.
func (t *target) Marked(ctx context.Context, current, other *principal) (bool, error) {
	for _, each := range [][2]*principal{{current, other}, {other, current}} {
		rights, err := t.rights(ctx, t.home(each[0]), each[0].name)
		if err != nil || slices.ContainsFunc(rights, func(r right) bool { return r.what == mark(each[1]) && r.state != "D" }) {
			return err == nil, err
		}
	}
	return false, nil
}

func (t *target) Mark(current, other *principal) string {
	return unguarded(t.grantMark(current, other))
}

func (t *target) Rehearse(ctx context.Context, current, other *principal) error {
	p := other
	if current != nil {
		next := *current
		next.name = user(t.request.Pending)
		p = &next
	}
	if err := p.policy(t.password); err != nil {
		return err
	}
	if p.contained {
		if err := t.exec(ctx, guard); err != nil {
			return err
		}
	}
	return t.mayChange(ctx, p)
}

// mark is the permission by which a pair knows itself: the first user may see
// the second's definition. To grant it takes control of the second user, and
// who has that could set its password anyhow.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/grant-server-principal-permissions-transact-sql
func mark(second *principal) string {
	on := " ON LOGIN::"
	if second.contained {
		on = " ON USER::"
	}
	return "VIEW DEFINITION" + on + identifier(second.name)
}

// grantMark returns the statement that marks the second user.
func (s *session) grantMark(first, second *principal) string {
	return s.home(second).change("GRANT " + mark(second) + " TO " + identifier(first.name))
}

// Create makes the second user with a password nobody knows, and marks it in the same transaction,
// so a step that is cut off leaves no user behind that the next one would take for a stranger's.
func (t *target) Create(ctx context.Context, current *principal, name string) (*principal, error) {
	other := *current
	other.name = name
	statement := "CREATE LOGIN " + identifier(name) + " WITH PASSWORD = " + text(throwaway()) + ", " + current.options()
	if current.contained {
		statement = guard + "CREATE USER " + identifier(name) + " WITH PASSWORD = " + text(throwaway())
		if current.schema != "" {
			statement += ", DEFAULT_SCHEMA = " + identifier(current.schema)
		}
	}
	marking := t.grantMark(current, &other)
	_, err := t.conn.ExecContext(ctx, "SET XACT_ABORT ON; BEGIN TRANSACTION; "+statement+"; "+marking+"; COMMIT TRANSACTION")
	if err == nil {
		t.request.Changed(unguarded(marking))
	}
	return &other, t.classify(ctx, "the user "+identifier(name)+" could not be created", err)
}

// SetPassword also takes a password that the login has already: a policy that remembers passwords
// refuses what an earlier try of this step has set.
func (t *target) SetPassword(ctx context.Context, p *principal) error {
	err := t.setPassword(ctx, p, t.password, "")
	if errors.Is(err, engine.PolicyRejected) {
		login := t.session.target
		login.User, login.Password = p.name, t.password
		if there, derr := t.engine.dial(ctx, login); derr == nil {
			there.close()
			err = nil
		}
	}
	if err == nil && p.disabled && t.request.Strategy == engine.AlternatingUsers {
		err = t.change(ctx, p.statement()+" ENABLE")
	}
	return err
}

// Equalize works in every database that the superuser can open.
func (t *target) Equalize(ctx context.Context, current, other *principal) error {
	marked, err := t.Marked(ctx, current, other)
	if err == nil && !marked {
		err = t.change(ctx, t.grantMark(current, other))
	}
	if err != nil {
		return err
	}
	if current.contained {
		if current.schema != other.schema && current.schema != "" {
			if err := t.change(ctx, guard+other.statement()+" WITH DEFAULT_SCHEMA = "+identifier(current.schema)); err != nil {
				return err
			}
		}
		return t.level(ctx, t.home(current), current.name, other.name, nil)
	}
	if current.options() != other.options() {
		if err := t.change(ctx, other.statement()+" WITH "+current.options()); err != nil {
			return err
		}
	}
	if err := t.level(ctx, server, current.name, other.name, nil); err != nil {
		return err
	}
	databases, err := t.databases(ctx)
	if err != nil {
		return err
	}
	for _, d := range databases {
		if err := t.equalIn(ctx, place{d}, current, other); err != nil {
			return err
		}
	}
	return nil
}
