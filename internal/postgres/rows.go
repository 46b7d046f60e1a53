package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// boundRows are the rows of one statement: they type its errors, and give back
// what the statement holds when they end.
type boundRows struct {
	pgx.Rows
	name   string
	cancel context.CancelFunc
	conn   *pgxpool.Conn // nil in a transaction, which keeps its connection
}

// Next ends the statement by itself after the last row, so that a caller who
// forgets to close what it has read to the end holds nothing.
func (r *boundRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.end()
	return false
}

func (r *boundRows) Scan(dest ...any) error { return wrap(r.name, r.Rows.Scan(dest...)) }

func (r *boundRows) Err() error { return wrap(r.name, r.Rows.Err()) }

func (r *boundRows) Close() {
	r.Rows.Close()
	r.end()
}

func (r *boundRows) end() {
	r.cancel()
	if r.conn != nil {
		r.conn.Release()
		r.conn = nil
	}
}

// row reads the one row of a statement.
type row struct{ rows *boundRows }

func (r row) Scan(dest ...any) error {
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return wrap(r.rows.name, pgx.ErrNoRows)
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	// An error may stand behind the row: a statement that failed late.
	r.rows.Close()
	return r.rows.Err()
}

// failedRow is the row of a statement that could not be sent.
type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }
