package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// maxAttempts is how often a statement or a transaction runs that may be
	// repeated.
	maxAttempts = 5

	// reconnectPatience is how long attempts that never reached a server do not
	// count: about what a restart or a failover takes.
	reconnectPatience = 2 * time.Second

	// settleTimeout bounds the search for the outcome of a lost COMMIT where the
	// context has no deadline: longer than a server takes to come back.
	settleTimeout = 30 * time.Second

	backOffFirst = 10 * time.Millisecond
	backOffMost  = time.Second
)

// tries counts the attempts at one statement or transaction and waits between
// them. The zero value with a start is ready for use.
type tries struct {
	start   time.Time
	n       int // attempts that failed and count
	stale   int
	waits   int
	settles time.Time // since when the outcome of a COMMIT is looked for
}

// again waits before another attempt after err, and reports whether there is
// to be one: five, or as many as fit into reconnectPatience while there is no
// server to be reached, and none once ctx has ended.
func (t *tries) again(ctx context.Context, err error) bool {
	var e *Error
	if !errors.As(err, &e) || !e.unreached || time.Since(t.start) > reconnectPatience {
		t.n++
	}
	return t.n < maxAttempts && t.backOff(ctx)
}

// stalePlan reports whether to try again at once after a prepared statement
// was refused because a migration changed what it returns: nothing ran, and
// each connection of the pool says so once, or twice if a type was replaced that
// arguments are encoded by.
func (t *tries) stalePlan(ctx context.Context, conns int32) bool {
	t.stale++
	return t.stale <= 2*int(conns)+1 && ctx.Err() == nil
}

// settle waits before another look for the outcome of a COMMIT, and reports
// whether there is time for one. The first doubt starts the clock.
func (t *tries) settle(ctx context.Context) bool {
	if t.settles.IsZero() {
		t.settles = time.Now()
	}
	return time.Since(t.settles) < settleTimeout && t.backOff(ctx)
}

// backOff waits a random time whose limit doubles with each wait ("full
// jitter": callers that met do not meet again), and reports whether the context
// is still alive.
func (t *tries) backOff(ctx context.Context) bool {
	limit := min(backOffMost, backOffFirst<<min(t.waits, 10))
	t.waits++
	return pause(ctx, rand.N(limit))
}
