package conn

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Batch is the statements of one round trip on a connection of a Pool, and the reader of
// their results. It is a pgx.Batch that allocates a third as often, because pgx keeps what
// it has sent in linked lists. The zero value is empty. A Batch is sent once.
type Batch struct {
	entries []entry
	room    [6]entry // of the first ones: BEGIN, the marker, two statements, COMMIT and the position

	conn    *pgx.Conn
	results *pgconn.MultiResultReader // nil before the batch was sent, and once it is closed
	rows    batchRows                 // of the last Query
	last    *batchRows                // of the last result; nil if it had none
	err     error                     // the first error, which all further results return
}

// entry is one statement of a batch.
type entry struct {
	sql      string
	args     []any
	prepared *prepared
}

// errNoResult: more results were read than statements were sent.
var errNoResult = errors.New("no more results in the batch")

// Add adds a statement.
func (b *Batch) Add(sql string, args []any) {
	if b.entries == nil {
		b.entries = b.room[:0]
	}
	b.entries = append(b.entries, entry{sql: sql, args: args})
}

// Send sends the statements. If one of them or an argument is invalid, nothing is executed.
// Errors are returned by the first result.
func (b *Batch) Send(ctx context.Context, conn *pgx.Conn) {
	b.conn = conn
	if b.err = b.rewrite(ctx); b.err != nil {
		return
	}
	s := stateOf(conn.PgConn())
	if b.err = s.prepare(ctx, conn.TypeMap(), b.entries); b.err != nil {
		return
	}
	var encoded pgconn.Batch
	if b.err = b.encode(s, &encoded); b.err == nil {
		b.results = conn.PgConn().ExecBatch(ctx, &encoded)
	}
}

// rewrite lets an argument such as pgx.NamedArgs rewrite its statement, as in a pgx.Batch.
func (b *Batch) rewrite(ctx context.Context) (err error) {
	for i := range b.entries {
		e := &b.entries[i]
		if len(e.args) == 0 {
			continue
		}
		if r, ok := e.args[0].(pgx.QueryRewriter); ok {
			if e.sql, e.args, err = r.RewriteQuery(ctx, b.conn, e.sql, e.args[1:]); err != nil {
				return fmt.Errorf("rewrite query failed: %w", err)
			}
		}
	}
	return nil
}

// encode encodes the statements with their arguments.
func (b *Batch) encode(s *state, into *pgconn.Batch) error {
	builder, types := &s.builder, b.conn.TypeMap()
	defer func() { _ = builder.Build(types, nil, nil) }() // frees the memory of large arguments
	for i := range b.entries {
		e := &b.entries[i]
		p := e.prepared
		if err := builder.Build(types, &p.params, e.args); err != nil {
			return err
		}
		if i == 0 && len(e.args) == 0 {
			*into = p.first
			continue
		}
		p.addTo(into, builder.ParamValues, builder.ParamFormats)
	}
	return nil
}

// next advances to the next result.
func (b *Batch) next() error {
	switch {
	case b.err != nil:
	case b.results == nil:
		b.err = errNoResult
	default:
		b.err = b.closeRows()
		if b.err == nil && !b.results.NextResult() {
			b.err = cmp.Or(b.results.Close(), errNoResult)
		}
	}
	return b.err
}

// Exec reads the next result, which has no rows.
func (b *Batch) Exec() (pgconn.CommandTag, error) {
	if b.next() != nil {
		return pgconn.CommandTag{}, b.err
	}
	var tag pgconn.CommandTag
	tag, b.err = b.results.ResultReader().Close()
	return tag, b.err
}

// Query returns the rows of the next result. They are valid until the next Query.
func (b *Batch) Query() (pgx.Rows, error) {
	if b.next() != nil {
		return nil, b.err
	}
	return b.open(&b.rows), nil
}

// QueryRow returns the row of the next result. The rows of the last Query stay valid.
func (b *Batch) QueryRow() pgx.Row {
	if b.next() != nil {
		return batchRow{&batchRows{err: b.err, closed: true}}
	}
	return batchRow{b.open(&batchRows{})}
}

// open sets the rows to those of the current result.
func (b *Batch) open(rows *batchRows) *batchRows {
	reader := b.results.ResultReader()
	*rows = batchRows{conn: b.conn, reader: reader, fields: reader.FieldDescriptions()}
	b.last = rows
	return rows
}

// closeRows skips the remaining rows of the current result.
func (b *Batch) closeRows() (err error) {
	if b.last != nil {
		b.last.Close()
		err, b.last = b.last.err, nil
	}
	return err
}

// Close skips all results that were not read, and returns the first error. It must be called
// before the connection is used again.
func (b *Batch) Close() error {
	if b.results != nil {
		b.err = cmp.Or(b.err, b.closeRows())
		b.err = cmp.Or(b.err, b.results.Close())
		b.results = nil
	}
	if b.err != nil && b.conn != nil {
		stateOf(b.conn.PgConn()).forget(b.entries, b.err)
		b.conn = nil
	}
	return b.err
}
