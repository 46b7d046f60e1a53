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
	// pingAfter is the idle time after which a connection is also pinged before use. A
	// proxy may keep a connection open although its server is gone, and a firewall may
	// drop a connection silently.
	pingAfter = time.Minute

	// pingTimeout bounds that ping. A new connection takes less time.
	pingTimeout = time.Second

	// peekAfter is the idle time after which a connection is peeked at before use. After a
	// shorter time, a close by the server would usually still be in transit, and a peek would
	// not see it.
	peekAfter = 100 * time.Microsecond

	// resetAfter is how many connections a server must refuse within resetWindow
	// before all connections of the pool are replaced. A single one may have been
	// terminated by an administrator.
	resetAfter  = 3
	resetWindow = 10 * time.Second

	// resetPause is the minimum time between two resets. readOnlyPatience is the age after
	// which a connection to a read-only server is closed. If there is no other server,
	// replacing connections sooner has a cost and no benefit.
	resetPause       = time.Second
	readOnlyPatience = time.Second
)

// Pool is a pgxpool.Pool that returns healthy connections.
type Pool struct {
	*pgxpool.Pool
	Hooks // set before Begin and Enter

	options Options
	config  *pgxpool.Config
	hung    *hungCommits

	resets atomic.Int64 // how often all connections were replaced

	// answered is true once the server has accepted a connection. Until then only
	// Enter connects, so a wrong password is tried once at a time and not once for
	// each of MinConns.
	answered atomic.Bool

	mu        sync.Mutex
	states    map[*state]struct{} // of all connections, if Hooks.Outdated is set
	losses    []time.Time         // times of lost connections, newest last
	lastReset time.Time
}

// Hooks are called when connections are made and closed. Each may be nil.
type Hooks struct {
	// Connected is called when a connection attempt, begun at start, has ended. pid is
	// the backend's, as in pg_stat_activity, or 0 if err is set. pooled is false for a
	// connection outside of the pool, such as that of Listen.
	Connected func(ctx context.Context, start time.Time, pid uint32, pooled bool, err error)

	// Closed is called when the pool closes a connection. early is true if the
	// connection has a fault.
	Closed func(pid uint32, age time.Duration, reason string, early bool)

	// Warned is called with each WARNING of the server.
	Warned func(n *pgconn.Notice)

	// Meet is called with each new connection before its first use, so that the
	// runtime can query its server.
	Meet func(ctx context.Context, conn *pgx.Conn)

	// Outdated reports whether the server of a connection has been replaced by another
	// one (see Leave).
	Outdated func(conn *pgconn.PgConn) bool

	// Closing reports whether the pool is about to be closed.
	Closing func() bool
}

// Open opens a pool with a configuration returned by PoolConfig. It does not
// connect yet.
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

// errNotYet is the error of the pool's own connection attempts before the server
// has answered for the first time.
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
	s.reason = "" // of an earlier attempt, because sslmode=allow makes two
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

// prepareConn is called before the pool returns a connection. If it returns false,
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

// shouldPing is called before prepareConn and receives the time that the connection
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

// whyClosed returns why a connection without a fault is closed, because pgxpool
// does not report that. A connection that is too old and was idle for too long
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

// reset replaces all connections, idle ones at once and those in use when they are
// released.
func (p *Pool) reset() {
	p.resets.Add(1)
	p.Reset()
}

// Close frees the slots of all abandoned COMMITs and closes the pool. It waits for
// the connections in use.
func (p *Pool) Close() {
	p.hung.close()
	p.Pool.Close()
}

// lost counts a connection that was closed because its server is going away or no longer
// accepts writes. After a few of them, all other connections are replaced, too, because they
// lead to the same server.
func (p *Pool) lost(reason string) {
	if !p.tooMany(time.Now()) {
		return
	}
	p.options.Logger.Warn("replacing all connections, because their server is going away or accepts no writes", "reason", reason, "setting", p.options.Setting)
	p.reset()
}

// tooMany adds a loss and reports whether all connections must be replaced.
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

// connectTracer calls Hooks.Connected, because pgxpool has no hook for failed
// attempts. pgx requires a query tracer here, and this one does nothing.
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

// connectStartKey is the context key for the start time of a connection attempt.
type connectStartKey struct{}

func (connectTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (connectTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
