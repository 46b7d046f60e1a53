package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgtype"
)

// inTx runs fn in transactions of its own until the outcome is known.
func (r *Router) inTx(ctx context.Context, opts TxOptions, fn func(tx DBTX) error) error {
	m := &marker{of: r.markers}
	where := route{}
	if opts.ReadOnly && opts.Replica {
		where = r.choose(ctx)
	}
	try := tries{start: time.Now()}
	for {
		err := r.tryTx(ctx, opts, where, m, fn)
		switch {
		case err == nil:
			return nil
		case m.lost != nil:
			// Attempts do not count: to give up would leave the caller with the
			// question.
			if !m.usable(opts) || !try.settle(ctx) {
				r.observer.settled("unknown")
				return errors.Join(m.lost, ctx.Err())
			}
			r.observer.retry("commit", "settle")
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

// tryTx runs fn in one transaction. When an earlier one lost the answer to its
// COMMIT, it first puts the same marker: the unique index waits for an earlier
// one that still runs, and refuses the marker of one that committed.
func (r *Router) tryTx(ctx context.Context, opts TxOptions, where route, m *marker, fn func(tx DBTX) error) error {
	pool := r.primary
	if where.replica != nil {
		pool = where.replica.pool
	}
	conn, err := r.acquire(ctx, pool, "begin")
	if err != nil {
		return err
	}
	t := &tx{txConn: &txConn{router: r, conn: conn, where: where, opts: opts, marker: m, pending: []string{opts.begin()}}}
	// Deferred, so that a panic and a test's FailNow roll back too. Behind a
	// COMMIT it does nothing.
	defer func() {
		t.ended = true
		giveBack(ctx, conn)
	}()
	if m.lost != nil {
		committed, err := t.settle(ctx, m)
		if committed || err != nil {
			return err
		}
	}
	if err := fn(t); err != nil {
		return err
	}
	err = t.commit(ctx)
	if errors.Is(err, ErrCommitUnknown) {
		m.lost = err
	}
	return err
}

// settle finds out whether the transaction whose COMMIT got no answer has
// committed: then this one is over, else it holds the marker and goes on.
func (t *txConn) settle(ctx context.Context, m *marker) (bool, error) {
	t.marked = true
	err := t.putMarker(ctx)
	var e *Error
	switch {
	case err == nil:
		m.lost = nil
		t.router.observer.settled("aborted")
		return false, nil
	case errors.As(err, &e) && e.Code == pgerrcode.UniqueViolation && e.Constraint == markerKey:
		m.lost = nil
		t.router.observer.settled("committed")
		if session := sessionOf(ctx); session != nil && len(t.router.replicas.all) > 0 {
			// On this connection: who asks for another one while holding one
			// waits for ever when all do.
			bounded, cancel := context.WithTimeout(ctx, t.router.cfg.QueryTimeout)
			defer cancel()
			_, _ = t.conn.Exec(bounded, "rollback")
			session.learn(t.conn.QueryRow(bounded, positionOfPrimary), true, session.blinded.Load())
		}
		return true, nil
	}
	return false, err
}

// worthRepeating reports whether a transaction that ended with err, and
// certainly did not commit, may succeed when it is run again.
func worthRepeating(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
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

// markerKey is the constraint that refuses a second transaction with the same
// marker.
const markerKey = "commit_markers_pkey"

// The statements that keep the markers, by their names in queries/.
const (
	createMarker  = "CreateCommitMarker"
	deleteMarkers = "DeleteCommitMarkers"
)

// marker identifies one call of InTx, however often it runs.
type marker struct {
	of   *markers
	id   pgtype.UUID
	lost error // of the COMMIT that got no answer, until that is settled
}

// usable reports whether a transaction with these options leaves its marker.
func (m *marker) usable(opts TxOptions) bool {
	return m.of.create != nil && !opts.NoMarker && !opts.ReadOnly
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

const (
	// markerAge is how long a marker stays: far longer than any transaction is
	// repeated.
	markerAge = time.Hour

	// markerSweep is the pause between two sweeps, and markerBatch how many go
	// in one statement.
	markerSweep = time.Minute
	markerBatch = 10_000
)

// markers are the statements that keep commit_markers, and their sweep. Both
// are nil where the registry has none: a lost COMMIT is then ErrCommitUnknown.
type markers struct {
	create, sweep *Statement
	cancel        context.CancelFunc
	done          chan struct{}
}

func newMarkers(statements map[string]*Statement) *markers {
	m := &markers{}
	for _, s := range statements {
		switch s.Name {
		case createMarker:
			m.create = s
		case deleteMarkers:
			m.sweep = s
		}
	}
	return m
}

// start sweeps old markers in the background.
func (m *markers) start(r *Router) {
	if m.sweep == nil {
		return
	}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	m.done = make(chan struct{})
	go func() {
		defer close(m.done)
		// Jitter, so that many processes do not sweep at once.
		for pause(ctx, markerSweep/2+mathrand.N(markerSweep)) {
			if err := r.sweepMarkers(ctx, time.Now().Add(-markerAge)); err != nil && ctx.Err() == nil {
				r.cfg.Logger.WarnContext(ctx, "commit markers could not be swept", "error", err)
			}
		}
	}()
}

func (m *markers) stop() {
	if m.cancel != nil {
		m.cancel()
		<-m.done
	}
}

func (r *Router) sweepMarkers(ctx context.Context, before time.Time) error {
	bound := uuidAt(before)
	for {
		tag, err := r.Exec(ctx, r.markers.sweep.SQL, bound, markerBatch)
		if err != nil {
			return fmt.Errorf("sweep commit markers: %w", err)
		}
		if tag.RowsAffected() < markerBatch {
			return nil
		}
	}
}
