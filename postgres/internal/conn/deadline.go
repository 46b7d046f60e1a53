package conn

import (
	"context"
	"slices"
	"sync"
	"time"
)

// WithDeadline is context.WithDeadline with one timer for all of its contexts. Starting
// a timer for each statement, to stop it a fraction of a millisecond later, makes the
// runtime wake a thread to look at it, which on a calm machine costs more than all other
// work of the client for a statement. For the same reason the caller passes the time.
func WithDeadline(parent context.Context, now, deadline time.Time) (context.Context, context.CancelFunc) {
	c := &Deadline{}
	c.Begin(parent, now, deadline)
	return c, c.Cancel
}

// Deadline is a context that ends with its parent, at its deadline or when
// it is cancelled, whichever is first. It begins with Begin, once.
type Deadline struct {
	context.Context // the parent
	deadline        time.Time
	done            chan struct{}
	release         func() bool // of the parent; may be nil

	next, previous *Deadline // in deadlines, which guards them and the deadline

	mu     sync.Mutex
	err    error
	funcs  []afterFunc // in single, mostly: a statement registers one
	single [1]afterFunc
	nth    int // how many were registered
}

type afterFunc struct {
	id int
	f  func()
}

// Begin makes the context one of parent with the deadline, or with its parent's if
// that is sooner.
func (c *Deadline) Begin(parent context.Context, now, deadline time.Time) {
	c.Context, c.deadline, c.done = parent, deadline, make(chan struct{})
	// If it has ended already, nothing must be sent.
	if err := parent.Err(); err != nil {
		c.end(err)
		return
	}
	if !now.Before(deadline) {
		c.end(context.DeadlineExceeded)
		return
	}
	if parent.Done() != nil {
		c.release = context.AfterFunc(parent, c.parentEnded)
	}
	if sooner, ok := parent.Deadline(); ok && sooner.Before(deadline) {
		c.deadline = sooner // which the parent keeps
		return
	}
	deadlines.add(c)
}

// Extend moves the deadline to a later time, or to that of the parent if that is
// sooner. Only the goroutine that asks for the deadline may do so.
func (c *Deadline) Extend(deadline time.Time) {
	if later, ok := c.Context.Deadline(); ok && later.Before(deadline) {
		deadline = later
	}
	deadlines.mu.Lock()
	defer deadlines.mu.Unlock()
	c.deadline = deadline
}

// Begun reports whether Begin was called.
func (c *Deadline) Begun() bool { return c.done != nil }

// Deadline, Done and Err implement context.Context.
func (c *Deadline) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *Deadline) Done() <-chan struct{} { return c.done }

func (c *Deadline) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc saves package context a goroutine that waits for Done.
func (c *Deadline) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.funcs == nil {
		c.funcs = c.single[:0]
	}
	c.nth++
	id := c.nth
	c.funcs = append(c.funcs, afterFunc{id, f})
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.IndexFunc(c.funcs, func(a afterFunc) bool { return a.id == id })
		if i < 0 {
			return false
		}
		c.funcs = slices.Delete(c.funcs, i, i+1)
		return true
	}
}

func (c *Deadline) parentEnded() {
	deadlines.remove(c)
	c.end(c.Context.Err())
}

// Cancel ends the context, if it has not ended yet.
func (c *Deadline) Cancel() {
	deadlines.remove(c)
	if c.release != nil {
		c.release()
	}
	c.end(context.Canceled)
}

// end ends the context, once.
func (c *Deadline) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	for _, f := range c.funcs {
		go f.f()
	}
	c.funcs = nil
}

// deadlines are the contexts whose deadline is still to come.
var deadlines = newDeadlineClock()

// deadlineClock ends contexts at their deadlines. Its timer goes off at the
// earliest of those that it was set for, and mostly finds that all is done long
// ago.
type deadlineClock struct {
	mu      sync.Mutex
	first   Deadline // of a ring; itself none
	timer   *time.Timer
	firesAt time.Time // when the timer goes off; zero when it does not
}

func newDeadlineClock() *deadlineClock {
	k := &deadlineClock{}
	k.first.next, k.first.previous = &k.first, &k.first
	k.timer = time.AfterFunc(time.Hour, k.expire)
	k.timer.Stop()
	return k
}

func (k *deadlineClock) add(c *Deadline) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c.next, c.previous = &k.first, k.first.previous
	c.previous.next, c.next.previous = c, c
	k.set(c.deadline)
}

func (k *deadlineClock) remove(c *Deadline) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.next != nil {
		c.previous.next, c.next.previous = c.next, c.previous
		c.next, c.previous = nil, nil
	}
}

// set makes the timer go off at that time, if it does not sooner.
func (k *deadlineClock) set(at time.Time) {
	if k.firesAt.IsZero() || at.Before(k.firesAt) {
		k.firesAt = at
		k.timer.Reset(time.Until(at))
	}
}

// expire ends what is due.
func (k *deadlineClock) expire() {
	var due []*Deadline
	k.mu.Lock()
	k.firesAt = time.Time{}
	now := time.Now()
	for c := k.first.next; c != &k.first; {
		next := c.next
		if c.deadline.After(now) {
			k.set(c.deadline)
		} else {
			c.previous.next, c.next.previous = c.next, c.previous
			c.next, c.previous = nil, nil
			due = append(due, c)
		}
		c = next
	}
	k.mu.Unlock()
	for _, c := range due {
		if c.release != nil {
			c.release()
		}
		c.end(context.DeadlineExceeded)
	}
}
