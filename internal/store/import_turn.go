package store

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// turn is the storing of one chunk. Turns may overlap, but they commit in the order of the
// input, each after the one before it is committed and reported. So the stored rows are
// always a beginning of the input, and everything else is as if the chunks had been stored
// one after the other.
type turn[R any] struct {
	chunk      *chunk[R]
	before     *turn[R] // the turn before it, if it may overlap with that one; otherwise nil
	checkpoint db.CreateImportCheckpointParams

	// begun counts its transactions, and drawnIn is the one that drew its ids first. They
	// must be the same when the next chunk commits, whose ids would otherwise not be
	// greater.
	begun   atomic.Int32
	drawnIn atomic.Int32
	drawn   chan struct{} // closed when it has drawn its ids

	inTurn  bool // the turns before it are settled
	out     outcome
	earlier *db.GetImportCheckpointRow // of another run that has stored the chunk
	err     error
	failure any           // the value of a panic
	ended   chan struct{} // closed when the fields above are final
	settled chan struct{} // closed when it is committed and reported
}

// settleWait is how long a transaction that is otherwise complete waits until the chunk
// before it, which is committed, is also reported. A report takes microseconds unless its
// receiver blocks. The transaction's locks must not wait for a receiver.
const settleWait = time.Second

// errTooEarly: a chunk cannot be committed yet. It is stored again in its turn.
var errTooEarly = errors.New("the chunk before it is not stored")

func (t *turn[R]) begin() {
	t.begun.Add(1)
	t.out, t.earlier, t.inTurn = outcome{}, nil, false
}

// drew records that the current transaction has drawn all of its ids.
func (t *turn[R]) drew() {
	if t.drawnIn.CompareAndSwap(0, t.begun.Load()) {
		close(t.drawn)
	}
}

// await waits until the turn before this one is committed and reported. It waits for the
// commit on the server, by its checkpoint, so that the server finds a deadlock with other
// transactions.
func (t *turn[R]) await(ctx context.Context, q *db.Queries) error {
	before := t.before
	if before != nil && !isClosed(before.settled) {
		missing, err := q.CreateImportCheckpoint(ctx, before.checkpoint)
		if err != nil {
			return err
		}
		if missing > 0 {
			return errTooEarly // it was rolled back
		}
		timer := time.NewTimer(settleWait)
		defer timer.Stop()
		select {
		case <-before.settled:
		case <-timer.C:
			return errTooEarly
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if before != nil && before.begun.Load() != before.drawnIn.Load() {
		return errTooEarly
	}
	t.inTurn = true
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// take stores the chunk of a turn, unless an earlier run has stored it.
func (run *importRun[R]) take(ctx context.Context, s *Store, t *turn[R]) {
	if t.before != nil {
		if run.takeEarly(ctx, s, t); t.inTurn {
			return
		}
		select {
		case <-t.before.settled:
		case <-ctx.Done():
			t.err = context.Cause(ctx)
			return
		}
		t.before = nil
	}
	for attempt := 1; ; attempt++ {
		t.err = s.InTx(ctx, func(q *db.Queries) error { return run.storeOnce(ctx, q, t) })
		if attempt == importAttempts || !existed(t.err) {
			return
		}
	}
}

// takeEarly stores the chunk of a turn while the one before it is still in progress. It
// does nothing if that needs a connection that others wait for.
func (run *importRun[R]) takeEarly(ctx context.Context, s *Store, t *turn[R]) {
	select {
	case <-t.before.drawn:
	case <-t.before.settled:
		return
	case <-ctx.Done():
		return
	}
	o := postgres.TxOptions{Class: classBulk, Spare: true, MaxIdle: 2 * settleWait}
	t.err = s.q.InTxWith(ctx, o, func(q *db.Queries) error { return run.storeOnce(ctx, q, t) })
}

// importTurns are the turns of an import that are in progress, in the order of the input.
type importTurns[R any] struct {
	run   *importRun[R]
	store *Store
	most  int
	all   []*turn[R]
	next  *chunk[R] // must not be stored before all of these turns have ended
}

// stopped returns a channel that is closed when ctx is cancelled. While turns are in
// progress it is nil, because their result must be counted.
func (ts *importTurns[R]) stopped(ctx context.Context) <-chan struct{} {
	if len(ts.all) > 0 {
		return nil
	}
	return ctx.Done()
}

// accepts returns full, or nil while no further chunk can be taken.
func (ts *importTurns[R]) accepts(full <-chan *chunk[R]) <-chan *chunk[R] {
	if ts.next != nil || len(ts.all) == ts.most {
		return nil
	}
	return full
}

// oldest returns a channel that is closed when the oldest turn has ended.
func (ts *importTurns[R]) oldest() <-chan struct{} {
	if len(ts.all) == 0 {
		return nil
	}
	return ts.all[0].ended
}

// pop removes the oldest turn, which has ended.
func (ts *importTurns[R]) pop() *turn[R] {
	t := ts.all[0]
	ts.all = slices.Delete(ts.all, 0, 1)
	t.before = nil // the turns before it need not be kept in memory
	if t.failure != nil {
		panic(t.failure)
	}
	return t
}

// add starts the turn of a chunk, or keeps the chunk until resume.
func (ts *importTurns[R]) add(ctx context.Context, c *chunk[R]) {
	t := &turn[R]{
		chunk: c, drawn: make(chan struct{}), ended: make(chan struct{}), settled: make(chan struct{}),
		checkpoint: db.CreateImportCheckpointParams{
			Import: ts.run.id, FirstRow: c.first, Rows: int64(len(c.records)), Hash: slices.Clone(c.hash[:]), Options: ts.run.options,
		},
	}
	if len(ts.all) > 0 {
		t.before = ts.all[len(ts.all)-1]
		if !t.before.chunk.drawsLike(c) || !ts.run.subject.apart(t.before.chunk, c) {
			ts.next = c
			return
		}
	}
	ts.all = append(ts.all, t)
	work := func() {
		defer close(t.ended)
		defer func() { t.failure = recover() }()
		ts.run.take(ctx, ts.store, t)
	}
	if ts.most == 1 {
		work()
	} else {
		go work()
	}
}

// resume starts the turn of a chunk that add has kept, if the turns before it are settled.
func (ts *importTurns[R]) resume(ctx context.Context) {
	if c := ts.next; c != nil && len(ts.all) == 0 {
		ts.next = nil
		ts.add(ctx, c)
	}
}

// wait waits until all turns have ended.
func (ts *importTurns[R]) wait() {
	for _, t := range ts.all {
		<-t.ended
	}
}
