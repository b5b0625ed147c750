package enginetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// watched logs in with AWSCURRENT continuously during rotations. No login is refused before
// finishSecret, or at any time if the current value must work throughout. Otherwise the number and
// duration of the refusals are reported.
func watched(t testing.TB, h Harness) error {
	w, err := newWorld(t, h)
	if err != nil {
		return err
	}
	var done atomic.Bool
	var accepted atomic.Int64
	var logins, refusals int
	var window time.Duration
	end := make(chan error, 1)
	go func() {
		end <- func() error {
			var since time.Time
			for !done.Load() || !since.IsZero() {
				v, err := w.labeled("AWSCURRENT")
				if err != nil {
					return err
				}
				ok, err := w.open(v.value)
				switch {
				case err != nil:
					return err
				case ok:
					logins++
					accepted.Add(1)
					if !since.IsZero() {
						window = max(window, time.Since(since))
						since = time.Time{}
					}
				default:
					if !w.finishing.Load() {
						return errors.New("AWSCURRENT was refused before finishSecret")
					}
					refusals++
					if since.IsZero() {
						since = time.Now()
					}
					if time.Since(since) > 30*time.Second {
						return fmt.Errorf("AWSCURRENT has been refused for 30 s")
					}
				}
			}
			return nil
		}()
	}()
	for range 3 {
		if err = w.rotate(); err != nil {
			break
		}
		// A client may use a value for one whole rotation, but not for two.
		for seen := accepted.Load(); accepted.Load() < seen+2 && len(end) == 0; {
			time.Sleep(time.Millisecond)
		}
	}
	done.Store(true)
	if werr := <-end; err == nil {
		err = werr
	}
	if err != nil {
		return err
	}
	figure(t, "witness %s %s: %d logins, %d refused, window %d ms", w.kind.Names[0], w.strategy(), logins,
		refusals, window.Milliseconds())
	if w.continuous() && refusals > 0 {
		return fmt.Errorf("%d of %d logins with AWSCURRENT were refused", refusals, logins+refusals)
	}
	return nil
}
