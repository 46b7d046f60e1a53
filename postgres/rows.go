package postgres

import (
	"cmp"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/wire"
)

// boundRows are the rows of one statement. They classify its errors, and end its run after the
// last row.
type boundRows struct {
	pgx.Rows
	run
	peeked bool  // the first row has been fetched already
	hold   *hold // of a transaction; nil outside of one
	ended  bool

	adopted bool  // the connection knows the types of the columns
	err     error // of the results after the statement's own
}

// Next ends the statement after the last row, so a caller that reads all rows but does not
// close them holds nothing.
func (r *boundRows) Next() bool {
	if r.peeked {
		r.peeked = false
		return true
	}
	if r.next() {
		return true
	}
	r.Close()
	return false
}

func (r *boundRows) next() bool {
	if r.hold == nil {
		return r.Rows.Next()
	}
	taken, err := r.hold.take()
	if err != nil {
		return false
	}
	defer r.hold.releaseRow(taken)
	return r.Rows.Next()
}

func (r *boundRows) Scan(dest ...any) error {
	if r.hold != nil {
		taken, err := r.hold.take()
		if err != nil {
			return err
		}
		defer r.hold.releaseRow(taken)
	}
	if !r.adopted {
		r.adopted = true
		adoptTypes(r.Rows, r.statement)
	}
	fields, raw := r.Rows.FieldDescriptions(), r.Rows.RawValues()
	for _, o := range r.router.observer.rows {
		o.RowScanned(&r.statement.Statement, raw)
	}
	if len(dest) != len(raw) || len(dest) != len(fields) {
		return r.typed(r.Rows.Scan(dest...))
	}
	for i := range dest {
		if wire.Scan(&fields[i], raw[i], dest[i]) {
			continue
		}
		types := r.Rows.TypeMap()
		if _, known := types.TypeForOID(fields[i].DataTypeOID); !known && wire.ScanText(&fields[i], raw[i], dest[i]) {
			continue
		}
		if types.Scan(fields[i].DataTypeOID, fields[i].Format, raw[i], dest[i]) != nil {
			// Scan again, so that pgx reports the error and ends the rows.
			return r.typed(r.Rows.Scan(dest...))
		}
	}
	return nil
}

func (r *boundRows) Values() ([]any, error) {
	if r.hold != nil {
		taken, err := r.hold.take()
		if err != nil {
			return nil, err
		}
		defer r.hold.releaseRow(taken)
	}
	values, err := r.Rows.Values()
	return values, r.typed(err)
}

func (r *boundRows) Err() error {
	if r.err != nil {
		return r.err
	}
	err := r.Rows.Err()
	if err == nil {
		return nil
	}
	return r.typed(err)
}

func (r *boundRows) Close() {
	r.peeked = false
	if r.ended {
		return
	}
	r.finish(nil)
	if r.delivered && errors.Is(r.Err(), ErrCommitUnknown) {
		r.router.observer.resolved("unknown")
	}
}

// finish ends the rows and their run with err, or with the error of the rows.
func (r *boundRows) finish(err error) {
	r.peeked, r.ended = false, true
	if r.hold != nil {
		taken, lost := r.hold.take()
		if lost != nil {
			// The rows are lost with their connection.
			r.after, r.err = nil, lost
			_ = r.end(pgconn.CommandTag{}, cmp.Or(err, lost))
			return
		}
		defer r.hold.release(taken)
	}
	var tag pgconn.CommandTag
	if r.Rows != nil {
		r.Rows.Close()
		tag = r.Rows.CommandTag()
		r.committing = tag != pgconn.CommandTag{}
		err = cmp.Or(err, r.Rows.Err())
	}
	r.err = r.end(tag, err)
}

// row reads the row of a :one statement.
type row struct{ rows *boundRows }

func (r row) Scan(dest ...any) error {
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return r.rows.typed(pgx.ErrNoRows)
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	// An error may follow the row, from a statement that failed late or from the COMMIT
	// that was sent with it. If PostgreSQL ends a session whose COMMIT waits for a standby, it
	// sends the row with the reason.
	repeats := r.rows.autocommit && r.rows.statement.Retry
	r.rows.delivered = r.rows.delivered && !repeats
	r.rows.Close()
	err := r.rows.Err()
	if !repeats || !errors.Is(err, ErrCommitUnknown) {
		return err
	}
	rows, err := r.rows.repeat(err)
	if err != nil {
		return err
	}
	return row{rows}.Scan(dest...)
}

// tagOf converts the result of query to that of Exec.
func tagOf(rows *boundRows, err error) (pgconn.CommandTag, error) {
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	rows.Close()
	return rows.CommandTag(), rows.Err()
}

// rowsOf converts the result of query to that of Query.
func rowsOf(rows *boundRows, err error) (pgx.Rows, error) {
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// rowOf converts the result of query to that of QueryRow.
func rowOf(rows *boundRows, err error) pgx.Row {
	if err != nil {
		return failedRow{err}
	}
	return row{rows}
}

// failedRow is the row of a statement that could not be sent.
type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }
