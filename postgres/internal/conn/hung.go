package conn

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// hungLook is the pause between two looks at the COMMITs that were given up,
	// while there are any.
	hungLook = 250 * time.Millisecond

	// hungPatience is how long a COMMIT that was given up keeps its place while
	// the server cannot be asked about it: as long as a failover takes. A server
	// that is gone has no use for the place.
	hungPatience = 30 * time.Second

	// hungSlots is how many places of a pool such COMMITs leave to others. With
	// none left, they would stop the reads as well.
	hungSlots = 1
)

// hungCommits are the COMMITs of a pool whose callers have given up and that the
// server still works on: it cannot be asked to stop (see Shield), and it does
// not notice that its client has gone. Mostly they wait for a synchronous
// standby.
//
// Each keeps its place in the pool until the server has ended it. Otherwise the
// pool would open another connection in its stead, and another. When they are
// half of the pool, no further write begins: they would take the connections
// that are left from the reads, only to wait as well. So the server has
// at most hungSlots connections more than the pool, and the one that looks.
type hungCommits struct {
	pool *Pool

	mu      sync.Mutex
	commits map[*state]chan struct{} // closed when the place in the pool is free
	looking chan struct{}            // closed when looking is over; nil if there is nothing to look at
	closing chan struct{}            // closed with the pool

	count   atomic.Int32 // of commits
	standby atomic.Int32 // of those that wait for a synchronous standby
}

func newHungCommits(p *Pool) *hungCommits {
	return &hungCommits{pool: p, commits: map[*state]chan struct{}{}, closing: make(chan struct{})}
}

// add takes a COMMIT whose caller has given up.
func (h *hungCommits) add(s *state) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if isDone(h.closing) {
		return
	}
	place := make(chan struct{})
	if len(h.commits) >= int(h.pool.options.MaxConns)-hungSlots {
		close(place)
	} else {
		s.held.Store(true)
	}
	h.commits[s] = place
	h.count.Store(int32(len(h.commits)))
	if h.looking == nil {
		h.looking = make(chan struct{})
		go h.look(h.looking)
	}
}

// wait returns when the connection's place in the pool is free.
func (h *hungCommits) wait(s *state) {
	h.mu.Lock()
	place := h.commits[s]
	h.mu.Unlock()
	if place != nil {
		<-place
	}
}

// RefuseWrite returns why a write must not begin, or nil.
func (p *Pool) RefuseWrite() error {
	h := p.hung
	n := h.count.Load()
	if n == 0 || n < max(1, p.options.MaxConns/2) {
		return nil
	}
	if n := h.standby.Load(); n > 0 {
		return fmt.Errorf("%d COMMITs wait for a synchronous standby: start the standby, or take it out of synchronous_standby_names", n)
	}
	return fmt.Errorf("%d COMMITs got no answer and still run: look for what they wait for in pg_stat_activity", n)
}

// CommitsWaiting counts the COMMITs that were given up and still wait for a
// synchronous standby.
func (p *Pool) CommitsWaiting() int { return int(p.hung.standby.Load()) }

// look asks the server about the COMMITs until none is left.
func (h *hungCommits) look(done chan struct{}) {
	var conn *pgx.Conn
	defer func() {
		CloseQuickly(conn)
		close(done)
	}()
	pause := time.NewTicker(hungLook)
	defer pause.Stop()
	asked := time.Now()
	for {
		select {
		case <-pause.C:
		case <-h.closing:
		}
		states := h.present()
		if states == nil {
			return
		}
		running, standby, err := h.ask(&conn, states)
		switch {
		case err == nil:
			asked = time.Now()
			h.tell(standby)
		case time.Since(asked) > hungPatience:
			running = nil
		default:
			continue
		}
		for _, s := range states {
			if running[s.pg.PID()] {
				// pgconn reads until the server ends the connection, within a deadline.
				_ = s.net.SetDeadline(time.Now().Add(hungPatience))
				continue
			}
			h.remove(s)
		}
	}
}

// present returns the COMMITs, or nil when looking at them is over.
func (h *hungCommits) present() []*state {
	h.mu.Lock()
	defer h.mu.Unlock()
	states := slices.Collect(maps.Keys(h.commits))
	if states == nil {
		h.looking = nil
		h.standby.Store(0)
	}
	return states
}

// ask returns which of the connections the server still works on, and how many
// of them wait for a synchronous standby. It does so on a connection beside the
// pool, which may have none to spare.
func (h *hungCommits) ask(on **pgx.Conn, states []*state) (running map[uint32]bool, standby int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), h.pool.options.ConnectTimeout)
	defer cancel()
	conn := *on
	if conn == nil || conn.IsClosed() {
		if conn, err = pgx.ConnectConfig(ctx, h.pool.Config().ConnConfig); err != nil {
			return nil, 0, err
		}
		*on = conn
	}
	pids := make([]int32, len(states))
	for i, s := range states {
		pids[i] = int32(s.pg.PID())
	}
	// A role sees what its own connections wait for.
	rows, err := conn.Query(ctx, `SELECT pid, coalesce(wait_event, '') = 'SyncRep'
		FROM pg_stat_activity WHERE pid = ANY($1) AND state IS DISTINCT FROM 'idle'`, pids)
	if err != nil {
		return nil, 0, err
	}
	running = map[uint32]bool{}
	var pid int32
	var waits bool
	_, err = pgx.ForEachRow(rows, []any{&pid, &waits}, func() error {
		running[uint32(pid)] = true
		if waits {
			standby++
		}
		return nil
	})
	return running, standby, err
}

// tell notes how many COMMITs wait for a synchronous standby, and logs when
// that begins.
func (h *hungCommits) tell(standby int) {
	if h.standby.Swap(int32(standby)) == 0 && standby > 0 {
		h.pool.options.Logger.LogAttrs(context.Background(), slog.LevelError,
			"commits wait for a synchronous standby: start the standby, or take it out of synchronous_standby_names",
			slog.Int("commits", standby))
	}
}

// remove frees the place of a COMMIT, and ends its connection if that is still
// open.
func (h *hungCommits) remove(s *state) {
	h.mu.Lock()
	defer h.mu.Unlock()
	place, ok := h.commits[s]
	if !ok {
		return
	}
	delete(h.commits, s)
	h.count.Store(int32(len(h.commits)))
	if s.held.Load() {
		_ = s.net.Close()
		close(place)
	}
}

// close frees all places, because closing the pool waits for them.
func (h *hungCommits) close() {
	h.mu.Lock()
	if !isDone(h.closing) {
		close(h.closing)
	}
	looking := h.looking
	states := slices.Collect(maps.Keys(h.commits))
	h.mu.Unlock()
	for _, s := range states {
		h.remove(s)
	}
	if looking != nil {
		<-looking
	}
}

// CloseQuickly closes a connection that may be broken. nil is none.
func CloseQuickly(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
