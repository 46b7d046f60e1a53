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

const (
	positionOfReplica = "SELECT pg_is_in_recovery(), (COALESCE(pg_last_wal_replay_lsn(), '0/0') - '0/0')::bigint"
	positionOfPrimary = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"

	// seenOnReplica is how far a read on a replica may have seen: all that has
	// been received, because a commit is visible a moment before it counts as
	// replayed.
	seenOnReplica = "SELECT (GREATEST(pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn(), '0/0') - '0/0')::bigint"
)

// Why a statement that may run on a replica ran on the primary.
const (
	reasonNone       = ""
	reasonNoReplica  = "no_replica"  // none answers
	reasonLag        = "lag"         // all that answer are behind REPLICA_MAX_LAG
	reasonToken      = "token"       // none has replayed what the caller has seen
	reasonFailed     = "failed"      // the replica it was sent to failed
	reasonUnsureSeen = "unsure_seen" // what the caller has seen is not known
)

// replica is a server that replays what the primary writes.
type replica struct {
	name     string // host:port, for metrics and logs
	pool     *pgxpool.Pool
	inFlight atomic.Int64
	position atomic.Uint64 // replayed so far, at the last look
	lookedAt atomic.Int64  // when that was, in nanoseconds since start

	mu    sync.Mutex
	alive context.Context // ends when the replica goes
	died  context.CancelFunc
}

// replicas are the read side of a Router.
type replicas struct {
	all    []*replica
	maxLag time.Duration
	start  time.Time
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu      sync.RWMutex
	written []sample // the primary's position over the last maxLag, oldest first
}

type sample struct {
	at       time.Duration // since start
	position lsn
}

func (rs *replicas) add(pool *pgxpool.Pool) {
	c := pool.Config().ConnConfig
	address := fmt.Sprintf("%s:%d", c.Host, c.Port)
	name := address
	for n := 2; slices.ContainsFunc(rs.all, func(r *replica) bool { return r.name == name }); n++ {
		name = fmt.Sprintf("%s#%d", address, n) // two metrics of one name are a panic
	}
	rs.all = append(rs.all, &replica{name: name, pool: pool})
}

// watch starts looking at the primary and the replicas.
func (rs *replicas) watch(primary *pgxpool.Pool) {
	if len(rs.all) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	rs.stop = cancel
	rs.done.Go(func() { rs.watchPrimary(ctx, primary) })
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

// watchPrimary keeps where the primary was over the time that a replica may
// lag behind it. An idle primary stays where it is, so that no replica seems
// late because nothing happens.
func (rs *replicas) watchPrimary(ctx context.Context, pool *pgxpool.Pool) {
	for pause(ctx, primaryPoll) {
		look, cancel := context.WithTimeout(ctx, time.Second)
		var at int64
		asked := time.Since(rs.start)
		err := pool.QueryRow(look, positionOfPrimary).Scan(&at)
		cancel()
		if err != nil {
			continue
		}
		rs.mu.Lock()
		rs.written = append(rs.written, sample{asked, lsn(at)})
		// The newest sample that is older than the limit is the one to be past.
		for len(rs.written) > 1 && asked-rs.written[1].at >= rs.maxLag {
			rs.written = slices.Delete(rs.written, 0, 1)
		}
		rs.mu.Unlock()
	}
}

// watchReplica keeps the replica's position. It looks through a connection of
// its own, so that a busy pool does not make a replica seem gone.
func (rs *replicas) watchReplica(ctx context.Context, r *replica) {
	for ctx.Err() == nil {
		rs.follow(ctx, r)
		r.gone()
		pause(ctx, replicaRetry)
	}
}

// follow looks at the replica until it does not answer.
func (rs *replicas) follow(ctx context.Context, r *replica) {
	connecting, cancel := context.WithTimeout(ctx, 5*time.Second)
	pooled, err := r.pool.Acquire(connecting)
	cancel()
	if err != nil {
		return
	}
	conn := pooled.Hijack()
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn.Close(closing)
	}()
	for {
		look, cancel := context.WithTimeout(ctx, replicaSilence)
		var standby bool
		var at int64
		err := conn.QueryRow(look, positionOfReplica).Scan(&standby, &at)
		cancel()
		// A replica that was promoted has a history of its own from then on.
		if err != nil || !standby {
			return
		}
		r.position.Store(uint64(at))
		r.lookedAt.Store(int64(time.Since(rs.start)))
		r.here()
		if !pause(ctx, replicaPoll) {
			return
		}
	}
}

// here lets reads wait for the replica.
func (r *replica) here() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alive == nil {
		r.alive, r.died = context.WithCancel(context.Background())
	}
}

// gone ends every read that waits for the replica; they run on the primary.
func (r *replica) gone() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alive != nil {
		r.died()
		r.alive, r.died = nil, nil
	}
}

// living returns the context that ends when the replica goes, or nil when it
// is gone.
func (r *replica) living() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alive
}

// pick returns a replica that may answer a read of the session, or why there
// is none. Of two chosen by lot it takes the one with less to do.
func (rs *replicas) pick(s *Session) (*replica, string) {
	if s != nil && s.blind() {
		return nil, reasonUnsureSeen
	}
	var seen lsn
	if s != nil {
		seen = lsn(s.seen.Load())
	}
	now := time.Since(rs.start)
	rs.mu.RLock()
	var least lsn
	if len(rs.written) > 0 && now-rs.written[0].at >= rs.maxLag {
		least = rs.written[0].position
	}
	rs.mu.RUnlock()

	reason := reasonNoReplica
	var fit []*replica
	for _, r := range rs.all {
		position := lsn(r.position.Load())
		switch {
		case !rs.usable(r):
		case position < least:
			reason = reasonLag
		case position < seen:
			reason = reasonToken
		default:
			fit = append(fit, r)
		}
	}
	switch len(fit) {
	case 0:
		return nil, reason
	case 1:
		return fit[0], reasonNone
	}
	i := rand.IntN(len(fit))
	j := rand.IntN(len(fit) - 1)
	if j >= i {
		j++
	}
	if fit[j].inFlight.Load() < fit[i].inFlight.Load() {
		i = j
	}
	return fit[i], reasonNone
}

// usable reports whether the replica answers its looks.
func (rs *replicas) usable(r *replica) bool {
	return r.living() != nil && time.Since(rs.start)-time.Duration(r.lookedAt.Load()) <= replicaSilence
}

// lag returns how long ago the primary was where the replica is. What is older
// than the samples are counts as their age.
func (rs *replicas) lag(r *replica) time.Duration {
	position := lsn(r.position.Load())
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	for _, s := range rs.written {
		if s.position > position {
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
