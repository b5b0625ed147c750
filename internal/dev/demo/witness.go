package main

import (
	"context"
	"sync/atomic"
	"time"
)

// witness is a client as applications are: it reads AWSCURRENT and logs in,
// again and again, and counts how often it is refused.
type witness struct {
	logins, refused int
	window          time.Duration

	ending atomic.Bool
	done   chan error
}

// watch starts a witness.
func (s *stage) watch(ctx context.Context, name string) *witness {
	w := &witness{done: make(chan error, 1)}
	go func() { w.done <- w.run(ctx, s, name) }()
	return w
}

func (w *witness) run(ctx context.Context, s *stage, name string) error {
	var since time.Time // the first of a row of refusals
	for ctx.Err() == nil && (!w.ending.Load() || !since.IsZero()) {
		l, err := s.current(ctx, name)
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
			w.refused++
			if since.IsZero() {
				since = time.Now()
			}
		default:
			return err
		}
	}
	return ctx.Err()
}

// end stops the witness after a login that is not refused; its figures may be
// read afterwards.
func (w *witness) end() error {
	w.ending.Store(true)
	return <-w.done
}
