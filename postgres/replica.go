package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// replicaPoll is the pause between two position checks of a replica. An outdated
	// position is never wrong, it only sends a read to the primary. With 2 ms, half of the
	// reads that directly follow a write are back on replicas.
	replicaPoll = 2 * time.Millisecond

	// replicaSilence is how long a replica may leave a check unanswered before it is marked
	// down. Reads that are waiting on it then run on the primary.
	replicaSilence = 50 * time.Millisecond

	// replicaRetry is the pause before a replica that is down is tried again.
	replicaRetry = 200 * time.Millisecond

	// primaryPoll is the pause between two position checks of the primary, which replica
	// lag is measured against.
	primaryPoll = 100 * time.Millisecond
)

// Why a statement that may run on a replica ran on the primary.
const (
	reasonNone            = ""
	reasonNoReplica       = "no_replica"       // no replica answers
	reasonHistory         = "history"          // no replica that answers shows the primary's history
	reasonLag             = "lag"              // all of those lag more than REPLICA_MAX_LAG
	reasonToken           = "token"            // none has replayed everything the caller has seen
	reasonFailed          = "failed"           // the replica that it was sent to failed
	reasonPositionUnknown = "position_unknown" // the caller's position is unknown
)

// replica is a server that replays the primary's log.
type replica struct {
	name        string // host:port, for metrics and logs
	address     string // host:port, which several names of one server share
	pool        *pgxpool.Pool
	classes     *bulkhead
	inFlight    atomic.Int64
	last        atomic.Pointer[verdict] // of the last check; nil before the first
	evidence    evidence                // used by its watcher only
	unusedSince time.Duration           // 0 while the replica is used; used by its watcher only
	logged      bool                    // the log says that it is not used
	problem     atomic.Pointer[string]  // why it is not used, at the last check; nil before the first
	forgotten   atomic.Bool             // discovery no longer lists it
	unwatch     context.CancelFunc      // ends its watcher; nil before it is watched

	mu       sync.Mutex
	up       context.Context // ends when the replica is marked down; nil while it is down
	cancelUp context.CancelFunc
}

// replicas are the read side of a Router.
type replicas struct {
	// expected is set if there are replicas, or discovery may find some. Sessions then remember
	// positions, even while there is no replica, because a replica that comes later may lack
	// what a session has seen before.
	expected bool

	all       atomic.Pointer[[]*replica] // replaced as a whole; see list
	primary   *pgxpool.Pool
	histories *histories
	observer  *observer
	sql       historySQL
	maxLag    time.Duration
	start     time.Time
	stop      context.CancelFunc
	done      sync.WaitGroup

	// onHigherTimeline is called if something shows a higher timeline than the primary's,
	// which means that there may be another primary.
	onHigherTimeline func()

	mu      sync.RWMutex
	current history
	written []sample // the primary's position in that history over the last maxLag, oldest first
}

type sample struct {
	at       time.Duration // since start
	position lsn
}

// list returns the replicas. The caller must not modify it.
func (rs *replicas) list() []*replica {
	if all := rs.all.Load(); all != nil {
		return *all
	}
	return nil
}

// add adds a replica. Calls of add and remove must not be concurrent.
func (rs *replicas) add(pool *pgxpool.Pool, classes *bulkhead) *replica {
	c := pool.Config().ConnConfig
	r := &replica{address: net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), pool: pool, classes: classes}
	address := fmt.Sprintf("%s:%d", c.Host, c.Port)
	r.name = address
	for n := 2; slices.ContainsFunc(rs.list(), func(x *replica) bool { return x.name == r.name }); n++ {
		r.name = fmt.Sprintf("%s#%d", address, n) // because two metrics with one name cause a panic
	}
	all := append(slices.Clone(rs.list()), r)
	rs.all.Store(&all)
	return r
}

// remove removes a replica. Reads that wait on it are repeated on the primary, as if it were
// down. Its pool is closed once the rows that are being read have ended.
func (rs *replicas) remove(r *replica) {
	all := slices.DeleteFunc(slices.Clone(rs.list()), func(x *replica) bool { return x == r })
	rs.all.Store(&all)
	r.forgotten.Store(true)
	r.unwatch()
}

// watch starts checking the primary and the replicas, and calls discover, if it is not nil, until
// the context ends.
func (rs *replicas) watch(discover func(context.Context)) {
	if !rs.expected {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	rs.stop = cancel
	rs.done.Go(func() { rs.watchPrimary(ctx) })
	for _, r := range rs.list() {
		rs.begin(ctx, r)
	}
	if discover != nil {
		rs.done.Go(func() { discover(ctx) })
	}
}

// begin starts checking a replica, until ctx ends or it is removed.
func (rs *replicas) begin(ctx context.Context, r *replica) {
	ctx, r.unwatch = context.WithCancel(ctx)
	rs.done.Go(func() {
		rs.watchReplica(ctx, r)
		r.pool.Close()
	})
}

func (rs *replicas) close() {
	if rs.stop != nil {
		rs.stop()
		rs.done.Wait()
	}
	for _, r := range rs.list() {
		r.pool.Close()
	}
}

// markUp allows reads to use the replica.
func (r *replica) markUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up == nil {
		r.up, r.cancelUp = context.WithCancel(context.Background())
	}
}

