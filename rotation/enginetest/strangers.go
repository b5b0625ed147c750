package enginetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// strangers rotates an existing pair after each act of a login without administrative rights. No
// act stops or slows the rotation, or lets the login observe it.
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
