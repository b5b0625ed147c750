//go:build repro

package enginetest

import (
	"net/http"
	"testing"
)

func TestFastCalls(t *testing.T) {
	w, err := newWorld(t, &toyHarness{server: newToyServer(t)})
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	token, err := w.begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		var ops []string
		w.wire.set(func(op string, send func() (*http.Response, error)) (*http.Response, error) {
			ops = append(ops, op)
			return send()
		})
		if err := w.step(t.Context(), s, token); err != nil {
			t.Fatal(err)
		}
		w.wire.set(nil)
		t.Logf("%s: %v", s, ops)
		total += len(ops)
	}
	t.Logf("total %d", total)
}
