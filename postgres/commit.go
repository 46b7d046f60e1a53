package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgtype"
)

// inTx runs fn in transactions of its own until the outcome is known.
func (r *Router) inTx(ctx context.Context, opts TxOptions, fn func(tx DBTX) error) error {
	return r.transact(ctx, opts, func(t *tx) error {
		if err := fn(t); err != nil {
			return err
		}
		return t.commit(ctx)
	})
}

// transact runs work, which commits, in transactions of its own until the
// outcome is known.
func (r *Router) transact(ctx context.Context, opts TxOptions, work func(t *tx) error) error {
	m := &marker{of: r.markers, observer: r.observer}
	where := route{}
	if opts.ReadOnly && opts.Replica {
		where = r.choose(sessionOf(ctx))
	}
	if !opts.ReadOnly {
		if err := r.mayWrite("begin"); err != nil {
			return err
		}
	}
	try := tries{start: time.Now()}
	for {
		err := r.tryTx(ctx, opts, where, m, work)
		if err != nil && m.again {
			err = r.bury(ctx, m, err)
		}
		switch {
		case err == nil && m.recall:
			return r.recall(ctx, opts)
		case err == nil:
			return nil
		case m.lost != nil:
			// Attempts do not count: to give up would leave the caller with the
			// question.
			if !m.usable(opts) || m.buried || m.elsewhere || !try.settle(ctx) {
				r.observer.settled("unknown")
				return errors.Join(m.lost, ctx.Err())
			}
			r.observer.retry("commit", "settle")
		case errors.Is(err, errReplicaHasIt):
			where = r.choose(sessionOf(ctx))
		case stalePlan(err) && try.stalePlan(ctx, r.cfg.MaxConns):
			r.observer.retry("transaction", "stale_plan")
		case worthRepeating(err) && try.again(ctx, err):
			r.observer.retry("transaction", reasonOf(err))
			where = route{}
		default:
			return err
		}
	}
}

// tryTx runs work in one transaction. When an earlier one lost the answer to
// its COMMIT, it first puts the same marker: the unique index waits for an
// earlier one that still runs, and refuses the marker of one that committed.
func (r *Router) tryTx(ctx context.Context, opts TxOptions, where route, m *marker, work func(t *tx) error) error {
	conn, err := r.acquire(ctx, request{where: where, session: sessionOf(ctx), class: cmp.Or(m.class, opts.Class, DefaultClass), name: "begin", start: time.Now()})
	if err != nil {
		return err
	}
	if m.of.table.Load() == markersUnknown && !opts.ReadOnly && !opts.NoMarker {
		m.of.look(ctx, conn.Conn, r.cfg, false)
	}
	t := &tx{txConn: &txConn{router: r, conn: conn, where: where, opts: opts, marker: m, pending: []pending{{kind: pendingBegin, sql: opts.begin()}}}}
	t.hold = newHold(t.txConn)
	// Deferred, so that a panic and a test's FailNow roll back too. Behind a
	// COMMIT it does nothing.
	defer func() {
		t.ended = true
		if t.hold.end() && t.acquired() {
			giveBack(ctx, t.conn)
		}
	}()
	if !opts.ReadOnly {
		// Again: it may have waited for the connection.
		if err := r.mayWrite("begin"); err != nil {
			return err
		}
	}
	if err := where.check(conn.Conn); err != nil {
		return err
	}
	if m.lost != nil {
		committed, err := t.settle(ctx, m)
		if committed || err != nil {
			return err
		}
	}
	if err := t.hold.run(work, t); err != nil {
		// What it read may be in the caller's answer, and its position was to come with the COMMIT.
		if session := sessionOf(ctx); session != nil && t.begun && len(r.replicas.all) > 0 {
			session.loses(where)
		}
		return err
	}
	if m.again {
		m.settled("aborted")
	}
	return nil
}

// settle finds out whether the transaction whose COMMIT got no answer has
// committed: then this one is over, else it holds the marker and goes on.
func (t *txConn) settle(ctx context.Context, m *marker) (bool, error) {
	t.marked = true
	err := t.putMarker(ctx)
	switch {
	case err == nil && m.late:
		// The first may still be on its way. It is refused once this one has
		// committed.
		m.again = true
		return false, nil
	case err == nil:
		m.settled("aborted")
		return false, nil
	case m.of.taken(err):
		m.settled("committed")
		if session := sessionOf(ctx); session != nil && len(t.router.replicas.all) > 0 {
			// On this connection: who asks for another one while holding one
			// waits for ever when all do.
			bounded, cancel := context.WithTimeout(ctx, t.router.cfg.QueryTimeout)
			defer cancel()
			taken, lost := t.hold.take()
			if lost != nil {
				session.learn(failedRow{lost}, route{}, session.blinds(), t.router.replicas.histories)
				return true, nil
			}
			defer t.hold.release(taken)
			_, _ = t.conn.Exec(bounded, "rollback")
			session.learn(t.conn.QueryRow(bounded, pointOfPrimary), route{}, session.blinds(), t.router.replicas.histories)
		}
		return true, nil
	}
	return false, err
}

