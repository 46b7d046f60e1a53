package postgres

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"quern/postgres/internal/conn"
	"quern/postgres/internal/wire"
)

// call is a queued call and, once it is complete, its result. It is observed when it is
// complete, unless it is retried individually. It is not a run, because most of a run's size is
// for a connection, and a call has none.
type call struct {
	invocation     // with copies of the arguments
	key        any // equal for reads with equal arguments, and for changes of the same row; nil if they cannot be compared
	state      atomic.Int32
	done       chan struct{} // receives one token when the call is complete
	next       *call         // another call of the batch with the same key

	individually bool  // nothing was stored: the caller must run the call individually
	handedOver   bool  // its caller is about to do so; set before the caller wakes
	passes       bool  // it passes another call of its row
	shared       error // the error of a shared statement that ran only this call
	err          error
	result       *batchResult // of the batch
	row          wire.Row     // nil if there is none
}

// The states of a call. A call that was sent cannot be cancelled. If it writes, its caller may
// still leave before it is complete.
const (
	callQueued int32 = iota
	callSent
	callCancelled // its caller has gone away
	callComplete
)

// tokens are channels of completed calls, kept for reuse.
var tokens = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

func newCall(ctx context.Context, co *coalescer, args []any) *call {
	c := &call{done: tokens.Get().(chan struct{})}
	c.called(co.router, ctx, co.one, args)
	return c
}

// fail ends a call without a result. If the call was sent, the batch may still write to it.
func (c *call) fail(err error) error {
	c.observe(noRow, c.typed(err))
	return err
}

// finish ends a completed call.
func (c *call) finish() {
	if c.result != nil {
		c.where = c.result.where
	}
	c.observe(c.tag(), c.typed(c.err))
}

// typed classifies an error of the call.
func (c *call) typed(err error) error {
	if err == nil {
		return nil
	}
	return wrap(c.statement.Name, conn.Cancelled(c.ctx, err))
}

// complete wakes the caller.
func (c *call) complete(err error) {
	c.err = err
	c.handedOver = c.state.CompareAndSwap(callSent, callComplete) && c.individually
	c.done <- struct{}{}
}

// tag returns the command tag of a completed call.
func (c *call) tag() pgconn.CommandTag {
	if c.row == nil {
		return noRow
	}
	return oneRow
}

// Scan reads the row of a completed call. The values are not shared, even if other calls
// got the same row.
func (c *call) Scan(dest ...any) error {
	switch {
	case c.err != nil:
		return c.err
	case c.row == nil:
		return wrap(c.statement.Name, pgx.ErrNoRows)
	}
	return wrap(c.statement.Name, c.row.Scan(c.result.fields, c.result.types, dest))
}

// batchResult is the result of a shared statement, copied off its connection.
type batchResult struct {
	fields []pgconn.FieldDescription // nil if there are no rows
	rows   []wire.Row
	where  route
	types  []*pgtype.Type // of Statement.Types, which scanning needs
}

// send runs the shared statement for several calls. It repeats the statement if its connection
// breaks while it returns rows, and its SQL file says @retry. The Router repeats a statement
// only until its first row, and the rows of a batch may be sent before its COMMIT.
func (co *coalescer) send(calls []*call, args []any) (*batchResult, error) {
	ctx, sessions := co.mergeSessions(calls)
	// The first call has waited longest, so it has the earliest deadline. If that is
	// exceeded, later calls have time left and run individually.
	deadline := calls[0].deadline
	bounded, cancel := conn.WithDeadline(ctx, time.Now(), deadline) // without a timer for each batch
	defer cancel()
	var doubt error // of an attempt that may have been applied
	for try := (tries{start: time.Now()}); ; {
		rows, err := co.router.query(ctx, co.many, deadline, args)
		begun := err == nil
		var a *batchResult
		if begun {
			// The calls do not have their rows yet, so the statement may be repeated.
			rows.delivered = !co.many.Retry
			a, err = co.read(calls, rows)
		}
		switch {
		case err == nil:
			sessions.learn()
			return a, nil
		case begun && co.many.Retry && errors.Is(err, ErrCommitUnknown):
			if doubt = err; try.again(bounded, err) {
				co.router.observer.retry(co.many.Name, "connection")
				continue
			}
		}
		if doubt == nil {
			return nil, err
		}
		co.router.observer.resolved("unknown")
		return nil, doubt
	}
}

// read copies the rows of the shared statement.
func (co *coalescer) read(calls []*call, rows *boundRows) (*batchResult, error) {
	defer rows.Close()
	a := &batchResult{where: rows.where, rows: make([]wire.Row, 0, len(calls))}
	memory := make(wire.Row, 0, len(calls)*int(co.rowSize.Load()))
	for rows.Next() {
		if a.fields == nil {
			// Copy: pgx reuses this slice, and without rows the connection may already be
			// in use again.
			a.fields = slices.Clone(rows.FieldDescriptions())
			a.types = rowTypes(rows, co.many)
		}
		values := rows.RawValues()
		if co.reads && len(a.rows) > 0 {
			// The rows of one call are adjacent. Only the first one is used.
			if ord, _ := a.rows[len(a.rows)-1].Cut(); bytes.Equal(ord, values[0]) {
				continue
			}
		}
		// Rows already stored stay valid if memory is reallocated.
		start := len(memory)
		for _, value := range values {
			memory = memory.Append(value)
		}
		a.rows = append(a.rows, memory[start:len(memory):len(memory)])
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if n := len(a.rows); n > 0 {
		size := len(memory) / n
		co.rowSize.Store(int32(size + size/8))
	}
	return a, nil
}
