package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// late holds a rotation at every fifth point, lets a retry overtake it, and then releases it: what
// a call knows may be outdated by the time it acts.
func late(t testing.TB, h Harness) error { return overtaken(t, h, 5) }

func overtaken(t testing.TB, h Harness, stride int) error {
	for at := 1; ; at += stride {
		w, err := newWorld(t, h)
		if err != nil {
			return err
		}
		token, err := w.begin()
		if err != nil {
			return err
		}
		held, release := w.hold(at)
		end := make(chan error, 1)
		go func() { end <- w.all(context.Background(), token) }()
		select {
		case err := <-end:
			release()
			if err != nil {
				return fmt.Errorf("a rotation that nothing holds fails: %w", err)
			}
			return w.ended(token)
		case <-held:
		}
		// The held call may block the other one, by a lock at the target or because it may still
		// store what it created. finishSecret changes nothing with less than 8 seconds left.
		patience := time.Second
		if w.oneAtATime() {
			patience = 9 * time.Second
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		overtaking := w.all(ctx, token)
		cancel()
		release()
		first := <-end
		where := fmt.Sprintf("a rotation held at point %d (%v) and a retry (%v)", at, first, overtaking)
		for _, err := range []error{first, overtaking} {
			if errors.Is(err, engine.LoginRefused) || errors.Is(err, engine.SecretEdited) {
				return fmt.Errorf("%s: but nothing was refused or edited", where)
			}
		}
		if err := w.notLockedOut(); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if err := w.all(context.Background(), token); err != nil {
			return fmt.Errorf("%s: the third attempt fails: %w", where, err)
		}
		if err := w.ended(token); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
}

// hold blocks the call that reaches the n-th point until release is called, and closes held when it
// does. All others pass.
func (w *world) hold(at int) (held <-chan struct{}, release func()) {
	var mu sync.Mutex
	seen := 0
	there, free := make(chan struct{}), make(chan struct{})
	pass := func() {
		mu.Lock()
		seen++
		mine := seen == at
		mu.Unlock()
		if mine {
			close(there)
			<-free
		}
	}
	w.wire.set(func(_ string, send sender) (*http.Response, error) {
		pass()
		resp, err := send()
		pass()
		return resp, err
	})
	if w.proxy != nil {
		w.proxy.Filter(func(testserver.Chunk) bool { pass(); return true })
	}
	return there, func() {
		w.wire.set(nil)
		if w.proxy != nil {
			w.proxy.Filter(nil)
		}
		close(free)
	}
}
