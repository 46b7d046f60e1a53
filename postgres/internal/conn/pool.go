package conn

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/internal/wire"
)

const (
	// pingAfter is the idle time from which a connection is pinged before it is
	// used, besides being peeked at: a proxy may keep a connection open whose
	// server is gone, and a firewall may drop a connection silently.
	pingAfter = time.Minute

	// pingTimeout bounds that ping: a new connection takes less.
	pingTimeout = time.Second

	// peekAfter is the idle time from which a connection is peeked at before it is
	// used. The end of one that was in use a moment ago would mostly be still on
	// its way, and a look would not see it.
	peekAfter = 100 * time.Microsecond

	// resetAfter is how many connections a server must refuse within
	// resetWindow before all of the pool's are replaced. One may have been
	// ended by an administrator.
	resetAfter  = 3
	resetWindow = 10 * time.Second

	// resetPause is the least time between two resets, and readOnlyPatience the
	// age from which a connection to a read-only server is given up: if there is
	// no other server, replacing connections faster only costs.
	resetPause       = time.Second
	readOnlyPatience = time.Second
)

// Pool is a pgxpool.Pool that hands out connections that work.
type Pool struct {
	*pgxpool.Pool
	Hooks // set before Begin and Enter

	options Options
	config  *pgxpool.Config
	hung    *hungCommits

	resets atomic.Int64 // how often all connections were replaced

	// answered is set when the server has accepted a connection. Until then only
	// Enter connects: a wrong password is tried once at a time, not once for each of
	// MinConns.
	answered atomic.Bool

	mu        sync.Mutex
	states    map[*state]struct{} // of all connections, if Hooks.Outdated is set
	losses    []time.Time         // of connections, to the server's state, newest last
	lastReset time.Time
}

// Hooks are called while connections are made and closed. Each may be nil.
type Hooks struct {
	// Connected is called when an attempt to connect, begun at start, has ended.
	// pid is that of the backend, as in pg_stat_activity, and 0 if err is set. pooled
	// is false for a connection beside the pool, such as that of Listen.
	Connected func(ctx context.Context, start time.Time, pid uint32, pooled bool, err error)

	// Closed is called when the pool closes a connection. early is set if the
	// connection has a fault.
	Closed func(pid uint32, age time.Duration, reason string, early bool)

	// Meet is called with each new connection before its first use, for the
	// questions that the runtime has about its server.
	Meet func(ctx context.Context, conn *pgx.Conn)

	// Outdated reports whether the server of a connection has been replaced by
	// another one (see Leave).
	Outdated func(conn *pgconn.PgConn) bool

	// Closing reports whether the pool is about to be closed.
	Closing func() bool
}

// Open opens a pool with the configuration that PoolConfig has returned. It does
// not connect yet.
func Open(ctx context.Context, options Options, pc *pgxpool.Config) (*Pool, error) {
	p := &Pool{config: pc, options: options, states: map[*state]struct{}{}}
	p.hung = newHungCommits(p)
	pc.BeforeConnect = p.beforeConnect
	pc.AfterConnect = p.afterConnect
	pc.PrepareConn = p.prepareConn
	pc.ShouldPing = p.shouldPing
	pc.BeforeClose = p.beforeClose
	pc.ConnConfig.Tracer = connectTracer{p}
	var err error
	p.Pool, err = pgxpool.NewWithConfig(ctx, pc)
	return p, err
}

// errNotYet is the error of the pool's own attempts before the server's first
// answer.
var errNotYet = errors.New("the server has not answered yet")

// Begin lets the pool connect.
func (p *Pool) Begin() { p.answered.Store(true) }

func (p *Pool) beforeConnect(ctx context.Context, cc *pgx.ConnConfig) error {
	if !p.answered.Load() && ctx.Value(firstKey{}) == nil {
		return errNotYet
	}
	s := &state{pool: p, born: time.Now(), resets: p.resets.Load()}
	cc.DialFunc = s.dial
	cc.BuildContextWatcherHandler = s.watch
	cc.OnPgError = s.onPgError
	cc.OnNotice = s.onNotice
	return nil
}

