package postgres

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Batch collects statements that are sent together: those of a Pipeline, or those of
// QueueWithCommit. The generated Queue methods of queries with @queue add to it. A Batch is
// valid until the function that received it returns. It must not be used concurrently.
type Batch struct {
	steps []*step
	room  [4]*step // of the first steps

	// closed is set when the function has returned. After that, nothing can be queued.
	closed bool

	// err is why no result can be read. It is errNotEnded until the Pipeline has returned.
	err error
}

// step is one statement of a batch.
type step struct {
	batch *Batch
	sql   string
	args  []any

	// reader reads the rows. It is nil for a statement without rows, whose result goes to
	// count.
	reader rowReader
	count  func(tag pgconn.CommandTag)

	statement *statement // set when the statement is sent
	err       error      // why it has no result; errNotEnded until the server has answered it
}

// rowReader is a Queued or QueuedRows whose rows are read.
type rowReader interface{ read(rows *boundRows) error }

var (
	errQueuedLate = fmt.Errorf("queued after the function of its batch had returned: %w", pgx.ErrTxClosed)

	errNotEnded = errors.New("the result is not known yet, or its answer was lost: read it after Pipeline has returned, or after the transaction of QueueWithCommit has committed")
	errRepeated = errors.New("the transaction was repeated: read the result of the last run")
	errRowsLost = errors.New("the result was lost with the answer to COMMIT: read it back in TxOptions.ReadBack and Set it")
	errSkipped  = errors.New("the pipeline ended with an error before it")
)

// fill runs fn, which queues the statements.
func (b *Batch) fill(fn func(b *Batch) error) error {
	defer func() { b.closed = true }()
	return fn(b)
}

// queue queues a step whose batch, sql and args are set.
func (s *step) queue() {
	if s.batch.closed {
		s.err = errQueuedLate
		return
	}
	s.err = errNotEnded
	if s.batch.steps == nil {
		s.batch.steps = s.batch.room[:0]
	}
	s.batch.steps = append(s.batch.steps, s)
}

// end makes the results readable, or replaces them by err.
func (b *Batch) end(err error) {
	lost := b.err == errRowsLost
	switch {
	case lost && err == nil: // results that ReadBack has Set can be read
	case !lost && errors.Is(err, ErrCommitted):
		b.err = nil // each step has its own result
	default:
		b.err = err
	}
}

// failed returns why the step has no result.
func (s *step) failed() error {
	if s.batch.err != nil && s.err != errQueuedLate {
		return s.batch.err
	}
	return wrap(nameOf(s.sql), s.err)
}

// Queued is the result of a queued statement. For a :one it is the row, for :exec and
// :execrows the number of rows affected.
type Queued[T any] struct {
	step  step
	value T
	set   bool
}

// Get returns the result. Before Pipeline has returned, it returns an error. If Pipeline
// fails, Get returns that error for every statement, including those before the failed one,
// because nothing was stored. If Pipeline fails with ErrCommitted, Get returns the
// statement's own result or error.
//
// If the answer was lost but the transaction committed, Get returns the value that
// TxOptions.ReadBack has Set, or an error if it has not.
func (q *Queued[T]) Get() (T, error) {
	if err := q.step.failed(); err != nil && !q.set {
		var none T
		return none, err
	}
	return q.value, nil
}

// Set sets the result. TxOptions.ReadBack calls it with the value that it has read.
func (q *Queued[T]) Set(value T) { q.value, q.set = value, true }

// QueuedRows is the result of a queued :many statement. Without rows it is an empty list,
// not nil.
type QueuedRows[T any] struct {
	Queued[[]T]
	each func(T) error
}

// Each calls fn with each row as it is read. The result is then an empty list. If fn
// returns an error, Pipeline returns it. fn runs before it is known whether the transaction
// commits.
func (q *QueuedRows[T]) Each(fn func(T) error) { q.each = fn }

