package sim

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Clock is a source of time for schedules, retries and the ages of versions.
type Clock interface {
	Now() time.Time
	// Wall is the clients' time, for request quotas and stale reads: the machine's, unless the
	// clock is moved by hand.
	Wall() time.Time
	// At calls f at t, or immediately if t has passed. stop cancels it.
	At(t time.Time, f func()) (stop func())
	// Go runs f concurrently. A clock that is moved by hand waits for it.
	Go(f func())
	// Sleep waits for d or until ctx is done. Only functions run by Go may call it.
	Sleep(ctx context.Context, d time.Duration) error
}

type realClock struct {
	mu          sync.Mutex
	begin, real time.Time
	speed       float64
}

// RealTime returns the machine's clock.
func RealTime() Clock { return FastTime(time.Now(), 1) }

// FastTime returns a clock that starts at begin and runs speed times as fast as the machine's.
func FastTime(begin time.Time, speed float64) Clock {
	return &realClock{begin: begin, real: time.Now(), speed: speed}
}

func (c *realClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begin.Add(time.Duration(float64(time.Since(c.real)) * c.speed)).UTC()
}

func (c *realClock) Wall() time.Time { return time.Now() }

// notBefore moves the clock forward to t if it is behind.
func (c *realClock) notBefore(t time.Time) {
	if behind := t.Sub(c.Now()); behind > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.begin = c.begin.Add(behind)
	}
}

func (c *realClock) shrink(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.speed)
}

func (c *realClock) At(t time.Time, f func()) func() {
	timer := time.AfterFunc(c.shrink(t.Sub(c.Now())), f)
	return func() { timer.Stop() }
}

func (c *realClock) Go(f func()) { go f() }

func (c *realClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(c.shrink(d))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ManualClock moves only when Advance is called. A test, or a benchmark of a whole year, runs as
// fast as the machine can.
type ManualClock struct {
	mu   sync.Mutex
	idle *sync.Cond
	now  time.Time
	due  agenda
	busy int
	seq  int
}

// NewManualClock returns a clock that is stopped at now.
func NewManualClock(now time.Time) *ManualClock {
	c := &ManualClock{now: now.UTC()}
	c.idle = sync.NewCond(&c.mu)
	return c
}

// Now returns the clock's time.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Wall also returns the clock's time.
func (c *ManualClock) Wall() time.Time { return c.Now() }

// At calls f when the clock reaches t.
func (c *ManualClock) At(t time.Time, f func()) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.at(t, f)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if e.index >= 0 {
			heap.Remove(&c.due, e.index)
		}
	}
}

func (c *ManualClock) at(t time.Time, f func()) *entry {
	c.seq++
	e := &entry{t: t, seq: c.seq, f: f}
	heap.Push(&c.due, e)
	return e
}

// Go runs f concurrently; Advance waits for it.
func (c *ManualClock) Go(f func()) {
	c.mu.Lock()
	c.busy++
	c.mu.Unlock()
	go func() {
		defer c.rest(-1)
		f()
	}()
}

func (c *ManualClock) rest(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy += n; c.busy == 0 {
		c.idle.Broadcast()
	}
}

// Sleep waits until the clock has moved by d.
func (c *ManualClock) Sleep(ctx context.Context, d time.Duration) error {
	woken := make(chan struct{})
	c.mu.Lock()
	// Count a woken sleeper as busy before it runs, or the clock could move in between.
	e := c.at(c.now.Add(d), func() {
		c.rest(1)
		close(woken)
	})
	if c.busy--; c.busy == 0 {
		c.idle.Broadcast()
	}
	c.mu.Unlock()
	select {
	case <-woken:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	if e.index < 0 { // it is just being woken
		c.mu.Unlock()
		<-woken
		return nil
	}
	heap.Remove(&c.due, e.index)
	c.busy++
	c.mu.Unlock()
	return ctx.Err()
}

// Advance moves the clock by d and runs, in order, everything that falls due on the way.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.now.Add(d)
	for {
		for c.busy > 0 {
			c.idle.Wait()
		}
		if len(c.due) == 0 || c.due[0].t.After(end) {
			c.now = end
			return
		}
		e := heap.Pop(&c.due).(*entry)
		if e.t.After(c.now) {
			c.now = e.t
		}
		c.mu.Unlock()
		e.f()
		c.mu.Lock()
	}
}

type entry struct {
	t          time.Time
	seq, index int
	f          func()
}

// agenda is a heap of entries, earliest first.
type agenda []*entry

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if a[i].t.Equal(a[j].t) {
		return a[i].seq < a[j].seq
	}
	return a[i].t.Before(a[j].t)
}
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}
func (a *agenda) Push(x any) {
	e := x.(*entry)
	e.index = len(*a)
	*a = append(*a, e)
}
func (a *agenda) Pop() any {
	old := *a
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	e.index = -1
	return e
}
