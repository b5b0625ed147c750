//go:build repro

package postgres_test

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"

	"example.com/rotator/rotation"
)

// the first setSecret of a pair, several times at once, and createSecret beside it
func TestRFirstSetTwiceAtOnce(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		failures := map[string]int{}
		var mu sync.Mutex
		for range 15 {
			arn, _ := w.alt("")
			token := uuid.NewString()
			w.interruptAll(arn, token)
			w.interrupt = ""
			handle := func(s rotation.Step) error {
				return w.rotator().Handle(context.Background(), rotation.Event{SecretID: arn, ClientRequestToken: token, Step: s})
			}
			if err := handle(rotation.CreateSecret); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for i := range 3 {
				wg.Go(func() {
					step := rotation.SetSecret
					if i == 2 {
						step = rotation.CreateSecret
					}
					if err := handle(step); err != nil {
						mu.Lock()
						s := err.Error()
						failures[s[:min(len(s), 60)]+" … "+s[max(0, len(s)-150):]]++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if err := handle(rotation.SetSecret); err != nil {
				t.Error("repeat:", err)
			}
			if err := handle(rotation.TestSecret); err != nil {
				t.Error("test:", err)
			}
		}
		for s, n := range failures {
			t.Log(n, s)
		}
		t.Log("kinds of failure:", len(failures))
	})
}
