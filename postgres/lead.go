package postgres

import (
	"context"
	"errors"
	"math"
	"time"
)

// A replica can show a commit before the primary does. The primary flushes the COMMIT record,
// and WAL senders send it from then on. The primary then waits for its synchronous standbys.
// Until that wait is over, the transaction still counts as running there, and snapshots do not
// show its effects. So a session that has read from a replica leads the primary until those
// transactions have ended there. WAL positions do not show this, because the primary's position
// is past the COMMIT record all the time.

const (
	// leadPause and leadMaxPause are the pauses between two checks of the primary's running
	// transactions. Without synchronous standbys, a COMMIT takes a few microseconds from
	// its flush to its end.
	leadPause    = 500 * time.Microsecond
	leadMaxPause = 10 * time.Millisecond

	// leadPatience is how long a running transaction is assumed to be a COMMIT that is about to
	// end, if no replica can tell and there are no synchronous standbys to wait for. On a
	// machine with two cores and a load of 18 it took 64 ms.
	leadPatience = time.Second

	// leadAsked is how many transactions one query to a replica may contain.
	leadAsked = 1000
)

// lead describes the commits that a session has seen on replicas and that the primary may
// not show yet. The zero value means none.
type lead struct {
	history
	next uint64 // transaction ID; all transactions that were seen are older
	lost uint64 // reads on a replica whose transaction ID was lost
}

func (l lead) open() bool { return l.next > 0 || l.lost > 0 }

// mergeLead adds the lead of a read on a replica to the session's.
func (s *Session) mergeLead(l lead) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case l.history == s.lead.history:
		s.lead.next = max(s.lead.next, l.next)
		s.lead.lost += l.lost
	case l.open() && l.timeline >= s.lead.timeline:
		s.lead = l
	}
}

// currentLead returns the session's lead over the primary.
func (s *Session) currentLead() lead {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lead
}

// clearLead records that the primary shows all of l.
func (s *Session) clearLead(l lead) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lead.history != l.history {
		return
	}
	if s.lead.next <= l.next {
		s.lead.next = 0
	}
	if s.lead.lost == l.lost {
		s.lead.lost = 0
	}
}

// mark encodes the lead for a token as one number. An unknown lead is the greatest number.
func (l lead) mark() uint64 {
	if l.lost > 0 {
		return math.MaxUint64
	}
	return l.next
}

func leadOf(h history, mark uint64) lead {
	if mark == math.MaxUint64 {
		return lead{history: h, lost: 1}
	}
	return lead{history: h, next: mark}
}

// ended records that all transactions of a history before a given one have ended.
type ended struct {
	history
	before uint64
}

// shows reports whether the primary is known to show all of l, without a query. A primary with
// another history shows it, because a server that starts has no running transactions.
func (hs *histories) shows(l lead) bool {
	if !l.open() {
		return true
	}
	if now := hs.now.Load(); now != nil && now.history != l.history {
		return true
	}
	e := hs.ended.Load()
	return e != nil && l.lost == 0 && e.history == l.history && l.next <= e.before
}

// lookAtRunning queries the primary's running transactions. The list contains only transactions
// before the end of the snapshot, because no transaction from there on has ended. age() counts
// from the next transaction ID.
const lookAtRunning = `-- name: LookAtRunning :one
SELECT pg_snapshot_xmax(s)::text::bigint, ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(s) x),
       age('3'::xid), current_setting('synchronous_standby_names') <> ''
FROM pg_current_snapshot() s`

// running is its result.
type running struct {
	end         int64   // no transaction from this one on has ended
	before      []int64 // running transactions before the end
	next        uint64
	synchronous bool // a COMMIT may wait for standbys
}

func lookAtRunningOn(ctx context.Context, conn rowQuerier) (r running, err error) {
	var age int32
	err = conn.QueryRow(ctx, lookAtRunning).Scan(&r.end, &r.before, &age, &r.synchronous)
	// age counts from transaction 3, in 32 bits. The next transaction ID is not before the
	// end.
	r.next = uint64(r.end) + uint64(uint32(age)+3-uint32(r.end))
	return r, err
}

// olderThan returns the transactions before next that may be running. There may be more
// than leadAsked of them, in which case the list is incomplete.
func (r running) olderThan(next uint64) []int64 {
	var xids []int64
	for _, x := range r.before {
		if uint64(x) < next {
			xids = append(xids, x)
		}
	}
	for x := r.end; uint64(x) < next && len(xids) <= leadAsked; x++ {
		xids = append(xids, x)
	}
	return xids
}

