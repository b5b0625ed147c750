package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// witness is a client that acts like an application: it reads AWSCURRENT and logs in, over and over.
type witness struct {
	logins  int
	refused []string // the versions that were refused, one for each login
	window  time.Duration

	ending atomic.Bool
	done   chan error
}

func (s *stage) watch(ctx context.Context, name string) *witness {
	w := &witness{done: make(chan error, 1)}
	go func() { w.done <- w.run(ctx, s, name) }()
	return w
}

func (w *witness) run(ctx context.Context, s *stage, name string) error {
	var since time.Time // the start of the current run of refusals
	for ctx.Err() == nil && (!w.ending.Load() || !since.IsZero()) {
		l, version, err := s.current(ctx, name)
		if err == nil {
			err = s.try(ctx, l)
		}
		switch {
		case ctx.Err() != nil:
		case err == nil:
			w.logins++
			if !since.IsZero() {
				w.window += time.Since(since)
				since = time.Time{}
			}
		case refused(err):
			w.refused = append(w.refused, version)
			if since.IsZero() {
				since = time.Now()
			}
		default:
			return err
		}
	}
	return ctx.Err()
}

// end stops the witness after an accepted login. Its fields may be read afterward.
func (w *witness) end() error {
	w.ending.Store(true)
	return <-w.done
}

// explain shows what the client saw and why logins were refused. old is the version that was AWSCURRENT before the
// rotation. It may be refused only if gap is true: the new password then ends the old one. Other refusals are errors.
func (w *witness) explain(out *screen, old string, gap bool) error {
	out.say("client: %d logins accepted, %d refused", w.logins, len(w.refused))
	for _, version := range w.refused {
		if version != old || !gap {
			return fmt.Errorf("the client was refused with version %s, which should open the server", short(version))
		}
	}
	switch {
	case gap && len(w.refused) == 0:
		out.say("  no login fell into the gap between PostgreSQL's new password and the move of AWSCURRENT")
	case gap:
		out.say("  refused with %s for %s: PostgreSQL already had the new password, and AWSCURRENT", short(old),
			w.window.Round(time.Millisecond))
		out.say("  had not moved yet. An application that then reads the secret again gets in.")
	}
	return nil
}
