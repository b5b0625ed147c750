package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

// points calls pass at every point until stop is called: before and after each call to Secrets
// Manager, and before each piece of data to or from the target. If it returns false, the call, its
// answer or the data is lost.
func (w *world) points(pass func(where string) bool) (stop func()) {
	w.wire.set(func(operation string, send sender) (*http.Response, error) {
		if !pass("before " + operation) {
			return nil, io.ErrUnexpectedEOF
		}
		resp, err := send()
		if !pass("after "+operation) && err == nil {
			return nil, errors.Join(io.ErrUnexpectedEOF, resp.Body.Close())
		}
		return resp, err
	})
	if w.proxy == nil {
		return func() { w.wire.set(nil) }
	}
	w.proxy.Filter(func(p testserver.Chunk) bool {
		if p.FromServer {
			return pass("before an answer of the target arrives")
		}
		return pass("before a request reaches the target")
	})
	return func() {
		w.wire.set(nil)
		w.proxy.Filter(nil)
	}
}

// crash calls do and ends it at its n-th point, as if the process had died there: nothing that it
// does afterwards has any effect. It returns where that was, or "" if there were fewer points.
func (w *world) crash(at int, do func(context.Context) error) (where string, err error) {
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	var mu sync.Mutex
	seen := 0
	stop := w.points(func(point string) bool {
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen == at {
			where = point
			kill()
		}
		return seen < at
	})
	err = do(ctx)
	stop()
	if w.proxy != nil {
		w.proxy.Cut()
	}
	mu.Lock()
	defer mu.Unlock()
	return where, err
}

// sweep crashes a rotation at every point and retries it as Secrets Manager does. Nobody may be
// locked out in between, and the retry must succeed.
func sweep(t testing.TB, h Harness) {
	lockouts, failures := 0, 0
	for at := 1; ; at++ {
		w := newWorld(t, h)
		token := w.begin()
		rotate := func(ctx context.Context) error { return w.all(ctx, token) }
		where, err := w.crash(at, rotate)
		if where == "" || failures > 10 {
			if failures == 0 {
				w.must(err, "a rotation without a crash")
				w.must(w.ended(token), "after a rotation without a crash")
			}
			figure(t, "sweep %s %s: %d points, %d lock-outs", w.kind.Names[0], w.strategy(), at-1, lockouts)
			if at <= 8 {
				t.Errorf("the sweep found only %d points", at-1)
			}
			return
		}
		w.at("crash at point %d, %s", at, where)
		lockedOut := func(when string) {
			if err := w.notLockedOut(); err != nil {
				lockouts++
				failures++
				w.errorf("%s: %v", when, err)
			}
		}
		lockedOut("after it")
		// Every third time the retry also crashes, at a point that moves through the rotation.
		if at%3 == 0 {
			if again, _ := w.crash(1+at*7%23, rotate); again != "" {
				lockedOut("after a second crash, " + again)
			}
		}
		err = w.all(context.Background(), token)
		if err == nil {
			err = w.ended(token)
		}
		if err != nil {
			failures++
			w.errorf("the retry: %v", err)
		}
	}
}

// honest checks that the state of the target is what finishSecret's error says.
func (w *world) honest(failure error) error {
	if failure == nil {
		return nil
	}
	text := failure.Error()
	for state, labels := range map[string]map[string]bool{
		"; the target is unchanged: AWSCURRENT opens it":      {"AWSCURRENT": true},
		"; the target is restored: AWSCURRENT opens it again": {"AWSCURRENT": true},
		"; the target is changed: AWSPENDING opens it":        {"AWSPENDING": true},
		"; the target refuses AWSCURRENT and AWSPENDING": {
			"AWSPENDING": false, "AWSCURRENT": false,
		},
		"; this attempt did not change the target":                               nil,
		"; whether the target is changed is not known: AWSCURRENT or AWSPENDING": nil,
	} {
		if !strings.Contains(text, state) {
			continue
		}
		for label, want := range labels {
			if ok := w.open(w.labeled(label).value); ok != want {
				return fmt.Errorf("%s is accepted %v, but the error says: %w", label, ok, failure)
			}
		}
		return nil
	}
	if strings.HasPrefix(text, "finishSecret: ") {
		return fmt.Errorf("the error does not say the state of the target: %w", failure)
	}
	return nil
}

// errLockedOut means that no labeled version opens the target.
var errLockedOut = errors.New("locked out: no labeled version opens the target")

// notLockedOut checks that a labeled version opens the target, and that AWSCURRENT does before
// finishSecret or if it must work throughout. It tries twice before it reports a lock-out: the
// target may complete the change of a dead rotation between two logins.
func (w *world) notLockedOut() error {
	w.t.Helper()
	all := w.versions()
	if err := w.openedBy(all); !errors.Is(err, errLockedOut) {
		return err
	}
	return w.openedBy(all)
}

// openedBy tries each labeled version.
func (w *world) openedBy(all []version) error {
	w.t.Helper()
	opened := false
	for _, v := range all {
		if len(v.labels) == 0 {
			continue
		}
		ok := w.open(v.value)
		opened = opened || ok
		if !ok && (w.continuous() || !w.finishing.Load()) && slices.Contains(v.labels, "AWSCURRENT") {
			return errors.New("locked out: AWSCURRENT does not open the target")
		}
	}
	if !opened {
		return errLockedOut
	}
	return nil
}
