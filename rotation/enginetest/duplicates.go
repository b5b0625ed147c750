package enginetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"example.com/rotator/rotation"
)

// duplicates runs every step twice in a row and twice concurrently, and replays whole rotations:
// Secrets Manager delivers at least once.
func duplicates(t testing.TB, h Harness) error {
	w, err := newWorld(t, h)
	if err != nil {
		return err
	}
	for _, mode := range []string{"twice in a row", "twice concurrently", "rotation replayed up to each step"} {
		token, err := w.begin()
		if err != nil {
			return err
		}
		for i, step := range steps {
			switch mode {
			case "twice concurrently":
				if err := w.atOnce(step, token); err != nil {
					return fmt.Errorf("%s: %s: %w", mode, step, err)
				}
			case "twice in a row":
				for range 2 {
					if err := w.step(context.Background(), step, token); err != nil {
						return fmt.Errorf("%s: %s: %w", mode, step, err)
					}
				}
			default:
				for _, again := range steps[:i+1] {
					if err := w.step(context.Background(), again, token); err != nil {
						return fmt.Errorf("%s %s: %s: %w", mode, step, again, err)
					}
				}
			}
			if err := w.notLockedOut(); err != nil {
				return fmt.Errorf("%s: after %s: %w", mode, step, err)
			}
		}
		if err := w.ended(token); err != nil {
			return fmt.Errorf("%s: %w", mode, err)
		}
		// The rotation is over: each of its steps succeeds and does nothing.
		if err := w.all(context.Background(), token); err != nil {
			return fmt.Errorf("%s: after the end: %w", mode, err)
		}
		if err := w.ended(token); err != nil {
			return fmt.Errorf("%s: after the end: %w", mode, err)
		}
	}
	return nil
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
