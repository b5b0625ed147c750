package enginetest

import (
	"context"
	"errors"
	"testing"

	"example.com/rotator/rotation"
)

// duplicates runs every step twice in a row and twice concurrently, and replays whole rotations:
// Secrets Manager delivers at least once.
func duplicates(t testing.TB, h Harness) {
	w := newWorld(t, h)
	for _, mode := range []string{"twice in a row", "twice concurrently", "rotation replayed up to each step"} {
		token := w.begin()
		for i, step := range steps {
			w.at("%s: %s", mode, step)
			switch mode {
			case "twice concurrently":
				w.must(w.atOnce(step, token), "the calls")
			case "twice in a row":
				for range 2 {
					w.must(w.step(context.Background(), step, token), "the call")
				}
			default:
				for _, again := range steps[:i+1] {
					w.must(w.step(context.Background(), again, token), "%s", again)
				}
			}
			w.must(w.notLockedOut(), "afterwards")
		}
		w.must(w.ended(token), "at the end")
		// The rotation is over: each of its steps succeeds and does nothing.
		w.must(w.all(context.Background(), token), "after the end")
		w.must(w.ended(token), "after the end")
	}
}

// atOnce runs a step in two concurrent calls. One of them may fail, because Secrets Manager would
// retry it; the step must then succeed.
func (w *world) atOnce(step rotation.Step, token string) error {
	errs := make(chan error, 2)
	for range 2 {
		go func() { errs <- w.step(context.Background(), step, token) }()
	}
	first, second := <-errs, <-errs
	if first != nil && second != nil {
		return errors.Join(first, second)
	}
	return w.step(context.Background(), step, token)
}
