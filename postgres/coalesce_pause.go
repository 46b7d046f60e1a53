package postgres

import (
	"errors"
	"time"
)

const (
	// maxFailures is how many calls a shared statement may fail that succeed without
	// it, in a row, before it rests. One may be chance: what made it fail can be
	// over when its call runs alone.
	maxFailures = 3

	// pauseFor is how long a shared statement that fails every time is not used.
	// After that it is tried again, because a missing grant may have been given.
	pauseFor = time.Minute
)

// paused reports whether the shared statement is not used for now.
func (co *coalescer) paused() bool {
	until := co.pausedUntil.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// noteFailure is called when the shared statement failed for one call by itself, and
// the call succeeded without it: the fault is the statement's. It is not if a value
// was wrong: a plan made for the values of one call may not come to look at it.
func (co *coalescer) noteFailure(err error) {
	if errors.Is(err, ErrInvalidValue) || co.paused() || co.failures.Add(1) != maxFailures {
		return
	}
	co.pausedUntil.Store(time.Now().Add(pauseFor).UnixNano())
	co.failures.Store(0)
	co.router.observer.coalescingPaused(co.one, co.many, err)
}
