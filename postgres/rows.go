package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
	"quern/postgres/internal/wire"
)

// boundRows are the rows of one statement: they type its errors, and when they
// end, whichever way, they settle what is behind the statement and give back
// what it holds.
type boundRows struct {
	pgx.Rows
	run
	peeked bool  // the first row was fetched already: there is one
	hold   *hold // of a transaction; nil outside of one
	ended  bool

	adopted bool  // the types of its columns are known to the connection
	err     error // of what stands behind the rows
}

// Next ends the statement by itself behind the last row, so that a caller who
// forgets to close what it has read to the end holds nothing.
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
	if len(dest) != len(raw) || len(dest) != len(fields) {
		return r.typed(r.Rows.Scan(dest...))
	}
	for i := range dest {
		if wire.Scan(&fields[i], raw[i], dest[i]) {
			continue
		}
		if r.Rows.TypeMap().Scan(fields[i].DataTypeOID, fields[i].Format, raw[i], dest[i]) != nil {
			// Again, for pgx to say what is wrong, and to end the rows.
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
	return r.typed(r.Rows.Err())
}

func (r *boundRows) Close() {
	r.peeked = false
	if r.ended {
		return
	}
	r.ended = true
	if r.hold != nil {
		taken, err := r.hold.take()
		if err != nil {
			// The rows are gone with their connection.
			r.after, r.err = nil, err
			r.end(pgconn.CommandTag{}, err)
			return
		}
		defer r.hold.release(taken)
	}
	if r.Rows == nil { // it could not be sent
		r.err = r.end(pgconn.CommandTag{}, nil)
		return
	}
	r.Rows.Close()
	tag := r.Rows.CommandTag()
	r.committing = tag != pgconn.CommandTag{}
	r.err = r.end(tag, r.Rows.Err())
	if r.handed && errors.Is(r.Err(), ErrCommitUnknown) {
		r.observer.settled("unknown")
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
		return r.rows.typed(pgx.ErrNoRows)
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	// An error may stand behind the row: of a statement that failed late, or
	// of the COMMIT that came with it.
	r.rows.Close()
	return r.rows.Err()
}

// tagOf is the answer of an Exec.
func tagOf(rows *boundRows, err error) (pgconn.CommandTag, error) {
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	rows.Close()
	return rows.CommandTag(), rows.Err()
}

// rowsOf is the answer of a Query.
func rowsOf(rows *boundRows, err error) (pgx.Rows, error) {
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// rowOf is the answer of a QueryRow.
func rowOf(rows *boundRows, err error) pgx.Row {
	if err != nil {
		return failedRow{err}
	}
	return row{rows}
}

// failedRow is the row of a statement that could not be sent.
type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// run is one statement under way: what it is, when it began, and what there is
// to do when it ends.
type run struct {
	statement *statement
	args      []any
	ctx       context.Context // the caller's
	start     time.Time
	where     route
	observer  *observer
	histories *histories         // of a statement that is sent with the question for its position
	commits   bool               // a lost answer leaves open whether it was committed
	alone     bool               // it is a transaction by itself
	handed    bool               // the caller has its rows: nobody repeats it any more
	bounded   context.Context    // the one it is sent with, where it commits
	conn      *pgconn.PgConn     // the one it is sent on, where it commits
	after     func() error       // settles what stands behind the statement; may be nil
	release   func()             // gives back what the statement holds
	cancel    context.CancelFunc // ends its deadline; may be nil

	// committing: the statement was completed, so that an error answers the
	// COMMIT, its own or that of its end (PostgreSQL manual, 55.2.3: with the
	// extended protocol a statement by itself is committed at Sync).
	committing bool
}

// typed types an error that the statement met.
func (r *run) typed(err error) error {
	if err == nil {
		return nil
	}
	err = conn.Cancelled(r.ctx, err)
	switch {
	case !r.commits:
		return wrap(r.statement.Name, err)
	case r.committing:
		return writeError(r.statement.Name, err, commitInDoubt)
	case r.alone:
		return writeError(r.statement.Name, err, autocommitInDoubt)
	}
	return writeError(r.statement.Name, err, answerLost)
}

// end settles the statement, which itself ended with err, and returns the
// error that stands behind it.
func (r *run) end(tag pgconn.CommandTag, err error) (behind error) {
	if r.after != nil {
		behind = r.after()
	}
	if r.conn != nil && err == nil && behind == nil && conn.Unreplicated(r.bounded, r.conn) {
		behind = &Error{Kind: ErrCommitUnknown, Statement: r.statement.Name, Err: errUnreplicated}
	}
	if err == nil {
		err = behind
	}
	if r.release != nil {
		r.release()
	}
	if r.cancel != nil {
		r.cancel()
	}
	err = r.typed(err)
	r.observer.statement(r.ctx, r.statement, r.args, r.where, r.start, tag, err)
	if behind != nil {
		return err
	}
	return nil
}

// errUnreplicated stands for a COMMIT that was cancelled while it waited for a
// synchronous standby.
var errUnreplicated = errors.New("it was committed on the primary alone, for the time was up before a standby had it")
