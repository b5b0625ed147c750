package enginetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
)

// Within returns a context for one call of an engine in a test of its own, which
// ends after 15 s: a call that hangs must not hang the test.
func Within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// WantCause ends the test unless an engine's error has the cause, has the text in
// it, and says what to do.
func WantCause(t testing.TB, err error, cause engine.Cause, text string) {
	t.Helper()
	e, ok := errors.AsType[*engine.Error](err)
	if !ok || e.Cause != cause || !strings.Contains(err.Error(), text) {
		t.Fatalf("error %v, want cause %s and %q", err, cause, text)
	}
	if e.Advice == "" {
		t.Errorf("the error has no advice: %v", err)
	}
}
