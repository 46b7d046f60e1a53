package postgres

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
)

// CopyFrom streams rows into a table by COPY and returns their number. Either all of them
// are stored or none. It is a separate transaction whose outcome is known exactly. Because
// the rows can be read only once, it is repeated only if no row has been read yet.
func (r *Router) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (n int64, err error) {
	source := &copySource{rows: rows}
	err = r.inTx(ctx, TxOptions{}, func(db DBTX) error {
		if source.begun {
			// The error is that of the first attempt, which stored nothing.
			if err == nil {
				err = wrap("copy", errCopyUndone)
			}
			return err
		}
		n, err = db.(*tx).copyFrom(ctx, table, columns, source)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// errCopyUndone is returned for a COPY that was rolled back at its COMMIT.
var errCopyUndone = errors.New("it was rolled back at its COMMIT, and its rows cannot be read again")

// CopyFrom streams rows into a table by COPY, as part of the transaction.
func (t *tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return t.copyFrom(ctx, table, columns, &copySource{rows: rows})
}

func (t *tx) copyFrom(ctx context.Context, table pgx.Identifier, columns []string, source *copySource) (n int64, err error) {
	s := t.router.registry.find(copyText(table, columns))
	if t.ended {
		return 0, wrap(s.Name, pgx.ErrTxClosed)
	}
	r := &run{}
	r.called(t.router, ctx, s, nil)
	r.where = t.where
	cause := errPanicked // unless it returns
	defer func() {
		err = r.typed(cause)
		_ = r.end(pgconn.NewCommandTag("COPY "+strconv.FormatInt(n, 10)), err)
	}()
	taken, lost := t.hold.takeInTime()
	if lost != nil {
		cause = lost
		return 0, nil
	}
	defer t.hold.release(taken)
	n, cause = t.sendCopy(r, table, columns, source)
	return n, nil
}

// sendCopy sends the pending statements, then a COPY.
func (t *tx) sendCopy(r *run, table pgx.Identifier, columns []string, source *copySource) (int64, error) {
	if err := t.enter(r.ctx, r.statement); err != nil {
		return 0, err
	}
	t.boundIdle()
	t.mark()
	now := time.Now()
	r.deadline = now.Add(r.statement.Timeout)
	r.bounds.begin(r.ctx, now, r.deadline, t.where)
	t.conn.usage.runs(r.statement, now, &r.bounds)
	source.caller, source.ctx = r.ctx, &r.bounded
	c := t.conn.Conn.Conn()
	if len(r.statement.Types) > 0 {
		// The rows can be read only once, so a replaced type must be detected before.
		conn.ForgetTypes(c.PgConn())
		knowTypes(&r.bounded, c, r.statement)
	}
	if len(t.pending) > 0 {
		batch := &conn.Batch{}
		t.queuePending(batch)
		batch.Send(&r.bounded, c)
		if err := cmp.Or(t.skipPending(batch), batch.Close()); err != nil {
			return 0, err
		}
	}
	n, err := t.copyRows(&r.bounded, table, columns, source)
	if source.err != nil {
		// The server only reports that the COPY was cancelled (57014).
		err = source.err
	}
	return n, err
}

// copyRows sends a COPY. It encodes the rows itself if their source allows it.
func (t *tx) copyRows(ctx context.Context, table pgx.Identifier, columns []string, source *copySource) (int64, error) {
	c := t.conn.Conn.Conn()
	encoder := newCopyEncoder(source)
	if encoder == nil {
		return c.CopyFrom(ctx, table, columns, source)
	}
	// Like pgx, this learns the types of the columns by preparing a SELECT once for each
	// connection, or each time without a name if a pooler is in front of the server.
	sql, name := "select "+strings.Join(quoted(columns), ", ")+" from "+table.Sanitize(), ""
	if t.router.cfg.Pooler == PoolerNone {
		name = sql
	}
	described, err := c.Prepare(ctx, name, sql)
	if err != nil {
		return 0, err
	}
	if !encoder.knows(described.Fields) {
		source.ahead = true
		return c.CopyFrom(ctx, table, columns, source)
	}
	defer encoder.close()
	tag, err := c.PgConn().CopyFrom(ctx, encoder, copyText(table, columns))
	return tag.RowsAffected(), err
}

// copyText returns the text of a COPY as pgx sends it, which is also its text in the registry.
func copyText(table pgx.Identifier, columns []string) string {
	return "copy " + table.Sanitize() + " ( " + strings.Join(quoted(columns), ", ") + " ) from stdin binary;"
}

func quoted(columns []string) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = pgx.Identifier{c}.Sanitize()
	}
	return names
}

// copySource returns rows to COPY until the context ends, because pgx does not check the
// context between rows.
type copySource struct {
	rows   pgx.CopyFromSource
	caller context.Context
	ctx    context.Context // of the COPY in progress; it ends shortly after the caller's
	begun  bool            // a row was requested
	ahead  bool            // the current row was requested, but is not sent yet
	err    error           // why the rows ended early
}

func (s *copySource) Next() bool {
	s.begun = true
	if s.stopped() {
		return false
	}
	if s.ahead {
		s.ahead = false
		return true
	}
	return s.rows.Next()
}

// stopped reports whether the rows end early because of an error, such as the end of the
// context.
func (s *copySource) stopped() bool {
	if s.err == nil {
		s.err = cmp.Or(s.caller.Err(), s.ctx.Err())
	}
	return s.err != nil
}

func (s *copySource) Values() ([]any, error) {
	values, err := s.rows.Values()
	if err != nil {
		s.err = err
	}
	return values, err
}

func (s *copySource) Err() error {
	if s.err == nil {
		s.err = s.rows.Err()
	}
	return s.err
}
