package conn

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// WithDeadline is context.WithDeadline with a single timer for all contexts. Starting a
// timer for each statement and stopping it a fraction of a millisecond later makes the
// runtime wake a thread to check it. On a calm machine this costs more than all other
// work of the client for a statement. For the same reason the caller passes the current
// time.
func WithDeadline(parent context.Context, now, deadline time.Time) (context.Context, context.CancelFunc) {
	c := &Deadline{}
	c.Begin(parent, now, deadline)
	return c, c.Cancel
}

// Deadline is a context that ends with its parent, at its deadline or when it is
// cancelled, whichever comes first. Begin must be called once before it is used.
type Deadline struct {
	context.Context // the parent
	deadline        time.Time
	done            chan struct{}
	release         func() bool // of the parent; may be nil
	reused          *reusable   // what Release returns for reuse

	next, previous *Deadline // links in the list deadlines, whose lock guards them and the deadline

	watched *state        // the connection that runs a statement with the context; may be nil
	handled chan struct{} // closed when the end of the context was handled; nil if it has not ended

	mu      sync.Mutex
	err     error
	exposed bool        // done was returned to code that may wait for it at any time
	funcs   []afterFunc // usually in single, because a statement registers only one
	single  [1]afterFunc
	nth     int // number of registered functions
}

type afterFunc struct {
	id int
	f  func()
}

// Begin makes the context a child of parent with the deadline, or with the parent's
// deadline if that is earlier.
func (c *Deadline) Begin(parent context.Context, now, deadline time.Time) {
	c.Context, c.deadline, c.reused = parent, deadline, reusables.Get().(*reusable)
	c.done, c.reused.owner = c.reused.done, c
	// If the parent has ended already, nothing may be sent.
	if err := parent.Err(); err != nil {
		c.end(err)
		return
	}
	if !now.Before(deadline) {
		c.end(context.DeadlineExceeded)
		return
	}
	if parent.Done() != nil {
		c.release = context.AfterFunc(parent, c.reused.parentEnded)
	}
	if sooner, ok := parent.Deadline(); ok && sooner.Before(deadline) {
		c.deadline = sooner // the parent's deadline is earlier
		return
	}
	deadlines.add(c)
}

// Arm makes the context one that ends at the deadline only, and then calls f in a separate
// goroutine, until Disarm. now is the current time.
func (c *Deadline) Arm(now, at time.Time, f func()) {
	c.Begin(context.Background(), now, at)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return
	}
	c.single[0].f = f
	c.funcs = c.single[:]
}

// Disarm ends Arm. If f has not been called yet, it is not called any more.
func (c *Deadline) Disarm() {
	c.mu.Lock()
	c.funcs = nil
	c.mu.Unlock()
	c.Release()
}

// Extend moves the deadline to another time, but not beyond the parent's deadline. Only
// the goroutine that reads the deadline may call it.
func (c *Deadline) Extend(deadline time.Time) {
	if later, ok := c.Context.Deadline(); ok && later.Before(deadline) {
		deadline = later
	}
	deadlines.mu.Lock()
	defer deadlines.mu.Unlock()
	c.deadline = deadline
	if c.next != nil {
		deadlines.set(deadline)
	}
}

// Begun reports whether Begin was called.
func (c *Deadline) Begun() bool { return c.done != nil }

// Deadline, Done and Err implement context.Context.
func (c *Deadline) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *Deadline) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exposed = true
	return c.done
}

func (c *Deadline) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc lets package context avoid a goroutine that waits for Done.
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

// Cancel ends the context if it has not ended yet.
func (c *Deadline) Cancel() {
	deadlines.remove(c)
	if c.release != nil {
		c.release()
	}
	c.end(context.Canceled)
}

// reusable is what a context needs only for its end, which most contexts do not reach before
// their Release: an open channel, and the function that the parent's end calls.
type reusable struct {
	owner       *Deadline
	done        chan struct{}
	parentEnded func()
}