func (p *Pool) afterConnect(ctx context.Context, conn *pgx.Conn) error {
	s := stateOf(conn.PgConn())
	s.reason = "" // of an attempt before this one: sslmode=allow makes two
	s.open.Store(true)
	if err := p.options.PrepareSession(ctx, conn); err != nil {
		return err
	}
	p.Begin()
	p.enlist(s)
	wire.Register(conn.TypeMap())
	if _, err := s.loadTypes(ctx, conn); err != nil {
		return err
	}
	if p.Meet != nil {
		p.Meet(ctx, conn)
	}
	return nil
}

// prepareConn is called before the pool hands out a connection. If it returns false,
// the pool closes the connection and takes another one.
func (p *Pool) prepareConn(_ context.Context, conn *pgx.Conn) (bool, error) {
	s := stateOf(conn.PgConn())
	if s.reason == "" && (s.rested < peekAfter || !s.dead()) {
		return true, nil
	}
	if s.reason == "" {
		s.reason = destroyedDead
	}
	return false, nil
}

// shouldPing is called before prepareConn, and gets the time that the connection
// has been idle.
func (p *Pool) shouldPing(_ context.Context, params pgxpool.ShouldPingParams) bool {
	stateOf(params.Conn.PgConn()).rested = params.IdleDuration
	if canPeek {
		return params.IdleDuration > pingAfter
	}
	return params.IdleDuration > time.Second
}

func (p *Pool) beforeClose(conn *pgx.Conn) {
	s := stateOf(conn.PgConn())
	reason, early := s.destroyed(conn)
	if !early {
		reason = p.whyClosed(s)
	}
	if p.Closed != nil {
		p.Closed(s.pg.PID(), time.Since(s.born), reason, early)
	}
	p.hung.wait(s)
	p.delist(s)
}

// whyClosed returns why a connection without a fault is closed, which pgxpool does not
// report. A connection that is older than its lifetime and that was idle for too long
// counts as too old.
func (p *Pool) whyClosed(s *state) string {
	switch {
	case p.Closing != nil && p.Closing():
		return closedPool
	case s.resets != p.resets.Load():
		return closedReset
	case time.Since(s.born) > p.options.MaxConnLifetime:
		return closedAge
	}
	return closedIdle
}

// reset replaces all connections: idle ones at once, those in use when they are
// given back.
func (p *Pool) reset() {
	p.resets.Add(1)
	p.Reset()
}

// Close frees the places of all COMMITs that were given up, and closes the pool. It
// waits for the connections in use.
func (p *Pool) Close() {
	p.hung.close()
	p.Pool.Close()
}

// lost counts a connection that was given up because its server is going away or
// accepts no writes. After a few of them all others are replaced, too, because they
// lead to the same server.
func (p *Pool) lost(reason string) {
	if !p.tooMany(time.Now()) {
		return
	}
	p.options.Logger.Warn("all connections are replaced: their server refuses to work", "reason", reason, "setting", p.options.Setting)
	p.reset()
}

// tooMany adds a loss and reports whether it is time for a reset.
func (p *Pool) tooMany(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.losses = append(p.losses, now)
	if n := len(p.losses); n > resetAfter {
		p.losses = p.losses[n-resetAfter:]
	}
	if len(p.losses) < resetAfter || now.Sub(p.losses[0]) > resetWindow || now.Sub(p.lastReset) < resetPause {
		return false
	}
	p.losses, p.lastReset = nil, now
	return true
}

// connectTracer calls Hooks.Connected: pgxpool has no hook for attempts that fail. pgx
// asks for a query's tracer here, and this one does nothing.
type connectTracer struct{ *Pool }

func (connectTracer) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return context.WithValue(ctx, connectStartKey{}, time.Now())
}

func (t connectTracer) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	if t.Connected == nil {
		return
	}
	start, _ := ctx.Value(connectStartKey{}).(time.Time)
	pid, pooled := uint32(0), true
	if data.Conn != nil {
		pid, pooled = data.Conn.PgConn().PID(), stateOf(data.Conn.PgConn()) != nil
	}
	t.Connected(ctx, start, pid, pooled, data.Err)
}

// connectStartKey is where an attempt to connect keeps its beginning.
type connectStartKey struct{}

func (connectTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (connectTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
