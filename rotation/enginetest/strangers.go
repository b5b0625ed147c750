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
func strangers(t testing.TB, h Harness) error {
	s, ok := h.(Strangers)
	if !ok {
		return nil
	}
	var errs []error
	for i, n := 0, 1; i < n; i++ {
		w, err := newWorld(t, h)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := w.rotate(); err != nil {
			return fmt.Errorf("before any act: %w", err)
		}
		limit := 5*time.Second + 5*time.Since(begin)
		current, err := w.labeled("AWSCURRENT")
		if err != nil {
			return err
		}
		acts, err := s.Acts(context.Background(), w.direct(current.value))
		if n = len(acts); err != nil || n == 0 {
			return fmt.Errorf("the harness returns %d acts, %v", n, err)
		}
		if err := w.despite(acts[i], limit); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", acts[i].Name, err))
		}
	}
	return errors.Join(errs...)
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
	token, err := w.begin()
	if err != nil {
		return err
	}
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
	for _, label := range []string{"AWSCURRENT", "AWSPREVIOUS"} {
		v, err := w.labeled(label)
		if err != nil {
			return err
		}
		if ok, err := w.open(v.value); err != nil || !ok && w.alternates() {
			return fmt.Errorf("after the rotation %s is accepted %v, %v", label, ok, err)
		}
	}
	return nil
}
