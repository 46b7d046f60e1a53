package postgres

import (
	"context"
	"errors"
	"math"
	"time"
)

// A replica can show a commit before the primary does. The primary flushes the
// record of a COMMIT, from when on WAL senders send it, then waits for its
// synchronous standbys, and only then removes the transaction from the running
// ones, which its snapshots leave out. So a session that has read from a replica
// leads the primary until those transactions have ended there. Positions do not
// show it: the primary's is past the COMMIT all the time.

const (
	// leadPause and leadMaxPause are the pauses between two looks at what the
	// primary still runs. Without synchronous standbys a COMMIT takes a few
	// microseconds from its flush to its end.
	leadPause    = 500 * time.Microsecond
	leadMaxPause = 10 * time.Millisecond

	// leadPatience is how long a transaction that still runs may be a COMMIT that
	// its process is about to end, when no replica can say whether it is one and
	// there are no synchronous standbys to wait for. On a machine with two cores
	// and a load of 18 it took 64 ms.
	leadPatience = time.Second

	// leadAsked is how many transactions a replica is asked about at most.
	leadAsked = 1000
)

// lead is what a session has seen on replicas, and the primary may not show yet.
// The zero value is nothing.
type lead struct {
	history
	next uint64 // transaction: all that were seen are older
	lost uint64 // reads on a replica whose answer to that question was lost
}

func (l lead) open() bool { return l.next > 0 || l.lost > 0 }

// mergeLead merges what a replica has shown into what the session has seen there.
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

// currentLead is what the session has seen on replicas and not on the primary.
func (s *Session) currentLead() lead {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lead
}

// clearLead notes that the primary shows all of l.
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

// mark is the lead as a token carries it: one number, which is the greatest if
// it is not known.
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

// ended says that all transactions of a history before one have ended.
type ended struct {
	history
	before uint64
}

// shows reports whether the primary certainly shows all of l, as far as that is
// known without asking it. It does when it has another history, because a server
// that starts runs nothing.
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

// lookAtRunning asks the primary which transactions run. Those from the
// snapshot's end on are not in its list: none of them has ended. The next
// transaction is what age counts from.
const lookAtRunning = `-- name: LookAtRunning :one
SELECT pg_snapshot_xmax(s)::text::bigint, ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(s) x),
       age('3'::xid), current_setting('synchronous_standby_names') <> ''
FROM pg_current_snapshot() s`

// running is what it answered.
type running struct {
	end         int64   // none from here on has ended
	before      []int64 // those before the end that run
	next        uint64
	synchronous bool // a COMMIT may wait for standbys
}

func lookAtRunningOn(ctx context.Context, conn rowQuerier) (r running, err error) {
	var age int32
	err = conn.QueryRow(ctx, lookAtRunning).Scan(&r.end, &r.before, &age, &r.synchronous)
	// It is counted from transaction 3, in 32 bits, and no lower than the end.
	r.next = uint64(r.end) + uint64(uint32(age)+3-uint32(r.end))
	return r, err
}

// olderThan returns the transactions before next that may run, or more than
// leadAsked of them.
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

// errLead is met where a COMMIT that a replica has shown does not end.
var errLead = &Error{Kind: ErrUnavailable, Err: errors.New(
	"the primary does not show yet what the caller has read from a replica, because a COMMIT waits there: " +
		"look for a synchronous standby that is missing (pg_stat_replication)")}

// errReplicaHasIt ends the wait of a read for the primary, because by now a
// replica can answer it.
var errReplicaHasIt = &Error{Kind: ErrUnavailable, Err: errors.New("a replica has what the caller has read")}

// leads reports whether a connection to the primary is asked for by a session that may
// have seen on replicas what the primary does not show yet: follow is called then.
func (q request) leads() bool {
	return q.where.replica == nil && q.session != nil && q.session.currentLead().open()
}

// follow returns a connection to the primary that shows all that the session has
// seen on replicas: conn, if it does.
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

// leads reports whether the session may have seen what the primary does not show
// yet.
func (r *Router) leads(s *Session) bool {
	return s != nil && !r.replicas.histories.shows(s.currentLead())
}

// awaitLead waits until the primary shows what was seen, and returns a connection
// to it. It gives back the one that it got while it waits, because a COMMIT may
// wait for minutes.
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

// lateLead names what a statement waited for when its time was up. The first look,
// with the first pause to come, has not waited for anything yet.
func lateLead(ctx context.Context, wait time.Duration, err error) error {
	if wait > leadPause && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errLead
	}
	return err
}

// committedOnReplica asks whether one of the transactions has committed, as far as
// the replica has replayed. It has no answer where a transaction is too old to be
// known, which one that runs on the primary is not.
const committedOnReplica = `-- name: CommittedOnReplica :one
SELECT NOT coalesce(bool_and(pg_xact_status(x::text::xid8) <> 'committed'), true) FROM unnest($1::bigint[]) x`

// committed reports whether one of the transactions has committed, by a replica
// that has replayed all that the session has seen: if none has, the session has
// seen none of them, and they run for another reason. It is not known if there is
// no such replica.
func (rs *replicas) committed(ctx context.Context, s *Session, xids []int64) (committed, known bool) {
	now, ok := rs.histories.current()
	seen, unknown := s.state()
	if !ok || unknown || seen.history != now.history || len(xids) > leadAsked {
		return false, false
	}
	for _, r := range rs.all {
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
