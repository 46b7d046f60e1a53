package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// replicaPoll is the pause between two looks at a replica's position. A
	// position can only be too old, which sends a read to the primary and is
	// never wrong; at 2 ms, half of the reads that follow a write at once are
	// back on replicas.
	replicaPoll = 2 * time.Millisecond

	// replicaSilence is how long a replica may not have answered a look before
	// it counts as gone. Reads that wait for it then run on the primary.
	replicaSilence = 50 * time.Millisecond

	// replicaRetry is the pause before a replica that is gone is tried again.
	replicaRetry = 200 * time.Millisecond

	// primaryPoll is the pause between two looks at the primary's position,
	// against which the replicas' lag is measured.
	primaryPoll = 100 * time.Millisecond
)

// Why a statement that may run on a replica ran on the primary.
const (
	reasonNone            = ""
	reasonNoReplica       = "no_replica"       // none answers
	reasonHistory         = "history"          // none that answers shows the primary's history
	reasonLag             = "lag"              // all of those are behind REPLICA_MAX_LAG
	reasonToken           = "token"            // none has replayed what the caller has seen
	reasonFailed          = "failed"           // the replica it was sent to failed
	reasonPositionUnknown = "position_unknown" // what the caller has seen is not known
)

// replica is a server that replays what the primary writes.
type replica struct {
	name        string // host:port, for metrics and logs
	pool        *pgxpool.Pool
	classes     *bulkhead
	inFlight    atomic.Int64
	last        atomic.Pointer[verdict] // of the last look; nil before the first
	evidence    evidence                // of its watcher
	unusedSince time.Duration           // since when it is not used, 0 when it is; for its watcher
	logged      bool                    // and the log says so

	mu       sync.Mutex
	up       context.Context // ends when the replica goes
	cancelUp context.CancelFunc
}

// replicas are the read side of a Router.
type replicas struct {
	all       []*replica
	primary   *pgxpool.Pool
	histories *histories
	observer  *observer
	sql       historySQL
	maxLag    time.Duration
	start     time.Time
	stop      context.CancelFunc
	done      sync.WaitGroup

	// onHigherTimeline is called when something shows a higher timeline than the primary's:
	// there may be another primary.
	onHigherTimeline func()

	mu      sync.RWMutex
	current history
	written []sample // the primary's position in that history over the last maxLag, oldest first
}

type sample struct {
	at       time.Duration // since start
	position lsn
}

// add adds a replica, and returns its name in metrics and logs.
func (rs *replicas) add(pool *pgxpool.Pool, classes *bulkhead) string {
	c := pool.Config().ConnConfig
	address := fmt.Sprintf("%s:%d", c.Host, c.Port)
	name := address
	for n := 2; slices.ContainsFunc(rs.all, func(r *replica) bool { return r.name == name }); n++ {
		name = fmt.Sprintf("%s#%d", address, n) // two metrics of one name are a panic
	}
	rs.all = append(rs.all, &replica{name: name, pool: pool, classes: classes})
	return name
}

// watch starts looking at the primary and the replicas.
func (rs *replicas) watch() {
	if len(rs.all) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	rs.stop = cancel
	rs.done.Go(func() { rs.watchPrimary(ctx) })
	for _, r := range rs.all {
		rs.done.Go(func() { rs.watchReplica(ctx, r) })
	}
}

func (rs *replicas) close() {
	if rs.stop != nil {
		rs.stop()
		rs.done.Wait()
	}
	for _, r := range rs.all {
		r.pool.Close()
	}
}

// markUp lets reads wait for the replica.
func (r *replica) markUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up == nil {
		r.up, r.cancelUp = context.WithCancel(context.Background())
	}
}

// markDown ends every read that waits for the replica; they run on the primary.
func (r *replica) markDown() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up != nil {
		r.cancelUp()
		r.up, r.cancelUp = nil, nil
	}
}

// alive returns the context that ends when the replica goes, or nil when it
// is gone.
func (r *replica) alive() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up
}

// pick returns where a read of the session runs: on a replica that may answer
// it, or on the primary and why. Of two replicas chosen by lot it takes the one
// with less to do.
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
			// Its position means nothing here. Either the current history began
			// after it and holds all of it, or what it saw was lost, and the
			// primary does not have it either.
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
	for _, r := range rs.all {
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

// leastPosition is where in the history a replica must be at least: where the
// primary was maxLag ago.
func (rs *replicas) leastPosition(h history) lsn {
	now := time.Since(rs.start)
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	if rs.current == h && len(rs.written) > 0 && now-rs.written[0].at >= rs.maxLag {
		return rs.written[0].position
	}
	return 0
}

// usable returns the verdict on a replica that answers its looks and shows the
// current history and its beat, or why it is not used.
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

// up reports whether nothing is wrong with the replica: it is used, or it is
// the primary itself, which may be listed like every other node.
func (rs *replicas) up(r *replica) bool {
	now, ok := rs.histories.current()
	if v := r.last.Load(); v != nil && v.primary == now.history && v.primary.timeline > 0 {
		return r.alive() != nil
	}
	_, problem := rs.usable(r, now)
	return ok && problem == reasonNone
}

// lag returns how long ago the primary was where the replica is. What is older
// than the samples are counts as their age.
func (rs *replicas) lag(r *replica) time.Duration {
	v := r.last.Load()
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	if v != nil && v.primary == rs.current {
		return 0
	}
	var at lsn // of another history, it is behind all of this one
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

// pause waits and reports whether the context is still alive.
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

// noteProblem logs a problem that lasts, and its end. Only the replica's
// watcher calls it.
func (r *replica) noteProblem(rs *replicas, problem string) {
	now := time.Since(rs.start)
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