func (q *QueuedRows[T]) add(row T) error {
	if q.each != nil {
		return q.each(row)
	}
	q.value = append(q.value, row)
	return nil
}

// QueueOne queues a statement that returns one row. dests returns the destinations of its
// columns, as for rows.Scan. If there is no row, both Get and Pipeline return ErrNotFound.
func QueueOne[R any](b *Batch, dests func(*R) []any, sql string, args ...any) *Queued[R] {
	return queueOne(b, dests, func(row *R) R { return *row }, sql, args)
}

// QueueOnePointer is QueueOne with a pointer to the row as its result.
func QueueOnePointer[R any](b *Batch, dests func(*R) []any, sql string, args ...any) *Queued[*R] {
	return queueOne(b, dests, func(row *R) *R { return row }, sql, args)
}

// queuedOne reads the row of a Queued. They are one allocation.
type queuedOne[R, T any] struct {
	Queued[T]
	dests func(*R) []any
	as    func(*R) T
}

func queueOne[R, T any](b *Batch, dests func(*R) []any, as func(*R) T, sql string, args []any) *Queued[T] {
	q := &queuedOne[R, T]{Queued[T]{step: step{batch: b, sql: sql, args: args}}, dests, as}
	q.step.reader = q
	q.step.queue()
	return &q.Queued
}

func (q *queuedOne[R, T]) read(rows *boundRows) error {
	r := new(R)
	if err := (row{rows}).Scan(q.dests(r)...); err != nil {
		return err
	}
	q.value = q.as(r)
	return nil
}

// QueueMany queues a statement that returns any number of rows. dests is as for QueueOne.
func QueueMany[R any](b *Batch, dests func(*R) []any, sql string, args ...any) *QueuedRows[R] {
	return queueMany(b, dests, func(row *R, _ *[]R) R { return *row }, sql, args)
}

// QueueManyPointers is QueueMany with pointers to the rows as its result.
func QueueManyPointers[R any](b *Batch, dests func(*R) []any, sql string, args ...any) *QueuedRows[*R] {
	return queueMany(b, dests, func(row *R, block *[]R) *R {
		if len(*block) == cap(*block) {
			*block = make([]R, 0, min(blockSize, 2*cap(*block)+1))
		}
		*block = append(*block, *row)
		return &(*block)[len(*block)-1]
	}, sql, args)
}

// blockSize is how many rows are allocated together at most, which is cheaper than one
// allocation per row.
const blockSize = 64

// queuedMany reads the rows of a QueuedRows. They are one allocation.
type queuedMany[R, T any] struct {
	QueuedRows[T]
	dests func(*R) []any
	as    func(row *R, block *[]R) T
	block []R
	row   R // that is read
}

func queueMany[R, T any](b *Batch, dests func(*R) []any, as func(row *R, block *[]R) T, sql string, args []any) *QueuedRows[T] {
	q := &queuedMany[R, T]{QueuedRows: QueuedRows[T]{Queued: Queued[[]T]{step: step{batch: b, sql: sql, args: args}}}, dests: dests, as: as}
	q.step.reader = q
	q.step.queue()
	return &q.QueuedRows
}

func (q *queuedMany[R, T]) read(rows *boundRows) error {
	q.value = []T{}
	var none R
	into := q.dests(&q.row)
	for rows.Next() {
		q.row = none
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := q.add(q.as(&q.row, &q.block)); err != nil {
			return err
		}
	}
	q.row, q.block = none, nil // otherwise a caller who keeps the result keeps their memory, too
	return rows.Err()
}

// QueueExec queues a statement that returns no rows.
func QueueExec(b *Batch, sql string, args ...any) *Queued[int64] {
	q := &Queued[int64]{step: step{batch: b, sql: sql, args: args}}
	q.step.count = func(tag pgconn.CommandTag) { q.value = tag.RowsAffected() }
	q.step.queue()
	return q
}
