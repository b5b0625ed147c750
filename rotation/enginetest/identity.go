package enginetest

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// identity forges versions of a secret. None of them may change another user's credential or send a credential to
// another host.
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
	elsewhere(t, h)
}

// elsewhere writes another port into an old version, as an example of another place. The current version is refused, so
// the ladder reaches the old one.
func elsewhere(t testing.TB, h Harness) {
	w := newWorld(t, h)
	if w.proxy == nil || w.first.JSON("port") == nil {
		return
	}
	var came atomic.Bool
	port := strconv.Itoa(testserver.Hostile(t, nil, func(net.Conn) { came.Store(true) }))
	field := w.kind.SecretFields[0]
	w.replace(w.first.With(field, "Refused-Passw0rd-1"))
	const forged = "0123456789abcdef0123456789abcdef"
	w.put(w.first.With(field, "Older-Passw0rd-1").WithJSON("port", []byte(port)), forged, "edited")
	w.stage("AWSPREVIOUS", w.labeled("AWSPREVIOUS").id, forged)
	err := w.rotate()
	if came.Load() {
		t.Fatalf("a credential was sent to the place that an old version names; the rotation returned %v", err)
	}
	w.must(err, "the unlabeled version opens the target, but")
}
