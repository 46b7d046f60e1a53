package postgres

import (
	"errors"
	"time"
)

const (
	// maxStrikes is how many calls a shared statement may fail that succeed without
	// it, in a row, before it rests. One may be chance: what made it fail can be
	// over when its call runs alone.
	maxStrikes = 3

	// restFor is how long a shared statement that fails every time is not used.
	// After that it is tried again, because a missing grant may have been given.
	restFor = time.Minute
)

// rests reports whether the shared statement is not used for now.
func (l *lane) rests() bool {
	until := l.rest.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// strike is called when the shared statement failed for one call by itself, and
// the call succeeded without it: the fault is the statement's. It is not if a value
// was wrong: a plan made for the values of one call may not come to look at it.
func (l *lane) strike(err error) {
	if errors.Is(err, ErrInvalidValue) || l.rests() || l.strikes.Add(1) != maxStrikes {
		return
	}
	l.rest.Store(time.Now().Add(restFor).UnixNano())
	l.strikes.Store(0)
	l.router.observer.rests(l.one, l.many, err)
}
