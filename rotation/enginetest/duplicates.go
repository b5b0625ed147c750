package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// calls are consecutive invocations, each for one step.
type calls = []rotation.Step

// duplicates runs every step twice in a row and twice concurrently, and replays whole rotations:
// Secrets Manager delivers at least once.
func duplicates(t testing.TB, h Harness) {
	create, set, test, finish := steps[0], steps[1], steps[2], steps[3]
	w := newWorld(t, h)
	for _, rounds := range [][][]calls{
		{{{create, create}}, {{set, set}}, {{test, test}}, {{finish, finish}}},
		{{{create}, {create}}, {{set}, {set}}, {{test}, {test}}, {{finish}, {finish}}},
		{{{create}}, {{create, set}}, {{create, set, test}}, {steps}},
	} {
		token := w.begin()
		for _, round := range rounds {
			w.at("the calls %v", round)
			w.must(w.together(token, round, nil), "one of them")
			w.must(w.notLockedOut(), "afterwards")
		}
		w.must(w.ended(token), "at the end")
		// The rotation is over: each of its steps succeeds and does nothing.
		w.complete(token, "after the end")
	}
}

// passing lists the causes that a concurrent call may trigger and a retry resolves.
var passing = append([]engine.Cause{engine.Unsettled}, broken...)

// birth duplicates the calls of the rotation that creates the second user, consecutively and
// concurrently. Afterwards both users work and alternate.
func birth(t testing.TB, h Harness) {
	create, set, test, finish := steps[0], steps[1], steps[2], steps[3]
	inARow := [][]calls{{{create, create, set, set, test, test, finish, finish}}}
	atOnce := [][]calls{{{create}, {create}, {create}}, {{set}, {set}, {set}}, {{test}, {test}, {test}}, {{finish}}}
	beside := [][]calls{{{create, set}, {create, set}, {create, set}}, {{test}, {test}, {test}}, {{finish}}}
	for _, rounds := range [][][]calls{inARow, atOnce, beside, atOnce, beside} {
		w := newWorld(t, h)
		if !w.alternates() {
			return
		}
		token := w.begin()
		for _, round := range rounds {
			w.must(w.together(token, round, passing), "one of the calls %v", round)
		}
		w.must(errors.Join(w.ended(token), w.bothOpen()), "the first rotation")
		w.must(w.rotate(), "the second rotation")
		w.must(w.bothOpen(), "after the second rotation")
	}
}

// together runs calls concurrently. Failed calls are repeated once all have returned. They may fail with the given
// causes. If causes is nil, one call may fail with any cause.
func (w *world) together(token string, round []calls, causes []engine.Cause) error {
	type result struct {
		left calls
		err  error
	}
	take := func(c calls) result {
		for i, step := range c {
			if err := w.step(context.Background(), step, token); err != nil {
				return result{c[i:], err}
			}
		}
		return result{}
	}
	results := make(chan result)
	for _, c := range round {
		go func() { results <- take(c) }()
	}
	var failed []result
	for range round {
		if r := <-results; r.err != nil {
			failed = append(failed, r)
		}
	}
	for _, r := range failed {
		if len(round) == 1 || len(failed) > 1 && causes == nil ||
			causes != nil && !slices.Contains(causes, engine.CauseOf(r.err)) {
			return r.err
		}
		if again := take(r.left); again.err != nil {
			return fmt.Errorf("the retry fails: %w, after %w", again.err, r.err)
		}
	}
	return nil
}
