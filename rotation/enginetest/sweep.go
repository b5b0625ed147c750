package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

// crash ends a rotation at its n-th point, as if the process had died there: nothing that it does
// afterwards has any effect. Points are the moments before and after each call to Secrets Manager
// and each piece of data to or from the target, counted as they happen.
type crash struct {
	mu    sync.Mutex
	at    int
	seen  int
	dead  bool
	kill  context.CancelFunc
	where string
}

var errDead = errors.New("the process is dead")

// pass counts a point and reports whether the process survives it.
func (c *crash) pass(where string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return false
	}
	c.seen++
	if c.seen == c.at {
		c.dead, c.where = true, where
		c.kill()
	}
	return !c.dead
}

// run calls do up to the crash and reports whether the crash happened.
func (c *crash) run(w *world, do func(context.Context) error) (died bool, err error) {
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	c.kill = kill
	w.wire.set(func(operation string, send sender) (*http.Response, error) {
		if !c.pass("before " + operation) {
			return nil, errDead
		}
		resp, err := send()
		if !c.pass("after " + operation) {
			if err == nil {
				resp.Body.Close()
			}
			return nil, errDead
		}
		return resp, err
	})
	if w.proxy != nil {
		w.proxy.Filter(func(p testserver.Chunk) bool {
			if p.FromServer {
				return c.pass("before an answer of the target arrives")
			}
			return c.pass("before a request reaches the target")
		})
	}
	err = do(ctx)
	w.wire.set(nil)
	if w.proxy != nil {
		w.proxy.Filter(nil)
		w.proxy.Cut()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead, err
}

// sweep crashes a rotation at every point and retries it as Secrets Manager does. Nobody may be
// locked out in between, and the retry must succeed.
func sweep(t testing.TB, h Harness) error {
	points, lockouts := 0, 0
	var errs []error
	var w *world
	for at := 1; ; at++ {
		var err error
		if w, err = newWorld(t, h); err != nil {
			return err
		}
		token, err := w.begin()
		if err != nil {
			return err
		}
		c := &crash{at: at}
		rotate := func(ctx context.Context) error { return w.all(ctx, token) }
		died, err := c.run(w, rotate)
		if !died {
			if err != nil {
				return fmt.Errorf("a rotation without a crash fails: %w", err)
			}
			if err := w.ended(token); err != nil {
				return fmt.Errorf("after a rotation without a crash: %w", err)
			}
			break
		}
		points++
		if err := w.notLockedOut(); err != nil {
			lockouts++
			errs = append(errs, fmt.Errorf("crash at point %d, %s: %w", at, c.where, err))
		}
		// Every third time the retry also crashes, at a point that moves through the rotation.
		if at%3 == 0 {
			if died, _ := (&crash{at: 1 + at*7%23}).run(w, rotate); died {
				if err := w.notLockedOut(); err != nil {
					lockouts++
					errs = append(errs, fmt.Errorf("second crash after point %d, %s: %w", at, c.where, err))
				}
			}
		}
		if err := w.all(context.Background(), token); err != nil {
			errs = append(errs, fmt.Errorf("crash at point %d, %s: the retry fails: %w", at, c.where, err))
		} else if err := w.ended(token); err != nil {
			errs = append(errs, fmt.Errorf("crash at point %d, %s: %w", at, c.where, err))
		}
		if len(errs) > 10 {
			break
		}
	}
	figure(t, "sweep %s %s: %d points, %d lock-outs", w.kind.Names[0], w.strategy(), points, lockouts)
	if points < 8 {
		errs = append(errs, fmt.Errorf("the sweep found only %d points", points))
	}
	return errors.Join(errs...)
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
			v, err := w.labeled(label)
			if err != nil {
				return err
			}
			if ok, err := w.open(v.value); err != nil || ok != want {
				return fmt.Errorf("%s is accepted %v (%v), but the error says: %w", label, ok, err, failure)
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
	all, err := w.versions()
	if err != nil {
		return err
	}
	if err = w.openedBy(all); errors.Is(err, errLockedOut) {
		return w.openedBy(all)
	}
	return err
}

// openedBy tries each labeled version.
func (w *world) openedBy(all []version) error {
	opened := false
	for _, v := range all {
		if len(v.labels) == 0 {
			continue
		}
		ok, err := w.open(v.value)
		if err != nil {
			return err
		}
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
