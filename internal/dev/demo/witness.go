package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// witness is a client that does what applications do: it reads AWSCURRENT and logs in, over and over.
type witness struct {
	logins   int
	refusals []refusal

	ending atomic.Bool
	done   chan error
}

// refusal is a refused login, with the version that was tried, and how long it took until the client
// was accepted again.
type refusal struct {
	version string
	lasted  time.Duration
}

// watch starts a witness.
func (s *stage) watch(ctx context.Context, name string) *witness {
	w := &witness{done: make(chan error, 1)}
	go func() { w.done <- w.run(ctx, s, name) }()
	return w
}

func (w *witness) run(ctx context.Context, s *stage, name string) error {
	var since []time.Time // when each refusal after the last accepted login was
	for ctx.Err() == nil && (!w.ending.Load() || len(since) > 0) {
		l, version, err := s.current(ctx, name)
		if err == nil {
			err = s.try(ctx, l)
		}
		switch {
		case ctx.Err() != nil:
		case err == nil:
			w.logins++
			open := w.refusals[len(w.refusals)-len(since):]
			for i := range open {
				open[i].lasted = time.Since(since[i])
			}
			since = nil
		case refused(err):
			w.refusals = append(w.refusals, refusal{version: version})
			since = append(since, time.Now())
		default:
			return err
		}
	}
	return ctx.Err()
}

// end stops the witness after an accepted login. Its figures may be read afterwards.
func (w *witness) end() error {
	w.ending.Store(true)
	return <-w.done
}

// explain shows what the client saw and why each login was refused. old is the version that was
// AWSCURRENT before the rotation; it is refused only where changing the password ends the old one,
// which gap says. A refusal with no such reason is an error.
func (w *witness) explain(out *screen, old string, gap bool) error {
	out.say("client: %d logins accepted, %d refused", w.logins, len(w.refusals))
	for _, r := range w.refusals {
		if r.version != old || !gap {
			return fmt.Errorf("the client was refused with version %s, which should open the server", short(r.version))
		}
		out.say("  refused with %s: PostgreSQL already had the new password, the client still the old one; accepted %s later", short(old), r.lasted.Round(time.Millisecond))
	}
	switch {
	case gap && len(w.refusals) == 0:
		out.say("  no login fell into the gap between PostgreSQL's new password and the move of AWSCURRENT")
	case gap:
		out.say("  An application that then reads the secret again gets in. With alternating users there is no gap.")
	}
	return nil
}
