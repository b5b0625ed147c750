package enginetest

import (
	"context"
	"fmt"
	"testing"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// standing runs createSecret, setSecret and testSecret in several orders, some repeatedly, and then
// abandons the rotation. AWSCURRENT opens the target after each step, because only finishSecret may
// end it.
func standing(t testing.TB, h Harness) error {
	const (
		create = rotation.CreateSecret
		set    = rotation.SetSecret
		test   = rotation.TestSecret
	)
	for n, order := range [][]rotation.Step{
		{create},
		{create, set},
		{create, set, test},
		{set, create, create, set, set, test, test},
		{create, test, set, create, test, set},
	} {
		w, err := newWorld(t, h)
		if err != nil {
			return err
		}
		token, err := w.begin()
		if err != nil {
			return err
		}
		stands := func(when string) error {
			current, err := w.labeled("AWSCURRENT")
			if err != nil {
				return err
			}
			ok, err := w.open(current.value)
			if err != nil || !ok || current.id == token || !current.value.Equal(w.first) {
				return fmt.Errorf("%v, %s: AWSCURRENT is accepted %v, %v", order, when, ok, err)
			}
			return nil
		}
		created := false
		for i, step := range order {
			created = created || step == create
			err := w.step(context.Background(), step, token)
			if err != nil && created && (step != test || w.oneAtATime()) {
				return fmt.Errorf("%v: %s: %w", order, step, err)
			}
			if err := stands(fmt.Sprintf("after step %d", i+1)); err != nil {
				return err
			}
		}
		if n%2 == 0 {
			if err := w.cancel(); err != nil {
				return err
			}
			err := w.step(context.Background(), rotation.FinishSecret, token)
			if engine.CauseOf(err) != engine.RotationDisabled {
				return fmt.Errorf("%v: finishSecret of a canceled rotation: %v, want RotationDisabled", order, err)
			}
			if err := stands("canceled"); err != nil {
				return err
			}
		}
		if err := w.stage("AWSPENDING", token, ""); err != nil {
			return err
		}
		if err := w.step(context.Background(), rotation.FinishSecret, token); err == nil {
			return fmt.Errorf("%v: finishSecret of an abandoned rotation succeeds", order)
		}
		if err := stands("abandoned"); err != nil {
			return err
		}
		if err := w.rotate(); err != nil {
			return fmt.Errorf("%v: the next rotation: %w", order, err)
		}
	}
	return nil
}
