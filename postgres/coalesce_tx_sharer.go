package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"quern/postgres/internal/wire"
)

// sharer is one caller's pipeline in a shared transaction. The worker that runs the
// transaction writes only to the sharer, because the caller may have gone away. The caller
// reads its results itself, so that a function that it has given to Each runs in its own
// goroutine.
type sharer struct {
	router  *Router
	ctx     context.Context // the caller's
	session *Session        // the caller's; may be nil
	batch   *Batch
	steps   []sharedStep
	writes  bool
	timeout time.Duration // sum of the statements' timeouts
	marker  pgtype.UUID   // not valid if it has none
	start   time.Time     // when it was called

	state atomic.Int32 // callQueued, callSent or callCancelled
	done  chan error   // receives the outcome

	// Set by the worker before it sends the outcome.
	sent    time.Time
	epoch   uint64 // of the session, when the transaction was sent
	results []storedRows
}

// sharedStep is one statement of a pipeline, with copies of its arguments.
type sharedStep struct {
	statement *statement
	sql       string
	args      []any
}

func newSharer(ctx context.Context, r *Router, b *Batch) *sharer {
	s := &sharer{
		router: r, ctx: ctx, session: sessionOf(ctx), batch: b, start: time.Now(), done: make(chan error, 1),
		steps: make([]sharedStep, len(b.steps)), results: make([]storedRows, len(b.steps)),
	}
	for i, step := range b.steps {
		// A caller whose context has ended may modify its arguments before they are sent.
		s.steps[i] = sharedStep{step.statement, step.sql, ownCopies(step.args)}
		for k, arg := range step.args {
			if list, ok := arg.([][]byte); ok {
				s.steps[i].args[k] = cloneAll(list)
			}
		}
		s.writes = s.writes || step.statement.Route != Replica
		s.timeout += step.statement.Timeout
	}
	return s
}

func cloneAll(list [][]byte) [][]byte {
	own := make([][]byte, len(list))
	for i, bytes := range list {
		own[i] = slices.Clone(bytes)
	}
	return own
}

// complete wakes the caller. The outcome is nil if the transaction has committed, errAlone
// if nothing is stored, or ErrCommitUnknown.
func (s *sharer) complete(outcome error) { s.done <- outcome }

// learn advances the caller's session to a position that was read after the COMMIT.
func (s *sharer) learn(seen point, unknown bool) {
	switch {
	case s.session == nil:
	case unknown:
		s.session.markUnknown()
	default:
		s.session.advance(seen)
		s.session.markKnown(s.epoch)
	}
}

// read reads the results of a pipeline that has committed. If a result has an error, it
// returns ErrCommitted.
func (s *sharer) read() error {
	var failed error
	turn := s.sent
	for i, step := range s.batch.steps {
		if step.err = errSkipped; failed != nil {
			continue
		}
		stored := &s.results[i]
		rows := &boundRows{Rows: stored}
		rows.called(s.router, s.ctx, step.statement, step.args)
		// The statement took until its result arrived. The wait for COMMIT is not a part.
		rows.start, turn = time.Now().Add(turn.Sub(stored.at)), stored.at
		step.err = nil
		if step.reader != nil {
			failed = step.reader.read(rows)
		}
		rows.Close()
		if step.count != nil {
			step.count(rows.CommandTag())
		}
		failed = cmp.Or(failed, rows.Err())
		step.err = failed
	}
	if failed != nil {
		return fmt.Errorf("%w, but a result has an error: %w", ErrCommitted, failed)
	}
	return nil
}

// lost records that the outcome of the transaction is not known.
func (s *sharer) lost(err error) {
	if s.session != nil && s.router.replicas.expected {
		s.session.markUnknown()
	}
	s.router.observer.statement(s.ctx, commitStatement, nil, route{}, s.start, pgconn.CommandTag{}, err)
}

// storedRows are rows that were copied off their connection.
type storedRows struct {
	fields []pgconn.FieldDescription
	types  []*pgtype.Type // of Statement.Types, which scanning needs
	rows   []wire.Row
	tag    pgconn.CommandTag
	at     time.Time // when the last row had arrived

	values  [][]byte // of the current row
	typeMap *pgtype.Map
	free    func()
	err     error
}

// copy reads all rows. It appends them to memory, which it returns.
func (r *storedRows) copy(rows pgx.Rows, s *statement, memory wire.Row) (wire.Row, error) {
	defer rows.Close()
	for rows.Next() {
		if r.fields == nil {
			// Copy: pgx reuses this slice.
			r.fields, r.types = slices.Clone(rows.FieldDescriptions()), rowTypes(rows, s)
		}
		// Rows already stored stay valid if memory is reallocated.
		start := len(memory)
		for _, value := range rows.RawValues() {
			memory = memory.Append(value)
		}
		r.rows = append(r.rows, memory[start:len(memory):len(memory)])
	}
	rows.Close()
	r.tag, r.at = rows.CommandTag(), time.Now()
	return memory, rows.Err()
}

// The methods implement pgx.Rows.

func (r *storedRows) Next() bool {
	if len(r.rows) == 0 || r.err != nil {
		r.Close()
		return false
	}
	row := r.rows[0]
	r.rows, r.values = r.rows[1:], r.values[:0]
	for range r.fields {
		var value []byte
		value, row = row.Cut()
		r.values = append(r.values, value)
	}
	return true
}

func (r *storedRows) Scan(dest ...any) error {
	if r.err = pgx.ScanRow(r.TypeMap(), r.fields, r.values, dest...); r.err != nil {
		r.Close()
	}
	return r.err
}

func (r *storedRows) Values() ([]any, error) {
	list := make([]any, len(r.fields))
	for i, f := range r.fields {
		if err := r.TypeMap().Scan(f.DataTypeOID, f.Format, r.values[i], &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (r *storedRows) TypeMap() *pgtype.Map {
	if r.typeMap == nil {
		r.typeMap, r.free = wire.TypeMap(r.types)
	}
	return r.typeMap
}

func (r *storedRows) Close() {
	r.rows = nil
	if r.free != nil {
		r.free()
		r.typeMap, r.free = nil, nil
	}
}

func (r *storedRows) Err() error                                   { return r.err }
func (r *storedRows) CommandTag() pgconn.CommandTag                { return r.tag }
func (r *storedRows) FieldDescriptions() []pgconn.FieldDescription { return r.fields }
func (r *storedRows) RawValues() [][]byte                          { return r.values }
func (r *storedRows) Conn() *pgx.Conn                              { return nil }
