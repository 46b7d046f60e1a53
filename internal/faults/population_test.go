//go:build linux

package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

const (
	slots = 24
	// hotSlots are those that most reads go to, so that many callers ask for
	// the same row at once.
	hotSlots = 3
	// crew is how many writers there are. Each has slots of its own.
	crew = 6
)

// population is rows that writers change while a crowd reads them, and the
// check of what the crowd is given.
type population struct {
	findings
	slots                 [slots]atomic.Pointer[slot]
	reads, absent, writes atomic.Int64

	// views is how many parties there are that each must see no row go
	// backwards: all together on a primary, each session on replicas. The
	// writers' come last.
	views    int
	sessions []*postgres.Session
	contexts []context.Context

	// touching is held while a row is looked at or written into. It locks
	// nothing but in the control that shares rows on purpose, of which the race
	// detector would speak first.
	touching sync.Locker
}

type noLock struct{}

func (noLock) Lock()   {}
func (noLock) Unlock() {}

// populate fills a database by way of q. Readers have that many sessions, or
// none: then whatever anybody has seen is known to all.
func populate(t testing.TB, q *db.Queries, sessions int) *population {
	t.Helper()
	p := &population{views: 1, touching: noLock{}, contexts: []context.Context{t.Context()}}
	if sessions > 0 {
		p.views, p.contexts = sessions+crew, nil
		for range p.views {
			ctx, session := postgres.WithSession(t.Context())
			p.contexts, p.sessions = append(p.contexts, ctx), append(p.sessions, session)
		}
	}
	for i := range p.slots {
		view := p.writerView(i % crew)
		s := p.newSlot(p.contexts[view], q, view, nil)
		if s == nil {
			t.Fatal(p.String())
		}
		p.slots[i].Store(s)
	}
	return p
}

func (p *population) writerView(writer int) int { return max(0, p.views-crew+writer) }

// run has a crowd read, until it is over, what writers write meanwhile.
func (p *population) run(write, read *db.Queries, callers int, over func() bool) {
	crowd(crew+callers, func(i int) {
		if i < crew {
			p.write(write, i, over)
			return
		}
		p.readOn(read, i-crew, over)
	})
}

// write is one writer: he updates, undoes and replaces, and reads what he has
// written.
func (p *population) write(q *db.Queries, writer int, over func() bool) {
	view := p.writerView(writer)
	ctx := p.contexts[view]
	for !over() {
		at := &p.slots[writer]
		if rand.IntN(2) == 0 {
			at = &p.slots[writer+crew*rand.IntN(slots/crew)]
		}
		r := at.Load().user
		if rand.IntN(2) == 0 {
			r = at.Load().post
		}
		switch n := rand.IntN(20); {
		case n == 0:
			p.replace(ctx, q, view, at)
		case n < 3:
			p.undo(ctx, q, r)
		default:
			p.update(ctx, q, view, r)
		}
		if _, err := p.read(ctx, q, view, r, rand.IntN(2) == 0); err != nil {
			p.add(failedCall, "read %s: %v", r, err)
		}
		if p.sessions != nil {
			// Replicas answer who has seen nothing that they lack: let them catch up.
			<-time.After(rand.N(10 * time.Millisecond))
		}
	}
}

// readOn is one reader. He writes into what he is given, and looks at it again
// when he has been given something else.
func (p *population) readOn(q *db.Queries, caller int, over func() bool) {
	view := caller % max(1, p.views-crew)
	var kept *keepsake
	for !over() {
		r := p.pick()
		// Every other session learns from nothing but its own reads.
		if p.sessions != nil && view%2 == 0 && rand.IntN(2) == 0 {
			p.hear(r, view)
		}
		row, err := p.read(p.contexts[view], q, view, r, rand.IntN(2) == 0)
		if err != nil {
			p.add(failedCall, "read %s: %v", r, err)
		}
		kept = p.keep(row, kept, caller)
	}
}

// keep writes into a row, and looks whether the one before is as it was left.
func (p *population) keep(row any, before *keepsake, caller int) *keepsake {
	p.touching.Lock()
	defer p.touching.Unlock()
	if before != nil && !before.intact() {
		p.add(changedRow, "%q wrote into a row and finds %q", before.mark, before.tags)
	}
	if row == nil {
		return nil
	}
	return mark(row, caller)
}

// pick returns a row to read: mostly one that many want, at times one that is
// gone or never was.
func (p *population) pick() *register {
	post := rand.IntN(3) == 0
	if rand.IntN(50) == 0 {
		return p.never(post)
	}
	of := hotSlots
	if rand.IntN(4) == 0 {
		of = slots
	}
	s := p.slots[rand.IntN(of)].Load()
	if before := s.previous.Load(); before != nil && rand.IntN(10) == 0 {
		s = before
	}
	if post {
		return s.post
	}
	return s.user
}

// hear lets a session learn what a row's writer passed on.
func (p *population) hear(r *register, view int) {
	said := r.published.Load()
	if said == nil {
		return
	}
	if err := p.sessions[view].Observe(said.token); err != nil {
		p.add(failedCall, "observe: %v", err)
	}
	raise(&r.floors[view], said.version)
}

// read reads a row and checks what comes back. The error is of a read that
// did not get that far.
func (p *population) read(ctx context.Context, q *db.Queries, view int, r *register, byName bool) (row any, err error) {
	floor := r.floors[view].Load()
	row, err = r.get(ctx, q, byName)
	ceiling := r.ceiling.Load()
	p.reads.Add(1)
	switch {
	case errors.Is(err, postgres.ErrNotFound):
		// Not there any more, or, in a view that has never seen it, not yet.
		p.absent.Add(1)
		switch {
		case ceiling == gone && floor > 0:
			raise(&r.floors[view], gone)
		case floor > 0:
			p.add(staleRead, "%s is not found, and version %d was known", r, floor)
		}
		return nil, nil
	case err != nil:
		return nil, err
	}
	p.touching.Lock()
	version, fits := r.inspect(row)
	p.touching.Unlock()
	switch {
	case !fits:
		p.add(foreignRow, "%s was asked for, and came as %+v", r, row)
	case version < floor:
		p.add(staleRead, "%s is read as version %d, and %d was known", r, version, floor)
	case version > ceiling:
		p.add(futureRead, "%s is read as version %d, and %d is the last one written", r, version, ceiling)
	default:
		raise(&r.floors[view], version)
	}
	return row, nil
}