var reusables = sync.Pool{New: func() any {
	r := &reusable{done: make(chan struct{})}
	r.parentEnded = func() { r.owner.parentEnded() }
	return r
}}

// Release is Cancel for the owner of the context, which no longer needs it. Calls that have
// the context of Waiting must have returned.
func (c *Deadline) Release() {
	deadlines.remove(c)
	parentEnds := c.release != nil && !c.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	if parentEnds || c.err != nil || c.watched != nil || len(c.funcs) > 0 || c.exposed {
		c.endLocked(context.Canceled)
		return
	}
	c.err = context.Canceled
	c.reused.owner = nil
	reusables.Put(c.reused)
	c.reused, c.done = nil, released
}

// released is the channel of contexts whose own channel is reused.
var released = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Waiting returns the context for a call that does not wait for its end any more once it has
// returned, such as pgxpool's Acquire.
func (c *Deadline) Waiting() context.Context { return waitingContext{c} }

// waitingContext is a Deadline whose Done does not count as exposed.
type waitingContext struct{ c *Deadline }

func (w waitingContext) Deadline() (time.Time, bool)           { return w.c.Deadline() }
func (w waitingContext) Done() <-chan struct{}                 { return w.c.done }
func (w waitingContext) Err() error                            { return w.c.Err() }
func (w waitingContext) Value(key any) any                     { return w.c.Value(key) }
func (w waitingContext) AfterFunc(f func()) (stop func() bool) { return w.c.AfterFunc(f) }

// Watch returns the context for a statement on a connection, until Unwatch. pgconn would
// register with the context for each statement, which takes seven allocations. The
// returned context has no Done, so pgconn does not, and the end of this context calls the
// connection's handler directly. A connection that does not belong to a Pool gets this
// context.
func (c *Deadline) Watch(conn *pgconn.PgConn) context.Context {
	s := stateOf(conn)
	if s == nil {
		return c
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched = s
	if c.err != nil {
		c.handle()
	}
	return watchedContext{c}
}

// Unwatch ends Watch. It must be called after the statement has returned, and before its
// connection is used again. If the context has ended, it waits until its end was handled.
func (c *Deadline) Unwatch() {
	c.mu.Lock()
	s, handled := c.watched, c.handled
	c.watched, c.handled = nil, nil
	c.mu.Unlock()
	if handled != nil {
		<-handled
		s.HandleUnwatchAfterCancel()
	}
}

// handle handles the end of the context on the watched connection.
func (c *Deadline) handle() {
	s, handled := c.watched, make(chan struct{})
	c.handled = handled
	go func() {
		s.HandleCancel(c)
		close(handled)
	}()
}

// watchedContext is a Deadline without its Done.
type watchedContext struct{ c *Deadline }

func (w watchedContext) Deadline() (time.Time, bool) { return w.c.Deadline() }
func (w watchedContext) Done() <-chan struct{}       { return nil }
func (w watchedContext) Err() error                  { return w.c.Err() }
func (w watchedContext) Value(key any) any           { return w.c.Value(key) }

// end ends the context, once.
func (c *Deadline) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(err)
}

func (c *Deadline) endLocked(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	if c.watched != nil {
		c.handle()
	}
	for _, f := range c.funcs {
		go f.f()
	}
	c.funcs = nil
}

// deadlines are the contexts whose deadline is in the future.
var deadlines = newDeadlineClock()

// deadlineClock ends contexts at their deadlines. Its timer fires at the earliest time
// for which it was set, and usually finds that all contexts due then have already
// ended.
type deadlineClock struct {
	mu      sync.Mutex
	first   Deadline // head of a ring, not a context
	timer   *time.Timer
	firesAt time.Time // when the timer fires; zero if it is stopped
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

// set makes the timer fire at the given time, unless it fires sooner.
func (k *deadlineClock) set(at time.Time) {
	if k.firesAt.IsZero() || at.Before(k.firesAt) {
		k.firesAt = at
		k.timer.Reset(time.Until(at))
	}
}

// expire ends the contexts that are due.
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
