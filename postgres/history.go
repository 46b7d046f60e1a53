package postgres

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// lsn is a position in the write-ahead log: bytes since its beginning. Two of
// them are comparable only within one history.
type lsn uint64

// history names one run of a primary. A timeline alone does not: two standbys
// that are promoted apart both get the next one.
type history struct {
	timeline uint32
	started  int64 // pg_postmaster_start_time() in microseconds since 1970
}

// point is a position in a history.
type point struct {
	history
	at lsn
}

// The server's own history, in SQL. Its parts come from the server in the
// statement that needs them, never from us, so that a statement which arrives
// late or at another server can only tell the truth about that server.
const (
	sqlTimeline = "('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint"
	sqlStarted  = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"
)

const (
	// pointOfPrimary asks the primary where its log is, and in which history.
	pointOfPrimary = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, " + sqlTimeline + ", " + sqlStarted

	// seenOnReplica is how far a read on a replica may have seen: all that has
	// been received, because a commit is visible a moment before it counts as
	// replayed. All transactions that it may have seen are older than the second
	// column: see lead.
	seenOnReplica = "SELECT (GREATEST(pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn(), '0/0') - '0/0')::bigint, " +
		"pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
)

// histories knows which history the primary has. Replicas answer only while
// they show that they have it too: see replica.go.
type histories struct {
	observer *observer

	// system is the primary's system identifier, 0 until it is known.
	system atomic.Int64

	now   atomic.Pointer[era]   // nil until the primary was asked
	ended atomic.Pointer[ended] // nil until the watcher has looked

	mu    sync.Mutex
	known map[history]bool
}

// era is the current history, and which beat of its row a replica must have.
type era struct {
	history
	beat int64

	// behind is set while the primary that answers is on a lower timeline: it was
	// demoted and does not know, or the pool was led back to it. What it stores
	// no replica of the current history has.
	behind bool
}

// current returns the era, and false while no replica can be used.
func (hs *histories) current() (era, bool) {
	e := hs.now.Load()
	if e == nil {
		return era{}, false
	}
	return *e, !e.behind
}

// reportedByStatement is called with the history that came with a statement's position. One
// that was never heard of becomes current at once, so that every replica is out
// before the caller has its answer. One that is known is late, because the
// connection that brought it is older than the current history.
func (hs *histories) reportedByStatement(h history) {
	if e := hs.now.Load(); e != nil && e.history == h {
		return
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if !hs.known[h] {
		hs.switchTo(h)
	}
}

// reportedByServer is called with the history of the server that the primary's pool leads
// to now: of a new connection, or of the watcher's look.
func (hs *histories) reportedByServer(h history) {
	if e := hs.now.Load(); e != nil && e.history == h && !e.behind {
		return
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.switchTo(h)
}

// switchTo makes h current, unless its timeline is lower than the current one.
// hs.mu is held.
func (hs *histories) switchTo(h history) {
	if hs.known == nil {
		hs.known = map[history]bool{}
	}
	hs.known[h] = true
	old := hs.now.Load()
	switch {
	case old == nil:
		hs.now.Store(&era{history: h})
	case h == old.history:
		hs.now.Store(&era{history: h, beat: old.beat})
	case h.timeline < old.timeline:
		if !old.behind {
			hs.now.Store(&era{history: old.history, beat: old.beat, behind: true})
			hs.observer.primaryBehind(old.history, h)
		}
	default:
		hs.now.Store(&era{history: h})
		hs.observer.primaryChanged(old.history, h)
	}
}

// expect makes replicas show at least the given beat of h.
func (hs *histories) expect(h history, beat int64) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if e := hs.now.Load(); e != nil && e.history == h && e.beat < beat {
		hs.now.Store(&era{history: h, beat: beat, behind: e.behind})
	}
}

// meetPrimary learns a new primary's history before anything is read or written
// there, and so before the next look of the watcher. A server that does not answer
// has other troubles, which the next statement meets. A server that refuses the
// look is asked for its history by the watcher.
func (hs *histories) meetPrimary(ctx context.Context, conn *pgx.Conn) {
	s := serverOf(conn.PgConn())
	if s == (serverState{}) {
		var err error
		if s, err = lookWithin(ctx, conn.PgConn()); err != nil {
			return
		}
	}
	if s.timeline > 0 {
		hs.system.Store(s.system)
		hs.reportedByServer(s.history())
	}
}

// meetReplica notes which server a connection leads to: behind one address
// there may be several, and only one of them is looked at.
func meetReplica(ctx context.Context, conn *pgx.Conn) {
	if s, err := lookWithin(ctx, conn.PgConn()); err == nil {
		conn.PgConn().CustomData()[stateKey] = s
	}
}

// startedAt is when the history's server was started.
func (h history) startedAt() time.Time { return time.UnixMicro(h.started).UTC() }
