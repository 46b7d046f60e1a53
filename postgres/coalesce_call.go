package postgres

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"quern/postgres/internal/wire"
)

// call is one call that waits, and then what became of it: its row. Its run ends
// with it, unless it is sent individually.
type call struct {
	run       // with arguments of its own
	key   any // of a read: equal to that of a call with equal arguments, or nil
	state atomic.Int32
	done  chan struct{} // holds one token when the call is complete
	next  *call         // another one of the batch with the same key

	individually bool  // nothing was done: the caller must send it by itself
	shared       error // what the shared statement failed with for this call alone
	err          error
	result       *batchResult // that it is part of
	row          wire.Row     // nil when there is none
}

// The states of a call. One that left can no longer be taken back.
const (
	callQueued int32 = iota
	callSent
	callCancelled // with its caller
)

// tokens are the channels of calls, to be used again.
var tokens = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

func newCall(ctx context.Context, co *coalescer, args []any) *call {
	c := &call{done: tokens.Get().(chan struct{})}
	c.begin(co.router, ctx, co.one, args)
	return c
}

// fail ends a call that gets no answer. It may have left, and the goroutine that
// serves it may still write to it.
func (c *call) fail(err error) error {
	_ = c.end(noRow, err)
	return err
}

// finish ends a completed call.
func (c *call) finish() {
	tag := noRow
	if c.row != nil {
		tag = oneRow
	}
	if c.result != nil {
		c.where = c.result.where
	}
	_ = c.end(tag, c.err)
}

// complete tells the caller that all is known.
func (c *call) complete(err error) {
	c.err = err
	c.done <- struct{}{}
}

// Scan reads the row of a completed call. The values it gives are the caller's
// own, also where others have got the same row.
func (c *call) Scan(dest ...any) error {
	switch {
	case c.err != nil:
		return c.err
	case c.row == nil:
		return wrap(c.statement.Name, pgx.ErrNoRows)
	}
	return wrap(c.statement.Name, c.row.Scan(c.result.fields, c.result.types, dest))
}

// batchResult is what the statement for several calls returned, off its connection.
type batchResult struct {
	fields []pgconn.FieldDescription // nil without rows
	rows   []wire.Row
	where  route
	types  []*pgtype.Type // of Statement.Types, which scanning needs
}

// send runs the statement for several calls.
func (co *coalescer) send(calls []*call, args []any) (*batchResult, error) {
	ctx, sessions := co.mergeSessions(calls)
	// The first has waited longest. Whoever came later has time left when this
	// deadline is missed, and runs by himself.
	rows, err := co.router.query(ctx, co.many, calls[0].deadline, args)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	a := &batchResult{where: rows.where, rows: make([]wire.Row, 0, len(calls))}
	memory := make(wire.Row, 0, len(calls)*int(co.rowSize.Load()))
	for rows.Next() {
		if a.fields == nil {
			// A copy, for a connection may use its own again: without a row, it
			// is somebody else's already.
			a.fields = slices.Clone(rows.FieldDescriptions())
			a.types = rowTypes(rows, co.many)
		}
		values := rows.RawValues()
		if co.reads && len(a.rows) > 0 {
			// Of the rows of one call, which come together, only the first is read.
			if ord, _ := a.rows[len(a.rows)-1].Cut(); bytes.Equal(ord, values[0]) {
				continue
			}
		}
		// What has a place keeps it when memory grows.
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
	sessions.learn()
	return a, nil
}
