package enginetest

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// watched logs in with AWSCURRENT continuously during rotations. No login may be refused before finishSecret, or at any
// time if the current value must work throughout. Otherwise watched reports the number and duration of the refusals.
func watched(t testing.TB, h Harness) {
	w := newWorld(t, h)
	current := &secretsmanager.GetSecretValueInput{VersionStage: aws.String("AWSCURRENT")}
	var done atomic.Bool
	var accepted atomic.Int64
	var logins, refusals int
	var window time.Duration
	end := make(chan error, 1)
	go func() {
		end <- func() error {
			var since time.Time
			for !done.Load() || !since.IsZero() {
				v, err := w.get(current)
				if err != nil {
					return err
				}
				ok, err := w.accepts(v.value)
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
						return errors.New("AWSCURRENT has been refused for 30 s")
					}
				}
			}
			return nil
		}()
	}()
	defer done.Store(true)
	for range 3 {
		if err := w.rotate(); err != nil {
			t.Error(err)
			break
		}
		// A client may use a value for one whole rotation, but not for two.
		for seen := accepted.Load(); accepted.Load() < seen+2 && len(end) == 0; {
			time.Sleep(time.Millisecond)
		}
	}
	done.Store(true)
	w.must(<-end, "the logins")
	figure(t, "witness %s %s: %d logins, %d refused, window %d ms", w.kind.Names[0], w.strategy(), logins,
		refusals, window.Milliseconds())
	if w.continuous() && refusals > 0 {
		t.Errorf("%d of %d logins with AWSCURRENT were refused", refusals, logins+refusals)
	}
}