// markDown cancels all reads that are waiting on the replica. They are repeated on the
// primary.
func (r *replica) markDown() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up != nil {
		r.cancelUp()
		r.up, r.cancelUp = nil, nil
	}
}

// alive returns a context that ends when the replica is marked down, or nil if it is down.
func (r *replica) alive() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up
}

// pick returns the route of a read of the session: a replica, or the primary and the
// reason. Of two replicas chosen at random it takes the one with fewer statements in
// flight.
func (rs *replicas) pick(s *Session) route {
	now, ok := rs.histories.current()
	if !ok {
		return route{reason: reasonHistory}
	}
	var seen lsn
	if s != nil {
		p, unknown := s.state()
		switch {
		case unknown:
			return route{reason: reasonPositionUnknown}
		case p.history == now.history:
			seen = p.at
		case p.timeline < now.timeline:
			// The session's position is on an older timeline. Either the current history began
			// after that position and contains it, or the primary has lost it as well and could
			// not answer better than a replica.
		default:
			if p.timeline > now.timeline {
				rs.onHigherTimeline()
			}
			return route{reason: reasonToken}
		}
	}
	least := rs.leastPosition(now.history)

	reason := reasonNoReplica
	var fit []route
	for _, r := range rs.list() {
		v, problem := rs.usable(r, now)
		switch {
		case problem != reasonNone:
			if problem == reasonHistory && reason == reasonNoReplica {
				reason = reasonHistory
			}
		case v.at.at < least:
			reason = reasonLag
		case v.at.at < seen:
			reason = reasonToken
		default:
			fit = append(fit, route{replica: r, history: now.history, server: v.server})
		}
	}
	switch len(fit) {
	case 0:
		return route{reason: reason}
	case 1:
		return fit[0]
	}
	i := rand.IntN(len(fit))
	j := rand.IntN(len(fit) - 1)
	if j >= i {
		j++
	}
	if fit[j].replica.inFlight.Load() < fit[i].replica.inFlight.Load() {
		i = j
	}
	return fit[i]
}

// leastPosition returns the position in the history that a replica must have reached, which
// is the primary's position maxLag ago.
func (rs *replicas) leastPosition(h history) lsn {
	now := time.Since(rs.start)
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	if rs.current == h && len(rs.written) > 0 && now-rs.written[0].at >= rs.maxLag {
		return rs.written[0].position
	}
	return 0
}

// usable returns the verdict on a replica if the replica answers and shows the current
// history with its required beat. Otherwise it returns the reason why it is not used.
func (rs *replicas) usable(r *replica, now era) (*verdict, string) {
	v := r.last.Load()
	switch {
	case v == nil, r.alive() == nil, time.Since(rs.start)-v.looked > replicaSilence:
		return nil, reasonNoReplica
	case v.at.history != now.history, v.beat < now.beat:
		return nil, reasonHistory
	}
	return v, reasonNone
}

// up reports whether the replica is used, or is the primary itself. All nodes may be listed
// as replicas, including the primary.
func (rs *replicas) up(r *replica) bool {
	if rs.isPrimary(r) {
		return r.alive() != nil
	}
	now, ok := rs.histories.current()
	_, problem := rs.usable(r, now)
	return ok && problem == reasonNone
}

// isPrimary reports whether the replica was the primary at its last check.
func (rs *replicas) isPrimary(r *replica) bool {
	now, _ := rs.histories.current()
	v := r.last.Load()
	return v != nil && v.primary == now.history && v.primary.timeline > 0
}

// lag returns how long ago the primary was at the replica's position. If that is before the
// oldest sample, it returns the age of that sample.
func (rs *replicas) lag(r *replica) time.Duration {
	v := r.last.Load()
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	if v != nil && v.primary == rs.current {
		return 0
	}
	var at lsn // a position of another history counts as before every position of this one
	if v != nil && v.at.history == rs.current {
		at = v.at.at
	}
	for _, s := range rs.written {
		if s.position > at {
			return time.Since(rs.start) - s.at
		}
	}
	return 0
}

// pause waits for d. It returns false if the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// noteProblem logs a problem that lasts, and its end. Only the replica's watcher may call
// it.
func (r *replica) noteProblem(rs *replicas, problem string) {
	now := time.Since(rs.start)
	if before := r.problem.Load(); before == nil || *before != problem {
		r.problem.Store(&problem)
	}
	switch {
	case problem == "":
		if r.logged {
			rs.observer.logger.Info("replica is used again", "replica", r.name)
		}
		r.logged, r.unusedSince = false, 0
	case r.unusedSince == 0:
		r.unusedSince = now
	case !r.logged && now-r.unusedSince >= problemPatience:
		r.logged = true
		rs.observer.logger.Warn("replica is not used", "replica", r.name, "error", problem)
	}
}

// problemNow returns why the replica is not used, as of its last check.
func (r *replica) problemNow() string {
	problem := r.problem.Load()
	switch {
	case problem == nil:
		return "it has not been checked yet"
	case *problem == "":
		return "it has not answered since, or not in time"
	}
	return *problem
}

// timeline returns the timeline that the replica showed at its last check, or 0.
func (r *replica) timeline() int64 {
	v := r.last.Load()
	if v == nil {
		return 0
	}
	return int64(max(v.row.timeline, v.primary.timeline))
}
