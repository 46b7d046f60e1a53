package postgres

import (
	"errors"
	"time"
)

const (
	// maxFailures is how many calls in a row must fail in the shared statement and succeed
	// individually before it is paused. A single one may be a coincidence, because the
	// cause can be gone when the call runs individually.
	maxFailures = 3

	// pauseFor is how long a shared statement that keeps failing is not used. After that it is
	// tried again, because a missing privilege may have been granted since.
	pauseFor = time.Minute
)

// paused reports whether the shared statement is not used at the moment.
func (co *coalescer) paused() bool {
	until := co.pausedUntil.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// noteFailure counts a call for which the shared statement failed and which then succeeded
// individually, so the statement is at fault. An invalid value does not count, because a
// plan for the values of a single call may never evaluate it.
func (co *coalescer) noteFailure(err error) {
	if errors.Is(err, ErrInvalidValue) || co.paused() || co.failures.Add(1) != maxFailures {
		return
	}
	co.pausedUntil.Store(time.Now().Add(pauseFor).UnixNano())
	co.failures.Store(0)
	co.router.observer.coalescingPaused(co.one, co.many, err)
}
