package ctl

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"example.com/rotator/sim"
)

// TestRecordIsReadAgain: a call for the log may be throttled, and the first one precedes the function's first log line.
func TestRecordIsReadAgain(t *testing.T) {
	calls := 0
	f := &follower{
		rotating: &rotating{logPace: rate.NewLimiter(rate.Inf, 1)}, steps: []string{"testSecret"},
		out: reportTo(t.Context(), io.Discard, io.Discard, false, ""),
		record: func(context.Context, time.Time) ([]sim.Progress, error) {
			if calls++; calls == 1 {
				return nil, errors.New("the log group does not exist")
			}
			return []sim.Progress{{Step: "testSecret"}}, nil
		},
	}
	for range 2 {
		if err := f.failure(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.steps) > 0 || f.unread != nil {
		t.Errorf("%q are not reported, %v", f.steps, f.unread)
	}
}
