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
	// hotSlots are the slots that most reads use, so that many callers ask for the
	// same row at once.
	hotSlots = 3
	// crew is the number of writers. Each has its own slots.
	crew = 6
)

// population is a set of rows that writers change while a crowd reads them. It
// checks the results of the reads.
type population struct {
	findings
	slots                 [slots]atomic.Pointer[slot]
	reads, absent, writes atomic.Int64

	// views is the number of parties that must each never see a row go backwards:
	// all callers together on a primary, or each session on replicas. The writers'
	// views come last.
	views    int
	sessions []*postgres.Session
	contexts []context.Context

	// touching is held while a row is read or modified. It is a lock only in the
	// control that shares rows on purpose, because the race detector would report
	// that first.
	touching sync.Locker
}

type noLock struct{}

func (noLock) Lock()   {}
func (noLock) Unlock() {}

// populate fills a database through q. Readers use the given number of
// sessions, or none. Without sessions, all readers share one view.
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

// run makes a crowd read the rows that writers change, until it is over.
func (p *population) run(write, read *db.Queries, callers int, over func() bool) {
	crowd(crew+callers, func(i int) {
		if i < crew {
			p.write(write, i, over)
			return
		}
		p.readOn(read, i-crew, over)
	})
}

// write is one writer. It updates, rolls back and replaces rows, and reads its
// own writes.
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
			// A replica may answer a caller that has seen nothing newer, so let it catch
			// up.
			<-time.After(rand.N(10 * time.Millisecond))
		}
	}
}

// readOn is one reader. It modifies each row that it gets, and checks the
// previous row when it gets another one.
func (p *population) readOn(q *db.Queries, caller int, over func() bool) {
	view := caller % max(1, p.views-crew)
	var kept *keepsake
	for !over() {
		r := p.pick()
		// Every other session learns only from its own reads.
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

// keep modifies a row and checks that the previous one is unchanged since then.
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

// pick returns a row to read. It is usually a popular one, and sometimes one
// that was deleted or never existed.
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

// hear makes a session observe the token that a row's writer published.
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

// read reads a row and checks the result. An error means that the read failed
// before there was a result.
func (p *population) read(ctx context.Context, q *db.Queries, view int, r *register, byName bool) (row any, err error) {
	floor := r.floors[view].Load()
	row, err = r.get(ctx, q, byName)
	ceiling := r.ceiling.Load()
	p.reads.Add(1)
	switch {
	case errors.Is(err, postgres.ErrNotFound):
		// The row was deleted, or it is not yet visible in a view that has never seen
		// it.
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
		p.add(foreignRow, "%s was requested, but %+v was returned", r, row)
	case version < floor:
		p.add(staleRead, "%s is read as version %d, and %d was known", r, version, floor)
	case version > ceiling:
		p.add(futureRead, "%s is read as version %d, and %d is the last one written", r, version, ceiling)
	default:
		raise(&r.floors[view], version)
	}
	return row, nil
}
