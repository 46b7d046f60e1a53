package postgres

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// lsn is a position in the write-ahead log, in bytes since its beginning. Two positions can
// be compared only within one history.
type lsn uint64

// history identifies one run of a primary. The timeline is not enough, because two standbys
// that are promoted separately get the same one.
type history struct {
	timeline uint32
	started  int64 // pg_postmaster_start_time() in microseconds since 1970
}

// point is a position in a history.
type point struct {
	history
	at lsn
}

// The server's own history, in SQL. Its parts come from the server that executes the
// statement, never from the client. A statement that arrives late or at another server can
// therefore only return the truth about that server.
const (
	sqlTimeline = "('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint"
	sqlStarted  = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"
)

const (
	// pointOfPrimary queries the primary's WAL position and history.
	pointOfPrimary = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, " + sqlTimeline + ", " + sqlStarted

	// seenOnReplica queries how far a read on a replica may have seen. That is everything
	// received, because a commit becomes visible a moment before it counts as replayed. All
	// transactions that the read may have seen are older than the second column (see lead).
	seenOnReplica = "SELECT (GREATEST(pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn(), '0/0') - '0/0')::bigint, " +
		"pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
)

// histories tracks the primary's history. Replicas are used only while they show the same
// one (see replica.go).
type histories struct {
	observer *observer

	// system is the primary's system identifier, or 0 until it is known.
	system atomic.Int64

	now   atomic.Pointer[era]   // nil until the primary has answered
	ended atomic.Pointer[ended] // nil until the watcher has checked

	mu    sync.Mutex
	known map[history]bool
}

// era is the current history, and the least beat (heartbeat number) of its row that a replica
// must show.
type era struct {
	history
	beat int64

	// behind is set while the primary that answers is on a lower timeline. It was demoted
	// without noticing, or the pool was directed back to it. No replica of the current
	// history has its writes.
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

// reportedByStatement is called with the history that came with a statement's position. A new
// history becomes current immediately, so all replicas are unused before the caller gets its
// answer. A known history other than the current one is outdated, because it came through a
// connection that is older than the current history.
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

// reportedByServer is called with the history of the server that the primary's pool is
// directed to now, by a new connection or the watcher's check.
func (hs *histories) reportedByServer(h history) {
	if e := hs.now.Load(); e != nil && e.history == h && !e.behind {
		return
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.switchTo(h)
}

// switchTo makes h current, unless its timeline is lower than the current one. hs.mu must
// be held.
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

// expect requires replicas to show at least the given beat of h.
func (hs *histories) expect(h history, beat int64) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if e := hs.now.Load(); e != nil && e.history == h && e.beat < beat {
		hs.now.Store(&era{history: h, beat: beat, behind: e.behind})
	}
}

// meetPrimary learns a new primary's history before the connection is used, and so before
// the watcher's next check. If the server does not answer, the next statement returns the
// error. If the server rejects the check, the watcher queries its history.
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

// meetReplica records which server a connection leads to. An address may lead to several
// servers, of which only one is checked.
func meetReplica(ctx context.Context, conn *pgx.Conn) {
	if s, err := lookWithin(ctx, conn.PgConn()); err == nil {
		conn.PgConn().CustomData()[stateKey] = s
	}
}

// startedAt returns when the history's server was started.
func (h history) startedAt() time.Time { return time.UnixMicro(h.started).UTC() }
