package enginetest

import (
	"context"
	"errors"
	"testing"

	"example.com/rotator/rotation/engine"
)

// identity forges versions of a secret. None of them may change another user's credential.
func identity(t testing.TB, h Harness) {
	kind := h.Engine().Kind()
	if kind.UserField == "" || len(kind.SecretFields) == 0 {
		return // the value does not name a user
	}
	for _, forge := range []struct {
		name             string
		pending, current bool
	}{
		{"AWSPENDING names another user", true, false},
		{"AWSCURRENT names another user", false, true},
		{"AWSPENDING and AWSCURRENT name another user", true, true},
	} {
		w, other := newWorld(t, h), newWorld(t, h)
		w.at("%s", forge.name)
		user := other.first.JSON(kind.UserField)
		if user == nil || string(user) == string(w.first.JSON(kind.UserField)) {
			return // the harness has only one user, or its values name it in another field
		}
		forged := func(password string) engine.Value {
			return w.first.WithJSON(kind.UserField, user).With(kind.SecretFields[0], password)
		}
		if forge.current {
			w.replace(forged("Guessed-Passw0rd-of-another"))
		}
		token := w.begin()
		if forge.pending {
			w.put(forged("Chosen-Passw0rd-by-a-forger"), token, "AWSPENDING")
		}
		// createSecret may fail before it reads the forgery, so run the other steps anyway.
		var err error
		for _, step := range steps {
			err = errors.Join(err, w.step(context.Background(), step, token))
		}
		if engine.CauseOf(err) == engine.TargetFailed || err == nil {
			t.Fatalf("%sthe steps returned %v, want a clear refusal", w.place, err)
		}
		w.unharmed()
		other.at("%s: the other user", forge.name)
		other.unharmed()
	}
}
