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
	// hungLook is the interval at which abandoned COMMITs are checked, while there
	// are any.
	hungLook = 250 * time.Millisecond

	// hungPatience is how long an abandoned COMMIT keeps its slot while the server
	// cannot be queried about it, which is as long as a failover takes. A dead
	// server does not need the slot.
	hungPatience = 30 * time.Second

	// hungSlots is how many slots of a pool abandoned COMMITs leave free. Without
	// a free slot they would block reads, too.
	hungSlots = 1
)

// hungCommits are the COMMITs of a pool whose callers have given up but that
// the server is still executing. The server cannot be asked to cancel them (see
// Shield), and it does not notice that the client has gone. Usually they wait
// for a synchronous standby.
//
// Each keeps its pool slot until the server has ended it. Otherwise the pool
// would open another connection in its place, and another. If they fill half of
// the pool, no further write begins, because writes would take the remaining
// connections from the reads only to wait as well. So the server has at most
// hungSlots connections more than the pool, plus the one that checks.
type hungCommits struct {
	pool *Pool

	mu      sync.Mutex
	commits map[*state]chan struct{} // closed when the pool slot is free
	looking chan struct{}            // closed when the check has ended; nil if there is nothing to check
	closing chan struct{}            // closed with the pool

	count   atomic.Int32 // number of commits
	standby atomic.Int32 // number of those that wait for a synchronous standby
}

func newHungCommits(p *Pool) *hungCommits {
	return &hungCommits{pool: p, commits: map[*state]chan struct{}{}, closing: make(chan struct{})}
}

// add adds a COMMIT whose caller has given up.
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

// wait returns when the connection's pool slot is free.
func (h *hungCommits) wait(s *state) {
	h.mu.Lock()
	place := h.commits[s]
	h.mu.Unlock()
	if place != nil {
		<-place
	}
}

// RefuseWrite returns the reason why a write must not begin, or nil.
func (p *Pool) RefuseWrite() error {
	h := p.hung
	n := h.count.Load()
	if n == 0 || n < max(1, p.options.MaxConns/2) {
		return nil
	}
	if n := h.standby.Load(); n > 0 {
		return fmt.Errorf("%d COMMITs wait for a synchronous standby: start the standby, or take it out of synchronous_standby_names", n)
	}
	return fmt.Errorf("%d COMMITs got no answer and still run: check in pg_stat_activity what they wait for", n)
}

// CommitsWaiting returns the number of abandoned COMMITs that still wait for a
// synchronous standby.
func (p *Pool) CommitsWaiting() int { return int(p.hung.standby.Load()) }

// look queries the server about the COMMITs until none is left.
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
				// pgconn reads until the server closes the connection or this deadline
				// expires.
				_ = s.net.SetDeadline(time.Now().Add(hungPatience))
				continue
			}
			h.remove(s)
		}
	}
}

// present returns the COMMITs, or nil if the check must end.
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

// ask returns which of the connections the server is still using, and how many
// of them wait for a synchronous standby. It uses a connection outside of the
// pool, because the pool may have none to spare.
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
	// A role may see the wait events of connections with the same role.
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

// tell stores how many COMMITs wait for a synchronous standby, and logs the
// first time.
func (h *hungCommits) tell(standby int) {
	if h.standby.Swap(int32(standby)) == 0 && standby > 0 {
		h.pool.options.Logger.LogAttrs(context.Background(), slog.LevelError,
			"commits wait for a synchronous standby: start the standby, or take it out of synchronous_standby_names",
			slog.Int("commits", standby))
	}
}

// remove frees the pool slot of a COMMIT and closes its connection if that is
// still open.
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

// close frees all slots, because closing the pool waits for them.
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

// CloseQuickly closes a connection that may be broken. conn may be nil.
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
