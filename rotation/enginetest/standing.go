package enginetest

import (
	"context"
	"testing"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// standing runs createSecret, setSecret and testSecret in several orders, some repeatedly, and then abandons the
// rotation. AWSCURRENT must open the target after each step, because only finishSecret may invalidate it.
func standing(t testing.TB, h Harness) {
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
		w := newWorld(t, h)
		token := w.begin()
		stands := func() {
			current := w.labeled("AWSCURRENT")
			if ok := w.open(current.value); !ok || current.id == token || !current.value.Equal(w.first) {
				t.Fatalf("%sAWSCURRENT was changed, or is accepted %v", w.place, ok)
			}
		}
		created := false
		for i, step := range order {
			w.at("%v: step %d", order, i+1)
			created = created || step == create
			err := w.step(context.Background(), step, token)
			if created && (step != test || w.oneAtATime()) {
				w.must(err, "%s", step)
			}
			stands()
		}
		if n%2 == 0 {
			w.at("%v: canceled", order)
			w.cancel()
			err := w.step(context.Background(), rotation.FinishSecret, token)
			if engine.CauseOf(err) != engine.RotationDisabled {
				t.Fatalf("%sfinishSecret returns %v, want RotationDisabled", w.place, err)
			}
			stands()
		}
		w.at("%v: abandoned", order)
		w.stage("AWSPENDING", token, "")
		if err := w.step(context.Background(), rotation.FinishSecret, token); err == nil {
			t.Fatalf("%sfinishSecret succeeds", w.place)
		}
		stands()
		w.must(w.rotate(), "the next rotation")
	}
}
