package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// InFlight is a connection of a pool that is in use, with the statement that runs on it.
type InFlight struct {
	ID     uint64 // for Router.Cancel; never reused
	Server string // "primary", or the replica's host:port
	PID    uint32 // of the backend, as in pg_stat_activity
	Class  string // the class whose share it counts against

	// Statement is the statement that runs, or ran last in a transaction. It is begin before
	// a transaction's first statement, and commit for a COMMIT.
	Statement string

	// Start is when the caller began to wait for the connection. Sent is when Statement
	// began.
	Start, Sent time.Time

	// Transaction is set for the connection of InTx or Pipeline. Caller is then the line that
	// began it, such as store/user.go:51, and Idle is set while the code between its
	// statements runs.
	Transaction bool
	Caller      string
	Idle        bool

	// Context is that of the caller. It may have ended. Statements that were coalesced have a
	// separate context.
	Context context.Context
}

// inFlight lists the connections in use. All entries share one lock, which is held for some
// nanoseconds: a statement takes it three times.
type inFlight struct {
	mu   sync.Mutex
	used []*usage
	free []*usage // kept for reuse, as many as there are connections
	last uint64
}

// usage is the use of a connection from its lease to its release. Its fields are guarded by
// the lock of its table.
type usage struct {
	InFlight
	table  *inFlight
	at     int     // index in used
	bounds *bounds // of the statement that runs; nil if it cannot be cancelled
	hold   *hold   // of a transaction; otherwise nil
}

// begin adds a connection that was acquired for q.
func (f *inFlight) begin(ctx context.Context, q request, pid uint32) *usage {
	f.mu.Lock()
	defer f.mu.Unlock()
	var u *usage
	if n := len(f.free); n > 0 {
		u, f.free = f.free[n-1], f.free[:n-1]
	} else {
		u = &usage{table: f}
	}
	f.last++
	u.InFlight = InFlight{
		ID: f.last, Server: q.where.name(), PID: pid, Class: q.class, Statement: q.name, Start: q.start, Sent: q.start, Context: ctx,
	}
	u.at = len(f.used)
	f.used = append(f.used, u)
	return u
}

// end removes the connection before it is released.
func (u *usage) end() {
	f := u.table
	f.mu.Lock()
	defer f.mu.Unlock()
	last := len(f.used) - 1
	f.used[u.at] = f.used[last]
	f.used[u.at].at = u.at
	f.used[last] = nil
	f.used = f.used[:last]
	u.InFlight, u.bounds, u.hold = InFlight{}, nil, nil
	f.free = append(f.free, u)
}

// runs sets the statement that runs on the connection. Without bounds it cannot be
// cancelled.
func (u *usage) runs(s *statement, at time.Time, b *bounds) {
	u.table.mu.Lock()
	defer u.table.mu.Unlock()
	u.Statement, u.Sent, u.bounds = s.Name, at, b
}

// holds sets the transaction that the connection is for.
func (u *usage) holds(h *hold) {
	u.table.mu.Lock()
	defer u.table.mu.Unlock()
	u.hold = h
}

// InFlight returns the connections in use, the oldest use first. Calls that wait for a
// connection are not among them (see ClassState.Waiting).
func (r *Router) InFlight() []InFlight {
	f := &r.inFlight
	f.mu.Lock()
	list := make([]InFlight, 0, len(f.used))
	for _, u := range f.used {
		entry := u.InFlight
		if h := u.hold; h != nil {
			entry.Transaction, entry.Caller, entry.Idle = true, h.caller(), h.state.Load() == holdIdle
		}
		list = append(list, entry)
	}
	f.mu.Unlock()
	slices.SortFunc(list, func(a, b InFlight) int { return a.Start.Compare(b.Start) })
	return list
}

// Cancel cancels the statement that runs on the connection with the ID of an InFlight. Its
// caller gets an ErrTimeout that says so, or ErrCommitUnknown if the answer to a write was
// lost. A read is not repeated. Calls that were coalesced are sent individually.
//
// Cancel returns false if nothing can be cancelled: the connection was released, the
// function of a transaction runs between statements, or the statement is a COMMIT, whose
// outcome would be unknown.
func (r *Router) Cancel(id uint64) bool {
	f := &r.inFlight
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.used {
		if u.ID == id && u.bounds != nil && !(u.hold != nil && u.hold.state.Load() == holdIdle) {
			return u.bounds.cancelByOperator()
		}
	}
	return false
}

// errOperator is the cause of a statement that Router.Cancel cancelled.
var errOperator = errors.New("an operator cancelled it")

// cancelByOperator ends the statement. It returns false if it has ended already.
func (b *bounds) cancelByOperator() bool {
	if b.bounded.Err() != nil {
		return false
	}
	b.cancelled.Store(true)
	b.bounded.Cancel()
	return true
}

// byOperator adds errOperator to the error of a statement that Router.Cancel cancelled.
func (b *bounds) byOperator(err error) error {
	if err == nil || !b.cancelled.Load() || b.bounded.Err() != context.Canceled || errors.Is(err, errOperator) {
		return err
	}
	var e *pgconn.PgError
	if errors.Is(err, context.Canceled) || errors.As(err, &e) && e.Code == pgerrcode.QueryCanceled {
		return &operatorError{err}
	}
	return err
}

// operatorError is the error of a cancelled statement.
type operatorError struct{ cause error }

func (e *operatorError) Error() string   { return errOperator.Error() + ": " + e.cause.Error() }
func (e *operatorError) Unwrap() []error { return []error{errOperator, e.cause} }
