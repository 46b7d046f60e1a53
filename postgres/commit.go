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

// inTx runs fn in transactions until the outcome is known.
func (r *Router) inTx(ctx context.Context, opts TxOptions, fn func(tx DBTX) error) error {
	m := &marker{}
	return r.transact(ctx, opts, m, nil, func(t *tx) error {
		if err := fn(t); err != nil {
			return err
		}
		return t.commit(ctx)
	})
}

// transact runs work, which commits, in transactions with the marker until the outcome is
// known. The first run is share, unless it is nil or returns errAlone.
func (r *Router) transact(ctx context.Context, opts TxOptions, m *marker, share func() error, work func(t *tx) error) error {
	m.markers, m.observer = r.markers, r.observer
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
		err := errAlone
		if share != nil {
			err, share = share(), nil
		}
		if err == errAlone {
			err = r.runTx(ctx, opts, where, m, work)
		}
		switch m.action {
		case commitReadBack:
			return r.readBack(ctx, opts)
		case commitConfirm:
			return r.confirm(ctx, m, &try)
		case commitResolve:
			// Attempts are not counted, because giving up would leave the outcome unknown.
			if m.usable(opts) && try.resolve(ctx) {
				r.observer.retry("commit", "settle")
				continue
			}
			m.on(commitTimeUp)
		}
		switch {
		case m.action == commitGiveUp:
			return errors.Join(m.lost, ctx.Err())
		case err == nil:
			return nil
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

// runTx calls tryTx. It also ends the contention with an earlier run that is still in flight.
func (r *Router) runTx(ctx context.Context, opts TxOptions, where route, m *marker, work func(t *tx) error) error {
	err := r.tryTx(ctx, opts, where, m, work)
	switch {
	case m.state != stateContended:
		return err
	case err == nil:
		m.on(runCommitted)
		return nil
	}
	m.on(runFailed)
	return r.bar(ctx, m, err)
}

// tryTx runs work in one transaction. If an earlier run lost the answer to its COMMIT,
// tryTx writes the same marker first. The unique index waits for an earlier run that is
// still in progress, and rejects the marker if that run committed.
func (r *Router) tryTx(ctx context.Context, opts TxOptions, where route, m *marker, work func(t *tx) error) error {
	own := &struct { // in one allocation
		tx
		txConn
		hold
		trip bounds
	}{}
	defer own.trip.end()
	conn, err := r.acquireWithin(ctx, &own.trip.bounded, request{where: where, session: sessionOf(ctx), class: cmp.Or(m.class, opts.Class, DefaultClass), spare: opts.Spare && m.action != commitResolve, name: "begin", start: time.Now()})
	if err != nil {
		return err
	}
	if m.markers.table.Load() == markersUnknown && !opts.ReadOnly && !opts.NoMarker {
		m.markers.look(ctx, conn.Conn, r.cfg, false)
	}
	t := &own.tx
	t.txConn = &own.txConn
	*t.txConn = txConn{router: r, conn: conn, where: where, opts: opts, marker: m, hold: &own.hold, trip: &own.trip}
	t.pending = append(t.room[:0], pending{kind: pendingBegin, sql: opts.begin()})
	t.hold.begin(t.txConn)
	// Deferred, so that a panic and a test's FailNow roll back too. After a COMMIT it does
	// nothing.
	defer func() {
		t.ended = true
		if t.hold.end() && t.acquired() {
			giveBack(ctx, t.conn)
		}
	}()
	if !opts.ReadOnly {
		// Checked again, because acquiring the connection may have taken a while.
		if err := r.mayWrite("begin"); err != nil {
			return err
		}
	}
	if err := where.check(conn.Conn); err != nil {
		return err
	}
	if m.action == commitResolve {
		committed, err := t.resolve(ctx, m)
		if committed || err != nil {
			return err
		}
	}
	if err := t.hold.run(work, t); err != nil {
		// The caller may use the rows it has read, but their position is unknown, because it
		// would have come with the COMMIT.
		if session := sessionOf(ctx); session != nil && t.begun && r.replicas.expected {
			session.markUnknownOn(where)
		}
		return err
	}
	return nil
}

// resolve finds out whether the transaction whose COMMIT got no answer has committed. If it
// has, this transaction is over. Otherwise this one now holds the marker and continues.
func (t *txConn) resolve(ctx context.Context, m *marker) (committed bool, err error) {
	t.marked = true
	switch err = t.putMarker(ctx); {
	case err == nil:
		m.on(markerPut)
		return false, nil
	case m.markers.taken(err):
		m.on(markerTaken)
		t.learnCommitted(ctx)
		return true, nil
	}
	return false, err
}

// learnCommitted advances the session of the context past the writes of the earlier run.
func (t *txConn) learnCommitted(ctx context.Context) {
	session, histories := sessionOf(ctx), t.router.replicas.histories
	if session == nil || !t.router.replicas.expected {
		return
	}
	// Reuse this connection: acquiring a second one while holding one can deadlock the
	// pool.
	bounded, cancel := context.WithTimeout(ctx, t.router.cfg.QueryTimeout)
	defer cancel()
	taken, lost := t.hold.take()
	if lost != nil {
		session.learn(failedRow{lost}, route{}, session.currentEpoch(), histories)
		return
	}
	defer t.hold.release(taken)
	_, _ = t.conn.Exec(bounded, "rollback")
	session.learn(t.conn.QueryRow(bounded, pointOfPrimary), route{}, session.currentEpoch(), histories)
}

// bar is called after a run that held the marker has failed with err. It commits the marker
// in a separate transaction, so that an earlier run that is still in flight is rejected. If
// the earlier run has already committed, bar returns nil.
func (r *Router) bar(ctx context.Context, m *marker, err error) error {
	switch _, refused := r.Exec(ctx, m.markers.create.SQL, m.value()); {
	case refused == nil:
		m.on(markerPut)
	case m.markers.taken(refused):
		m.on(markerTaken)
		return nil
	default:
		// A marker that was stored cannot be distinguished from the earlier run's own.
		m.lost = errors.Join(m.lost, err)
		m.on(markerUnknown)
	}
	return err
}

// confirm returns when a later transaction has committed. The COMMIT in doubt may have been
// ended while it waited for a synchronous standby, with its session or with the server. It
// then took effect on the primary alone. Once this later COMMIT is on the standby, so is
// that one.
func (r *Router) confirm(ctx context.Context, m *marker, try *tries) error {
	for {
		_, err := r.Exec(ctx, m.markers.create.SQL, uuidAt(time.Now())) // harmless to repeat, because each has a new id
		if err == nil {
			return nil
		}
		if !try.resolve(ctx) {
			return fmt.Errorf("%w; it was committed on the primary, but not confirmed after that: %v", m.lost, err)
		}
	}
}

// readBack reads the stored rows of a transaction whose answer was lost.
func (r *Router) readBack(ctx context.Context, opts TxOptions) error {
	err := r.inTx(ctx, TxOptions{}, func(db DBTX) error {
		// This transaction must write something, and a marker is enough. The lost COMMIT
		// may have been cancelled while it waited for a synchronous standby. Once this
		// later COMMIT is on the standby, so is that one.
		db.(*tx).mark()
		return opts.ReadBack(db)
	})
	if err != nil {
		return fmt.Errorf("%w; what it stored could not be read back: %w", ErrCommitted, err)
	}
	return nil
}

// taken reports whether err says that a transaction with this marker has committed.
func (m *markers) taken(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == pgerrcode.UniqueViolation && e.Constraint == m.key
}

// worthRepeating reports whether a transaction that ended with err and did not commit may
// succeed if it runs again.
func worthRepeating(err error) bool {
	var e *Error
	if !errors.As(err, &e) || errors.Is(err, errLead) {
		return false
	}
	return e.Kind == ErrSerialization || e.Kind == ErrUnavailable || e.Code == pgerrcode.LockNotAvailable
}

// reasonOf returns why a transaction was repeated, for metrics.
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

// uuidAt returns a new UUID of version 7 (RFC 9562): the time in milliseconds and 74 random
// bits.
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
