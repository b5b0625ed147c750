//go:build repro

package enginetest

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"example.com/rotator/rotation"
)

type deferHarness struct{ toyHarness }

func (h *deferHarness) Env() map[string]string { return map[string]string{"DEFER": "1"} }

// TestDeferSuite: the whole suite with the change made in finishSecret.
func TestDeferSuite(t *testing.T) {
	t.Setenv("ROTATOR_FIGURES", "")
	s := newToyServer(t)
	Run(t, func(t *testing.T) Harness { return &deferHarness{toyHarness{server: s}} })
}

// TestDeferWindow: how long AWSCURRENT is refused if Secrets Manager takes 500 ms from step to step and 20 ms a call.
func TestDeferWindow(t *testing.T) {
	for _, mode := range []string{"", "1"} {
		w, err := newWorld(t, &toyHarness{server: newToyServer(t)})
		if err != nil {
			t.Fatal(err)
		}
		w.env["DEFER"] = mode
		w.wire.set(func(_ string, send func() (*http.Response, error)) (*http.Response, error) {
			time.Sleep(10 * time.Millisecond)
			resp, err := send()
			time.Sleep(10 * time.Millisecond)
			return resp, err
		})
		calls := 0
		var done atomic.Bool
		var window time.Duration
		end := make(chan struct{})
		go func() {
			defer close(end)
			var since time.Time
			for !done.Load() {
				v, _ := w.labelled("AWSCURRENT")
				ok, _ := w.open(v.value)
				switch {
				case ok && !since.IsZero():
					window = max(window, time.Since(since))
					since = time.Time{}
				case !ok && since.IsZero():
					since = time.Now()
				}
			}
		}()
		token, err := w.begin()
		if err != nil {
			t.Fatal(err)
		}
		_ = calls
		for _, s := range steps {
			if err := w.step(context.Background(), s, token); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
		}
		done.Store(true)
		<-end
		fmt.Printf("window DEFER=%q: %v\n", mode, window.Round(time.Millisecond))
		if err := w.ended(token); err != nil {
			t.Error(err)
		}
	}
}

// TestDeferEdits: D6, with the change in finishSecret: between the steps, and in the moment of the promotion.
func TestDeferEdits(t *testing.T) {
	for _, way := range []string{"UpdateSecret", "PutSecretValue", "labels"} {
		for _, when := range []string{"after setSecret", "after testSecret", "at the promotion"} {
			w, err := newWorld(t, &deferHarness{toyHarness{server: newToyServer(t)}})
			if err != nil {
				t.Fatal(err)
			}
			token, err := w.begin()
			if err != nil {
				t.Fatal(err)
			}
			edit := func() {
				edited := w.first.With("note", "an operator's words")
				var err error
				switch way {
				case "UpdateSecret":
					err = w.update(edited)
				case "PutSecretValue":
					err = w.put(edited, "11111111-1111-1111-1111-111111111111", "AWSCURRENT")
				default:
					err = w.replace(edited)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for i, s := range steps {
				if i == 3 && when == "at the promotion" {
					w.wire.set(func(operation string, send func() (*http.Response, error)) (*http.Response, error) {
						if operation == "UpdateSecretVersionStage" {
							w.wire.set(nil)
							edit()
						}
						return send()
					})
				}
				err = w.step(t.Context(), s, token)
				w.wire.set(nil)
				if err != nil {
					break
				}
				if i == 1 && when == "after setSecret" || i == 2 && when == "after testSecret" {
					edit()
				}
			}
			current, _ := w.labelled("AWSCURRENT")
			ok, _ := w.open(current.value)
			t.Logf("%s %s: AWSCURRENT opens %v; %v", way, when, ok, rotation.CauseOf(err))
			if !ok {
				t.Errorf("%s %s: AWSCURRENT is refused", way, when)
			}
		}
	}
}