// bury settles a lost transaction that may still be on its way, when another
// run under its marker has ended with err and left no marker. The marker by
// itself is committed in its stead: from then on the lost one is refused. It
// returns nil when that comes too late, because the lost one has committed.
func (r *Router) bury(ctx context.Context, m *marker, err error) error {
	m.again = false
	switch _, refused := r.Exec(ctx, m.of.create.SQL, m.value()); {
	case refused == nil:
		m.settled("aborted")
		m.id = pgtype.UUID{} // what comes next is another transaction
	case m.of.taken(refused):
		m.settled("committed")
		return nil
	default:
		// If the tombstone stands, nobody can tell it from the lost one's marker.
		m.buried = true
		m.lost = errors.Join(m.lost, err)
	}
	return err
}

// recall reads back what a transaction stored whose rows were lost.
func (r *Router) recall(ctx context.Context, opts TxOptions) error {
	err := r.inTx(ctx, TxOptions{}, func(db DBTX) error {
		// It writes, if only its marker: the COMMIT that was lost may have been
		// cancelled while it waited for a synchronous standby, which has it when
		// it has a later one.
		db.(*tx).mark()
		return opts.Recall(db)
	})
	if err != nil {
		return fmt.Errorf("%w; what it stored could not be read back: %w", ErrCommitted, err)
	}
	return nil
}

// taken reports whether err says that a transaction with this marker has
// committed.
func (m *markers) taken(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == pgerrcode.UniqueViolation && e.Constraint == m.key
}

// worthRepeating reports whether a transaction that ended with err, and
// certainly did not commit, may succeed when it is run again.
func worthRepeating(err error) bool {
	var e *Error
	if !errors.As(err, &e) || errors.Is(err, errLead) {
		return false
	}
	return e.Kind == ErrSerialization || e.Kind == ErrUnavailable || e.Code == pgerrcode.LockNotAvailable
}

// reasonOf names in metrics why a transaction was repeated.
func reasonOf(err error) string {
	var e *Error
	switch {
	case errors.As(err, &e) && e.Code == pgerrcode.DeadlockDetected:
		return "deadlock"
	case errors.Is(err, ErrSerialization):
		return "serialization"
	case errors.Is(err, ErrUnavailable):
		return "connection"
	}
	return "lock_timeout"
}

// marker identifies one call of InTx or Pipeline, however often it runs.
type marker struct {
	of       *markers
	observer *observer
	id       pgtype.UUID
	class    string // of the transactions, once their first statement is known
	lost     error  // of the COMMIT that got no answer, until that is settled

	// late: the lost COMMIT was sent in one round trip with its marker. Until
	// that is on the server nothing makes anybody wait for it.
	late bool

	// elsewhere: the COMMIT was answered by an ERROR, so that this server rolled
	// back, the marker with it, and another server may have committed its part.
	// The marker cannot tell.
	elsewhere bool

	again  bool // another run holds the marker of the late one
	buried bool // the tombstone of the late one may stand
	recall bool // the late one has committed, and its rows are to be read back
}

// doubt notes that it is not known what became of a COMMIT, which ended with
// err.
func (m *marker) doubt(err error) { m.lost, m.elsewhere = err, answeredByError(err) }

// settled ends the question what became of a lost COMMIT.
func (m *marker) settled(outcome string) {
	m.recall = m.late && outcome == "committed"
	m.lost, m.late, m.again = nil, false, false
	m.observer.settled(outcome)
}

// usable reports whether a transaction with these options leaves its marker.
func (m *marker) usable(opts TxOptions) bool {
	return m.of.table.Load() == markersThere && !opts.NoMarker && !opts.ReadOnly
}

func (m *marker) value() pgtype.UUID {
	if !m.id.Valid {
		m.id = uuidAt(time.Now())
	}
	return m.id
}

// uuidAt returns a new UUID of version 7 (RFC 9562): the time in milliseconds
// and 74 random bits.
func uuidAt(at time.Time) pgtype.UUID {
	id := pgtype.UUID{Valid: true}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	rand.Read(id.Bytes[:])
	copy(id.Bytes[:6], ms[2:])
	id.Bytes[6] = id.Bytes[6]&0x0f | 0x70
	id.Bytes[8] = id.Bytes[8]&0x3f | 0x80
	return id
}