// errLead: a COMMIT that a replica has shown does not end on the primary.
var errLead = &Error{Kind: ErrUnavailable, Err: errors.New(
	"the primary does not show yet what the caller has read from a replica, because a COMMIT is waiting: " +
		"check that the synchronous standbys are connected (pg_stat_replication)")}

// errReplicaHasIt ends a read's wait for the primary, because a replica can answer it now.
var errReplicaHasIt = &Error{Kind: ErrUnavailable, Err: errors.New("a replica has the rows that the caller has read")}

// leads reports whether the session of a connection to the primary may have seen more on
// replicas than the primary shows. Then follow must be called.
func (q request) leads() bool {
	return q.where.replica == nil && q.session != nil && q.session.currentLead().open()
}

// follow returns a connection to a primary that shows everything the session has seen on
// replicas. If the primary of conn already does, it returns conn.
func (r *Router) follow(ctx context.Context, q request, conn lease) (_ lease, err error) {
	seen := q.session.currentLead()
	if !r.replicas.histories.shows(seen) {
		if conn, err = r.awaitLead(ctx, q, seen, conn); err != nil {
			return lease{}, wrap(q.name, err)
		}
	}
	q.session.clearLead(seen)
	return conn, nil
}

// leads reports whether the session may have seen something that the primary does not show
// yet.
func (r *Router) leads(s *Session) bool {
	return s != nil && !r.replicas.histories.shows(s.currentLead())
}

// awaitLead waits until the primary shows everything that was seen, and returns a
// connection to it. It releases its connection while it waits, because a COMMIT may take
// minutes.
func (r *Router) awaitLead(ctx context.Context, q request, seen lead, conn lease) (lease, error) {
	next, began := seen.next, time.Now()
	for wait := leadPause; ; wait = min(2*wait, leadMaxPause) {
		now, err := lookAtRunningOn(ctx, conn.Conn)
		if err != nil {
			conn.release()
			return lease{}, lateLead(ctx, wait, err)
		}
		if seen.lost > 0 {
			next, seen.lost = now.next, 0
		}
		xids := now.olderThan(next)
		if len(xids) == 0 {
			return conn, nil
		}
		conn.release()
		waited := time.Since(began)
		switch committed, known := r.replicas.committed(ctx, q.session, xids); {
		case known && !committed, !known && !now.synchronous && waited >= leadPatience:
			return r.take(ctx, q.now())
		case waited >= r.cfg.AcquireTimeout:
			return lease{}, errLead
		}
		if !pause(ctx, wait) {
			return lease{}, lateLead(ctx, 2*wait, ctx.Err())
		}
		if q.where.reason != reasonNone && q.where.reason != reasonFailed && r.choose(q.session).replica != nil {
			return lease{}, errReplicaHasIt
		}
		if conn, err = r.take(ctx, q.now()); err != nil {
			return lease{}, lateLead(ctx, 2*wait, err)
		}
	}
}

// lateLead returns errLead if a statement's time was up while it waited for the primary. If
// wait is still leadPause, the statement has not waited yet, and lateLead returns err.
func lateLead(ctx context.Context, wait time.Duration, err error) error {
	if wait > leadPause && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errLead
	}
	return err
}

// committedOnReplica queries whether one of the transactions has committed, as far as the
// replica has replayed. pg_xact_status is NULL for a transaction that is too old, but a
// transaction that is running on the primary never is.
const committedOnReplica = `-- name: CommittedOnReplica :one
SELECT NOT coalesce(bool_and(pg_xact_status(x::text::xid8) <> 'committed'), true) FROM unnest($1::bigint[]) x`

// committed reports whether one of the transactions has committed, according to a replica
// that has replayed everything the session has seen. If none has, the session has seen none
// of them, and they are running for another reason. If there is no such replica, known is
// false.
func (rs *replicas) committed(ctx context.Context, s *Session, xids []int64) (committed, known bool) {
	now, ok := rs.histories.current()
	seen, unknown := s.state()
	if !ok || unknown || seen.history != now.history || len(xids) > leadAsked {
		return false, false
	}
	for _, r := range rs.list() {
		v, problem := rs.usable(r, now)
		if problem != reasonNone || v.at.at < seen.at {
			continue
		}
		w := route{replica: r, history: now.history, server: v.server}
		if err := w.ask(ctx, committedOnReplica, xids, &committed); err == nil {
			return committed, true
		}
	}
	return false, false
}
