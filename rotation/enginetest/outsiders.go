package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// rights runs the application before the first rotation and after each of three, with the current
// value and, if users alternate, with the previous one.
func rights(t testing.TB, h Harness) {
	application, ok := h.(Workload)
	if !ok {
		return
	}
	w := newWorld(t, h)
	labels := []string{"AWSCURRENT"}
	for rotations := range 4 {
		if rotations > 0 {
			w.must(w.rotate(), "rotation %d", rotations)
			if w.alternates() {
				labels = []string{"AWSCURRENT", "AWSPREVIOUS"}
			}
		}
		for _, label := range labels {
			w.must(application.Work(context.Background(), w.direct(w.labeled(label).value)),
				"the application with %s after %d rotations", label, rotations)
		}
	}
}

// strangers rotates an existing pair after each act of a login without administrative rights. No act may stop or slow
// the rotation, or let the login observe it.
func strangers(t testing.TB, h Harness) {
	s, ok := h.(Strangers)
	if !ok {
		return
	}
	for i, n := 0, 1; i < n; i++ {
		w := newWorld(t, h)
		begin := time.Now()
		w.must(w.rotate(), "before any act")
		limit := 5*time.Second + 5*time.Since(begin)
		acts, err := s.Acts(context.Background(), w.direct(w.labeled("AWSCURRENT").value))
		if n = len(acts); err != nil || n == 0 {
			t.Fatalf("the harness returns %d acts, %v", n, err)
		}
		if err := w.despite(acts[i], limit); err != nil {
			t.Errorf("%s: %v", acts[i].Name, err)
		}
	}
}

// despite rotates after an act, within a time limit.
func (w *world) despite(act Act, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	undo, err := act.Do(ctx)
	if err != nil {
		return fmt.Errorf("cannot perform the act: %w", err)
	}
	if undo != nil {
		defer undo()
	}
	token := w.begin()
	begin := time.Now()
	if err := w.all(ctx, token); err != nil {
		return fmt.Errorf("the rotation fails: %w", err)
	}
	if took := time.Since(begin); took > limit {
		return fmt.Errorf("the rotation took %s, want at most %s", took, limit)
	}
	if act.Observed != nil {
		if err := act.Observed(ctx); err != nil {
			return fmt.Errorf("a stranger gained from it: %w", err)
		}
	}
	return errors.Join(w.ended(token), w.bothOpen())
}

// bothOpen checks that AWSCURRENT and, if users alternate, AWSPREVIOUS open the target.
func (w *world) bothOpen() error {
	w.t.Helper()
	for _, label := range []string{"AWSCURRENT", "AWSPREVIOUS"} {
		if !w.open(w.labeled(label).value) && w.alternates() {
			return fmt.Errorf("after the rotation %s is refused", label)
		}
	}
	return nil
}

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

// administrators makes users administrators in every way that the harness knows and tries to rotate them with a
// superuser secret. This must be refused and leave their passwords as they are.
func administrators(t testing.TB, h Harness) {
	a, ok := h.(Administrators)
	if !ok {
		return
	}
	for _, c := range takeovers {
		for i, n := 0, 1; i < n; i++ {
			w := newWorld(t, h)
			if _, ok := w.first.Text(w.kind.Superusers()); !ok || c.alternating && !w.alternates() {
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
		w.Env["STRATEGY"], w.Env["RECOVER_BY_SUPERUSER"] = "single", "true"
	}
	user, _ := value.Text(w.kind.UserField)
	forged := value
	if c.second {
		// The pair is proved by versions and marked at the target, and must still be refused.
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
	// A forger stores a pending value and calls the other steps anyway. If createSecret has stored one, Secrets Manager
	// refuses another.
	forged = forged.With(field, "Chosen-Passw0rd-by-a-forger")
	_ = w.TryPut(w.arn, forged, token, "AWSPENDING")
	for _, step := range steps[1:] {
		_ = w.step(ctx, step, token)
	}
	w.unharmed(forged)
}
