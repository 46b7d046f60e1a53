package postgres

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
)

// CopyFrom streams rows into a table by COPY, all of them or none, and returns
// their number. It is a transaction of its own whose commit is exactly known;
// since its rows are read but once, it is repeated only where none was asked
// for yet.
func (r *Router) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (n int64, err error) {
	source := &copySource{rows: rows}
	err = r.inTx(ctx, TxOptions{}, func(db DBTX) error {
		if source.begun {
			// What ended the first attempt, which certainly stored nothing.
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

// errCopyUndone stands for what ended a COPY whose COMMIT failed.
var errCopyUndone = errors.New("it was undone at its COMMIT, and its rows cannot be read again")

// CopyFrom streams rows into a table by COPY, as part of the transaction.
func (t *tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return t.copyFrom(ctx, table, columns, &copySource{rows: rows})
}

func (t *tx) copyFrom(ctx context.Context, table pgx.Identifier, columns []string, source *copySource) (n int64, err error) {
	s := t.router.registry.find(copyText(table, columns))
	if t.ended {
		return 0, wrap(s.Name, pgx.ErrTxClosed)
	}
	taken, err := t.hold.takeInTime()
	if err != nil {
		return 0, err
	}
	defer t.hold.release(taken)
	if err := t.enter(ctx, s); err != nil {
		return 0, err
	}
	t.boundIdle()
	t.mark()
	bounded, cancel := context.WithTimeout(ctx, s.Timeout)
	source.ctx = bounded
	if len(s.Types) > 0 {
		// Its rows are read once: a type that was replaced must be seen before.
		conn.ForgetTypes(t.conn.Conn.Conn().PgConn())
		knowTypes(bounded, t.conn.Conn.Conn(), s)
	}
	run := run{statement: s, ctx: ctx, start: time.Now(), where: t.where, router: t.router, cancel: cancel}
	defer func() {
		err = run.typed(err)
		run.end(pgconn.NewCommandTag("COPY "+strconv.FormatInt(n, 10)), err)
	}()
	if len(t.pending) > 0 {
		batch := &pgx.Batch{}
		t.queuePending(batch)
		results := t.conn.SendBatch(bounded, batch)
		if err := t.skipPending(results); err != nil {
			_ = results.Close() // says the same
			return 0, err
		}
		if err := results.Close(); err != nil {
			return 0, err
		}
	}
	n, err = t.conn.CopyFrom(bounded, table, columns, source)
	if source.err != nil {
		// The server knows of it only that the COPY was broken off (57014).
		err = source.err
	}
	return n, err
}

// copyText is a COPY as the registry has it, which is what pgx sends.
func copyText(table pgx.Identifier, columns []string) string {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = pgx.Identifier{c}.Sanitize()
	}
	return "copy " + table.Sanitize() + " ( " + strings.Join(quoted, ", ") + " ) from stdin binary;"
}

// copySource gives a COPY its rows until the context ends: pgx asks a source
// for more without looking at the context.
type copySource struct {
	rows  pgx.CopyFromSource
	ctx   context.Context // of the COPY under way
	begun bool            // a row was asked for
	err   error           // what broke the rows off
}

func (s *copySource) Next() bool {
	s.begun = true
	if s.err == nil {
		s.err = s.ctx.Err()
	}
	return s.err == nil && s.rows.Next()
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
