package enginetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
)

// Within returns a context with a timeout of 15 s for one call of an engine: a call that hangs must
// not hang the test.
func Within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// WantCause fails the test unless err is an *engine.Error with the cause, contains the text, and
// has advice.
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
