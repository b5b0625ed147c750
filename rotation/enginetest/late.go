package enginetest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
)

// late holds a rotation at every fifth point, lets a retry overtake it, and then releases it: what
// a call knows may be outdated by the time it acts.
func late(t testing.TB, h Harness) { overtaken(t, h, 5) }

func overtaken(t testing.TB, h Harness, stride int) {
	for at := 1; ; at += stride {
		w := newWorld(t, h)
		token := w.begin()
		held, release := w.hold(at)
		end := make(chan error, 1)
		go func() { end <- w.all(context.Background(), token) }()
		select {
		case err := <-end:
			release()
			w.must(err, "a rotation that nothing holds")
			w.must(w.ended(token), "after a rotation that nothing holds")
			return
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
		w.at("a rotation held at point %d (%v) and a retry (%v)", at, first, overtaking)
		for _, err := range []error{first, overtaking} {
			if errors.Is(err, engine.LoginRefused) || errors.Is(err, engine.SecretEdited) {
				t.Fatalf("%sbut nothing was refused or edited", w.place)
			}
		}
		w.must(w.notLockedOut(), "afterwards")
		w.must(w.all(context.Background(), token), "the third attempt")
		w.must(w.ended(token), "after the third attempt")
	}
}

// hold blocks the call that reaches the n-th point until release is called, and closes held when it
// does. All others pass.
func (w *world) hold(at int) (held <-chan struct{}, release func()) {
	var seen atomic.Int64
	there, free := make(chan struct{}), make(chan struct{})
	stop := w.points(func(string) bool {
		if seen.Add(1) == int64(at) {
			close(there)
			<-free
		}
		return true
	})
	return there, func() {
		stop()
		close(free)
	}
}
