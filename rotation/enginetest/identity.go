package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"example.com/rotator/rotation/engine"
)

// identity forges versions of a secret. None of them changes another user's credential or sends a
// credential to another host.
func identity(t testing.TB, h Harness) error {
	kind := h.Engine().Kind()
	if kind.UserField == "" || len(kind.SecretFields) == 0 {
		return nil // the value does not name a user
	}
	for _, forge := range []struct {
		name             string
		pending, current bool
	}{
		{"AWSPENDING names another user", true, false},
		{"AWSCURRENT names another user", false, true},
		{"AWSPENDING and AWSCURRENT name another user", true, true},
	} {
		w, err := newWorld(t, h)
		if err != nil {
			return err
		}
		other, err := newWorld(t, h)
		if err != nil {
			return err
		}
		user := other.first.JSON(kind.UserField)
		if user == nil || string(user) == string(w.first.JSON(kind.UserField)) {
			return nil // the harness has only one user, or its values name it in another field
		}
		forged := func(password string) engine.Value {
			return w.first.WithJSON(kind.UserField, user).With(kind.SecretFields[0], password)
		}
		if forge.current {
			if err := w.replace(forged("Guessed-Passw0rd-of-another")); err != nil {
				return err
			}
		}
		token, err := w.begin()
		if err != nil {
			return err
		}
		if forge.pending {
			if err := w.put(forged("Chosen-Passw0rd-by-a-forger"), token, "AWSPENDING"); err != nil {
				return err
			}
		}
		// createSecret may not reach it; the other steps are called anyway.
		err = nil
		for _, step := range steps {
			err = errors.Join(err, w.step(context.Background(), step, token))
		}
		if engine.CauseOf(err) == engine.TargetFailed || err == nil {
			return fmt.Errorf("%s: the steps returned %v, want a clear refusal", forge.name, err)
		}
		for name, v := range map[string]engine.Value{"the other user's": other.first, "the secret's own": w.first} {
			if ok, err := w.open(other.direct(v)); err != nil || !ok {
				return fmt.Errorf("%s: %s credential is accepted %v, %v", forge.name, name, ok, err)
			}
		}
	}
	return elsewhere(t, h)
}

// elsewhere makes an old version name another port, as it could another host. The current version
// is refused, so the ladder reaches the old one.
func elsewhere(t testing.TB, h Harness) error {
	w, err := newWorld(t, h)
	if err != nil || w.proxy == nil || w.first.JSON("port") == nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	var came atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			conn.Close()
		}
	}()
	field := w.kind.SecretFields[0]
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	if err := w.replace(w.first.With(field, "Refused-Passw0rd-1")); err != nil {
		return err
	}
	before, err := w.labeled("AWSPREVIOUS")
	if err != nil {
		return err
	}
	const forged = "0123456789abcdef0123456789abcdef"
	if err := w.put(w.first.With(field, "Older-Passw0rd-1").WithJSON("port", []byte(port)),
		forged, "edited"); err != nil {
		return err
	}
	if err := w.stage("AWSPREVIOUS", before.id, forged); err != nil {
		return err
	}
	token, err := w.begin()
	if err != nil {
		return err
	}
	err = w.all(context.Background(), token)
	if came.Load() > 0 {
		return fmt.Errorf("a credential was sent to the place that an old version names; the rotation returned %v", err)
	}
	if err != nil {
		return fmt.Errorf("the unlabeled version opens the target, but: %w", err)
	}
	return nil
}
