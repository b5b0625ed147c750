package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// broken lists the causes that a step may return if the network broke. A refusal or a wrong
// credential is not among them.
var broken = []engine.Cause{engine.Unreachable, engine.OutOfTime, engine.TLSFailed, engine.TargetFailed,
	engine.SecretsManagerFailed}

// cuts breaks one connection to the target, or all tries of one call to Secrets Manager, at every
// third point of a rotation. Unlike in a crash, the process keeps running and decides what to do
// next.
func cuts(t testing.TB, h Harness) error {
	const stride = 3
	points := 0
	for at := 1; ; at += stride {
		w, err := newWorld(t, h)
		if err != nil {
			return err
		}
		token, err := w.begin()
		if err != nil {
			return err
		}
		where, err := w.cut(at, func() error { return w.all(context.Background(), token) })
		if where == "" {
			if err != nil {
				return fmt.Errorf("a rotation without a cut fails: %w", err)
			}
			figure(t, "cuts %s %s: %d points, 0 lock-outs", w.kind.Names[0], w.strategy(), points)
			return nil
		}
		points++
		where = fmt.Sprintf("a cut at point %d, %s", at, where)
		if err != nil && !slices.Contains(broken, engine.CauseOf(err)) {
			return fmt.Errorf("%s: the step returned %w, want one of %v", where, err, broken)
		}
		if err := errors.Join(w.notLockedOut(), w.honest(err)); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if err := w.all(context.Background(), token); err != nil {
			return fmt.Errorf("%s: the retry fails: %w", where, err)
		}
		if err := w.ended(token); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
}

// cut calls do and breaks its n-th exchange. It returns where that was, or "" if there were fewer.
func (w *world) cut(at int, do func() error) (where string, err error) {
	var mu sync.Mutex
	seen, call := 0, ""
	hit := func(name string, all bool) bool {
		mu.Lock()
		defer mu.Unlock()
		if call != "" {
			return name == call
		}
		seen++
		if seen != at {
			return false
		}
		if where = name; all {
			call = name
		}
		return true
	}
	w.wire.set(func(operation string, send sender) (*http.Response, error) {
		if hit("before "+operation, true) {
			return nil, io.ErrUnexpectedEOF
		}
		resp, err := send()
		if err == nil && hit("after "+operation, true) {
			return nil, errors.Join(io.ErrUnexpectedEOF, resp.Body.Close())
		}
		return resp, err
	})
	if w.proxy != nil {
		w.proxy.Filter(func(p testserver.Chunk) bool {
			if p.FromServer {
				return !hit("an answer of the target", false)
			}
			return !hit("a request to the target", false)
		})
		defer w.proxy.Filter(nil)
	}
	defer w.wire.set(nil)
	err = do()
	mu.Lock()
	defer mu.Unlock()
	return where, err
}
