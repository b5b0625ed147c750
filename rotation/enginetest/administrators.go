package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// takeover is a secret that would make a superuser change an administrator.
type takeover struct {
	name        string
	alternating bool
	// known means that the secret has the administrator's password.
	known bool
	// second means that the rotation would set the administrator's password.
	second bool
	causes []engine.Cause
}

var takeovers = []takeover{
	{name: "a single user with a wrong password and RECOVER_BY_SUPERUSER",
		causes: []engine.Cause{engine.TakeoverRefused}},
	{name: "the current one of two users, with a wrong password", alternating: true,
		causes: []engine.Cause{engine.TakeoverRefused, engine.LoginRefused}},
	{name: "the current one of two users", alternating: true, known: true,
		causes: []engine.Cause{engine.TakeoverRefused}},
	{name: "the second one of two users", alternating: true, known: true, second: true,
		causes: []engine.Cause{engine.TakeoverRefused}},
}

// administrators makes users administrators in every way that the harness knows and tries to rotate
// them with a superuser secret. This is refused, and their passwords stay as they are.
func administrators(t testing.TB, h Harness) error {
	a, ok := h.(Administrators)
	if !ok {
		return nil
	}
	var errs []error
	for _, c := range takeovers {
		for i, n := 0, 1; i < n; i++ {
			w, err := newWorld(t, h)
			if err != nil {
				return err
			}
			if !w.superuser || c.alternating && !w.alternates() {
				break // no superuser acts
			}
			ways, err := a.Administrators(context.Background(), w.direct(w.first))
			if n = len(ways); err != nil || n == 0 {
				return fmt.Errorf("the harness returns %d ways, %v", n, err)
			}
			if err := w.refuses(c, ways[i]); err != nil {
				errs = append(errs, fmt.Errorf("an administrator by %s as %s: %w", ways[i].Name, c.name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// refuses makes the secret's first user an administrator and rotates.
func (w *world) refuses(c takeover, way Act) error {
	ctx := context.Background()
	value, field := w.first, w.kind.SecretFields[0]
	if !c.known {
		value = value.With(field, "Guessed-Passw0rd-1")
		if err := w.store(value); err != nil {
			return err
		}
	}
	if !c.alternating {
		w.env["STRATEGY"], w.env["RECOVER_BY_SUPERUSER"] = "single", "true"
	}
	user, _ := value.Text(w.kind.UserField)
	forged := value
	if c.second {
		// The pair is proved by versions and marked at the target. It is refused nevertheless.
		if err := w.rotate(); err != nil {
			return err
		}
	} else if c.alternating {
		other, err := pair.Other(w.kind, &engine.Request{}, user)
		if err != nil {
			return err
		}
		forged = value.With(w.kind.UserField, other)
	}
	undo, err := way.Do(ctx)
	if err != nil {
		return err
	}
	if undo != nil {
		defer undo()
	}
	token, err := w.begin()
	if err != nil {
		return err
	}
	failure := w.all(ctx, token)
	if failure == nil || !slices.Contains(c.causes, engine.CauseOf(failure)) {
		err = fmt.Errorf("the rotation returned %v, want one of %v", failure, c.causes)
	}
	// A forger calls the other steps anyway, and fills the pending version. If createSecret has
	// filled it, this is refused.
	forged = forged.With(field, "Chosen-Passw0rd-by-a-forger")
	_ = w.put(forged, token, "AWSPENDING")
	for _, step := range steps[1:] {
		_ = w.step(ctx, step, token)
	}
	if ok, oerr := w.open(forged); oerr != nil || ok {
		err = errors.Join(err, fmt.Errorf("the forger's password is accepted %v, %v", ok, oerr))
	}
	if ok, oerr := w.open(w.first); oerr != nil || !ok {
		err = errors.Join(err, fmt.Errorf("the administrator's password is accepted %v, %v", ok, oerr))
	}
	return err
}
