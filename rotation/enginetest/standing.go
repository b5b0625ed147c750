package enginetest

import (
	"context"
	"testing"

	"example.com/rotator/rotation/engine"
)

// standing runs createSecret, setSecret and testSecret in several orders, some repeatedly, and then abandons the
// rotation. AWSCURRENT must open the target after each step, because only finishSecret may invalidate it, and the next
// rotation must succeed.
func standing(t testing.TB, h Harness) {
	create, set, test, finish := steps[0], steps[1], steps[2], steps[3]
	for n, order := range []calls{
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
		if n != 3 { // one is abandoned without being canceled
			w.at("%v: canceled", order)
			w.cancel()
			if err := w.step(context.Background(), finish, token); engine.CauseOf(err) != engine.RotationDisabled {
				t.Fatalf("%sfinishSecret returns %v, want RotationDisabled", w.place, err)
			}
			stands()
		}
		w.at("%v: abandoned", order)
		w.stage("AWSPENDING", token, "")
		if err := w.step(context.Background(), finish, token); err == nil {
			t.Fatalf("%sfinishSecret succeeds", w.place)
		}
		stands()
		w.complete(w.begin(), "the next rotation")
		w.revoked()
	}
}
