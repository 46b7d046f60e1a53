//go:build linux

package faults

import (
	"context"
	"errors"
	"math"
	"sync/atomic"

	"quern/internal/db"
)

// slot is a place of a population. It has a user with a post, which are deleted
// together, and the slot that it replaced.
type slot struct {
	user, post *register
	previous   atomic.Pointer[slot]
}

// newSlot adds a user with a post, as a writer with the given view.
func (p *population) newSlot(ctx context.Context, q *db.Queries, view int, previous *slot) *slot {
	s := &slot{user: p.newRegister(), post: p.newRegister()}
	if previous != nil {
		previous.previous.Store(nil) // one is enough
		s.previous.Store(previous)
	}
	text, age, tags := s.user.content(1)
	u, err := q.CreateUser(ctx, db.CreateUserParams{Username: s.user.name(), Email: text, Age: age, Tags: tags})
	if err != nil {
		p.add(failedCall, "create the user of %s: %v", s.user.name(), err)
		return previous
	}
	s.user.id = u.ID
	p.wrote(ctx, s.user, view, 1, u)
	s.post.owner = u.ID
	text, _, tags = s.post.content(1)
	post, err := q.CreatePost(ctx, db.CreatePostParams{UserID: u.ID, Title: s.post.name(), Content: text, Tags: tags})
	if err != nil {
		p.add(failedCall, "create the post of %s: %v", s.post.name(), err)
		return previous
	}
	s.post.id = post.ID
	p.wrote(ctx, s.post, view, 1, post)
	return s
}

// serials distinguish the registers of all tests.
var serials atomic.Int64

func (p *population) newRegister() *register {
	r := &register{serial: serials.Add(1), floors: make([]atomic.Int32, p.views)}
	r.ceiling.Store(1)
	return r
}

// never returns a row that does not exist and never existed.
func (p *population) never(post bool) *register {
	r := p.newRegister()
	r.id = math.MaxInt64 - r.serial
	if post {
		r.owner = r.id
	}
	r.ceiling.Store(gone)
	for i := range r.floors {
		r.floors[i].Store(gone)
	}
	return r
}

// wrote records that a version was acknowledged, and checks the returned row,
// if there is one.
func (p *population) wrote(ctx context.Context, r *register, view int, version int32, row any) {
	if row != nil {
		if got, fits := r.inspect(row); got != version || !fits {
			p.add(foreignRow, "%s was written as version %d, but %+v was returned", r, version, row)
		}
	}
	raise(&r.floors[view], version)
	if p.sessions != nil {
		r.published.Store(&publication{version, p.sessions[view].Token()})
	}
	p.writes.Add(1)
}

// update increments the version of a row.
func (p *population) update(ctx context.Context, q *db.Queries, view int, r *register) {
	next := r.ceiling.Load() + 1
	r.ceiling.Store(next)
	row, err := r.change(ctx, q, next)
	if err != nil {
		p.add(failedCall, "update %s: %v", r, err)
		return
	}
	p.wrote(ctx, r, view, next, row)
}

var errUndone = errors.New("the closure's own")

// undo increments the version of a row in a transaction that must see it and is
// then rolled back. Any other reader that sees that version reads the future.
func (p *population) undo(ctx context.Context, q *db.Queries, r *register) {
	next := r.ceiling.Load() + 1
	err := q.InTx(ctx, func(q *db.Queries) error {
		if _, err := r.change(ctx, q, next); err != nil {
			return err
		}
		row, err := r.get(ctx, q, next%2 == 0)
		if err != nil {
			return err
		}
		if version, fits := r.inspect(row); version != next || !fits {
			p.add(blindInTx, "%s was written as version %d and read as %+v", r, next, row)
		}
		return errUndone
	})
	if !errors.Is(err, errUndone) {
		p.add(failedCall, "update %s and roll back: %v", r, err)
	}
}

// replace deletes a user, with its post, and puts another user in its place.
func (p *population) replace(ctx context.Context, q *db.Queries, view int, at *atomic.Pointer[slot]) {
	s := at.Load()
	s.user.ceiling.Store(gone)
	s.post.ceiling.Store(gone)
	if n, err := q.DeleteUser(ctx, db.DeleteUserParams{ID: s.user.id}); n != 1 || err != nil {
		p.add(failedCall, "delete %s: %d rows, %v", s.user, n, err)
		return
	}
	p.wrote(ctx, s.user, view, gone, nil)
	p.wrote(ctx, s.post, view, gone, nil)
	at.Store(p.newSlot(ctx, q, view, s))
}
