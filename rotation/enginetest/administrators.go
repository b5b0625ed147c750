package enginetest

import (
	"context"
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
func administrators(t testing.TB, h Harness) {
	a, ok := h.(Administrators)
	if !ok {
		return
	}
	for _, c := range takeovers {
		for i, n := 0, 1; i < n; i++ {
			w := newWorld(t, h)
			if !w.superuser || c.alternating && !w.alternates() {
				break // no superuser acts
			}
			ways, err := a.Administrators(context.Background(), w.direct(w.first))
			if n = len(ways); err != nil || n == 0 {
				t.Fatalf("the harness returns %d ways, %v", n, err)
			}
			w.at("an administrator by %s as %s", ways[i].Name, c.name)
			w.refuses(c, ways[i])
		}
	}
}

// refuses makes the secret's first user an administrator and rotates.
func (w *world) refuses(c takeover, way Act) {
	ctx := context.Background()
	value, field := w.first, w.kind.SecretFields[0]
	if !c.known {
		value = value.With(field, "Guessed-Passw0rd-1")
		w.store(value)
	}
	if !c.alternating {
		w.env["STRATEGY"], w.env["RECOVER_BY_SUPERUSER"] = "single", "true"
	}
	user, _ := value.Text(w.kind.UserField)
	forged := value
	if c.second {
		// The pair is proved by versions and marked at the target. It is refused nevertheless.
		w.must(w.rotate(), "before the user is an administrator")
	} else if c.alternating {
		other, err := pair.Other(w.kind, &engine.Request{}, user)
		w.must(err, "the second user's name")
		forged = value.With(w.kind.UserField, other)
	}
	undo, err := way.Do(ctx)
	w.must(err, "the harness fails")
	if undo != nil {
		defer undo()
	}
	token := w.begin()
	failure := w.all(ctx, token)
	if failure == nil || !slices.Contains(c.causes, engine.CauseOf(failure)) {
		w.errorf("the rotation returned %v, want one of %v", failure, c.causes)
	}
	// A forger calls the other steps anyway, and fills the pending version. If createSecret has
	// filled it, this is refused.
	forged = forged.With(field, "Chosen-Passw0rd-by-a-forger")
	_ = w.tryPut(forged, token, "AWSPENDING")
	for _, step := range steps[1:] {
		_ = w.step(ctx, step, token)
	}
	if w.open(forged) {
		w.errorf("the forger's password is accepted")
	}
	if !w.open(w.first) {
		w.errorf("the administrator's password is refused")
	}
}
