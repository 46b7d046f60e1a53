package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// call is one call that waits, and then what became of it: its row.
type call struct {
	statement *Statement
	ctx       context.Context // the caller's
	args      []any
	key       string
	start     time.Time
	deadline  time.Time
	state     atomic.Int32
	done      chan struct{} // holds one token when the call is settled

	alone  bool // nothing was done: the caller is to run it by itself
	err    error
	fields []pgconn.FieldDescription
	values [][]byte // nil when there is no row
	where  route
}

// The states of a call. One that left can no longer be taken back.
const (
	callWaits int32 = iota
	callLeft
	callGone // with its caller
)

// tokens are the channels of calls, to be used again.
var tokens = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

func newCall(ctx context.Context, s *Statement, args []any, key string) *call {
	now := time.Now()
	return &call{
		statement: s, ctx: ctx, args: args, key: key, start: now, deadline: now.Add(s.Timeout),
		done: tokens.Get().(chan struct{}),
	}
}

// settle tells the caller that all is known.
func (c *call) settle(err error) {
	c.err = err
	c.done <- struct{}{}
}

var noRow, oneRow = pgconn.NewCommandTag("SELECT 0"), pgconn.NewCommandTag("SELECT 1")

func (c *call) tag() pgconn.CommandTag {
	if c.values == nil {
		return noRow
	}
	return oneRow
}

// Scan reads the row of a settled call. The values it gives are the caller's
// own, also where others have got the same row.
func (c *call) Scan(dest ...any) error {
	switch {
	case c.err != nil:
		return c.err
	case c.values == nil:
		return wrap(c.statement.Name, pgx.ErrNoRows)
	case len(dest) != len(c.values):
		return wrap(c.statement.Name, fmt.Errorf("%d destinations for %d columns", len(dest), len(c.values)))
	}
	var types *pgtype.Map
	for i, field := range c.fields {
		if scanWire(&c.fields[i], c.values[i], dest[i]) {
			continue
		}
		if types == nil {
			types = typeMaps.Get().(*pgtype.Map)
			defer typeMaps.Put(types)
		}
		if err := types.Scan(field.DataTypeOID, field.Format, c.values[i], dest[i]); err != nil {
			return wrap(c.statement.Name, pgx.ScanArgError{ColumnIndex: i, FieldName: field.Name, Err: err})
		}
	}
	return nil
}

// answer is what the statement for several calls returned, off its connection.
type answer struct {
	fields []pgconn.FieldDescription
	rows   [][][]byte
	where  route
}

// send runs the statement for several calls.
func (l *lane) send(calls []*call, args []any) (*answer, error) {
	ctx, sessions := l.sessions(calls)
	// The first has waited longest. Whoever came later has time left when this
	// deadline is missed, and runs by himself.
	rows, err := l.router.query(ctx, l.many, calls[0].deadline, args)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	a := &answer{where: rows.where, rows: make([][][]byte, 0, len(calls))}
	var values [][]byte
	memory := make([]byte, 0, len(calls)*int(l.rowSize.Load()))
	columns := 0
	for rows.Next() {
		if a.fields == nil {
			// A copy, for a connection may use its own again: without a row, it
			// is somebody else's already.
			a.fields = slices.Clone(rows.FieldDescriptions())
			columns = len(a.fields)
			values = make([][]byte, 0, len(calls)*columns)
		}
		for _, value := range rows.RawValues() {
			// What has a place keeps it when memory grows.
			start := len(memory)
			memory = append(memory, value...)
			if value != nil {
				value = memory[start:len(memory):len(memory)]
			}
			values = append(values, value)
		}
		a.rows = append(a.rows, values[len(values)-columns:])
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if n := len(a.rows); n > 0 {
		size := len(memory) / n
		l.rowSize.Store(int32(size + size/4))
	}
	sessions.learn()
	return a, nil
}

// column is the array of one argument of several calls. Unlike a slice of the
// argument's type it can hold NULLs.
type column []any

// Dimensions, Index and IndexType make it a pgtype.ArrayGetter.
func (c column) Dimensions() []pgtype.ArrayDimension {
	return []pgtype.ArrayDimension{{Length: int32(len(c)), LowerBound: 1}}
}
func (c column) Index(i int) any { return c[i] }
func (c column) IndexType() any  { return c[0] }
