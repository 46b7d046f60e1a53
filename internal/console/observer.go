package console

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"quern/postgres"
)

// Observer counts the statements and events of a Router, and the requests of a service. It
// implements postgres.Observer.
type Observer struct {
	router     atomic.Pointer[postgres.Router]
	statements sync.Map // *postgres.Statement → *counters; the Router never moves a Statement

	requests  histogram
	badAnswer atomic.Uint64 // requests that were answered by a status of 500 or more
	retries   atomic.Uint64
	coalesced atomic.Uint64 // calls
	batches   atomic.Uint64

	mu     sync.Mutex
	all    []*counters          // of each statement that ran, in the order of their first calls
	byName map[string]*counters // if a Router is replaced, its statements have other addresses
	doubts map[string]uint64    // by outcome
	events []Event              // that no Console has taken yet
}

// counters are those of one statement, since the start.
type counters struct {
	statement *postgres.Statement
	durations histogram
	nanos     atomic.Uint64 // total time
	rows      atomic.Uint64
	replica   atomic.Uint64 // calls that ran on a replica
	failed    atomic.Uint64 // calls
	retries   atomic.Uint64
	coalesced atomic.Uint64 // calls that shared a statement
	batches   atomic.Uint64

	mu        sync.Mutex // of those that are rare
	errors    map[string]uint64
	fallbacks map[string]uint64
}

// NewObserver returns an Observer. It keeps about 3 kB for each statement.
func NewObserver() *Observer {
	return &Observer{byName: map[string]*counters{}, doubts: map[string]uint64{}}
}

// of returns the counters of a statement.
func (o *Observer) of(s *postgres.Statement) *counters {
	if c, ok := o.statements.Load(s); ok {
		return c.(*counters)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.named(s.Name)
	c.statement = s
	o.statements.Store(s, c)
	return c
}

// named returns the counters of the statement with a name. o.mu must be held.
func (o *Observer) named(name string) *counters {
	c := o.byName[name]
	if c == nil {
		c = &counters{statement: &postgres.Statement{Name: name}, errors: map[string]uint64{}, fallbacks: map[string]uint64{}}
		o.byName[name] = c
		o.all = append(o.all, c)
	}
	return c
}

// list returns the counters of all statements that ran.
func (o *Observer) list() []*counters {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.all)
}

// StatementEnded implements postgres.Observer.
func (o *Observer) StatementEnded(_ context.Context, end postgres.StatementEnd) {
	c := o.of(end.Statement)
	c.durations.add(end.Duration)
	c.nanos.Add(uint64(end.Duration))
	if end.Rows > 0 {
		c.rows.Add(uint64(end.Rows))
	}
	if end.Replica != "" {
		c.replica.Add(1)
	}
	if end.Err == nil && end.Fallback == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if end.Fallback != "" {
		c.fallbacks[end.Fallback]++
	}
	if end.Err != nil && !errors.Is(end.Err, postgres.ErrNotFound) {
		c.errors[postgres.ErrorClass(end.Err)]++
		c.failed.Add(1)
	}
}

// Happened implements postgres.Observer.
func (o *Observer) Happened(event postgres.Event) {
	switch e := event.(type) {
	case postgres.RouterStarted:
		o.router.Store(e.Router)
	case postgres.Repeated:
		o.retries.Add(1)
		o.count(e.Statement, func(c *counters) { c.retries.Add(1) })
	case postgres.CallsCoalesced:
		o.coalesced.Add(uint64(e.Calls))
		o.batches.Add(1)
		o.count(e.Statement, func(c *counters) {
			c.coalesced.Add(uint64(e.Calls))
			c.batches.Add(1)
		})
	case postgres.DoubtEnded:
		o.mu.Lock()
		o.doubts[e.Outcome]++
		o.mu.Unlock()
	}
	o.note(event)
}

// count changes the counters of the statement with a name.
func (o *Observer) count(name string, change func(*counters)) {
	o.mu.Lock()
	c := o.named(name)
	o.mu.Unlock()
	change(c)
}

// RequestEnded counts a request of the service and how long its response took.
func (o *Observer) RequestEnded(status int, took time.Duration) {
	o.requests.add(took)
	if status >= http.StatusInternalServerError {
		o.badAnswer.Add(1)
	}
}

// totals are all counters at one moment.
type totals struct {
	at         time.Time
	requests   counts
	statements counts
	badAnswer  uint64
	failed     uint64
	retries    uint64
	coalesced  uint64
	batches    uint64
	refused    uint64 // by the shares of all pools
	waits      uint64 // for a connection of the primary's pool
	waited     uint64 // nanoseconds, by all of them together
}

// read reads all counters.
func (o *Observer) read(t *totals) {
	*t = totals{
		at: time.Now(), badAnswer: o.badAnswer.Load(), retries: o.retries.Load(),
		coalesced: o.coalesced.Load(), batches: o.batches.Load(),
	}
	o.requests.addTo(&t.requests)
	for _, c := range o.list() {
		c.durations.addTo(&t.statements)
		t.failed += c.failed.Load()
	}
}
