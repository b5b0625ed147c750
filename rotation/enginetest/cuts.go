package enginetest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/rotator/rotation/engine"
)

// broken lists the causes that a step may return if the network broke. A refusal or a wrong
// credential is not among them.
var broken = []engine.Cause{engine.Unreachable, engine.OutOfTime, engine.TLSFailed, engine.TargetFailed,
	engine.SecretsManagerFailed}

// cuts breaks one connection to the target, or all tries of one call to Secrets Manager, at every
// third point of a rotation. Unlike in a crash, the process keeps running and decides what to do
// next.
func cuts(t testing.TB, h Harness) {
	const stride = 3
	points := 0
	for at := 1; ; at += stride {
		w := newWorld(t, h)
		token := w.begin()
		where, err := w.cut(at, func() error { return w.all(context.Background(), token) })
		if where == "" {
			w.must(err, "a rotation without a cut")
			figure(t, "cuts %s %s: %d points, 0 lock-outs", w.kind.Names[0], w.strategy(), points)
			return
		}
		points++
		w.at("a cut at point %d, %s", at, where)
		if err != nil && !slices.Contains(broken, engine.CauseOf(err)) {
			t.Fatalf("%sthe step returned %v, want one of %v", w.place, err, broken)
		}
		w.must(w.notLockedOut(), "after the cut")
		w.must(w.honest(err), "the error")
		w.must(w.all(context.Background(), token), "the retry")
		w.must(w.ended(token), "after the retry")
	}
}

// cut calls do and breaks its n-th exchange. It returns where that was, or "" if there were fewer.
func (w *world) cut(at int, do func() error) (where string, err error) {
	var mu sync.Mutex
	seen := 0
	stop := w.points(func(point string) bool {
		mu.Lock()
		defer mu.Unlock()
		if where != "" {
			return point != where || strings.Contains(point, "the target")
		}
		if seen++; seen == at {
			where = point
		}
		return seen != at
	})
	defer stop()
	err = do()
	mu.Lock()
	defer mu.Unlock()
	return where, err
}
