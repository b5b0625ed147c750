package enginetest

import (
	"context"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// silence makes the target stop answering in each step. The step must end within its deadline with a cause, and the
// rotation must finish when the target is back.
func silence(t testing.TB, h Harness) {
	w := newWorld(t, h)
	if w.proxy == nil {
		return
	}
	token := w.begin()
	for _, step := range steps {
		w.at("%s with a silent target", step)
		limit := 1500 * time.Millisecond
		if step == rotation.FinishSecret {
			limit = 9 * time.Second // it changes nothing with less than 8 s left
		}
		release := make(chan struct{})
		w.proxy.Filter(func(p testserver.Chunk) bool {
			if p.FromServer {
				<-release
			}
			return true
		})
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		begin := time.Now()
		err := w.step(ctx, step, token)
		took := time.Since(begin)
		cancel()
		close(release)
		w.proxy.Filter(nil)
		w.proxy.Cut()
		idle := step == rotation.FinishSecret && !w.oneAtATime() ||
			step == rotation.SetSecret && w.oneAtATime() && w.kind.Overlap == engine.OneAtATime
		if idle && err == nil {
			continue // it does not call the target
		}
		if cause := engine.CauseOf(err); err == nil || cause != engine.Unreachable && cause != engine.OutOfTime {
			t.Fatalf("%s%v, want the cause Unreachable or OutOfTime", w.place, err)
		}
		if took > limit {
			t.Fatalf("%sit took %s of %s", w.place, took, limit)
		}
		w.must(w.notLockedOut(), "afterwards")
		w.must(w.step(context.Background(), step, token), "the retry")
	}
	w.must(w.ended(token), "at the end")
}
