package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/internal/wire"
)

const (
	// pingAfter is the idle time from which a connection is pinged before it is
	// used, besides being peeked at: a proxy may keep a connection open whose
	// server is gone, and a firewall may have dropped one without a word.
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
	// age from which a connection to a read-only server is given up: where
	// there is no other server, replacing connections faster helps nobody.
	resetPause       = time.Second
	readOnlyPatience = time.Second
)

// keeper sees to it that a pool hands out connections that work.
type keeper struct {
	config  *pgxpool.Config
	cfg     Config
	setting string       // the one that names the server
	server  string       // its name in metrics and logs; set before the pool may connect
	closing *atomic.Bool // of the Router; likewise
	types   []string     // of Statement.Types, each once
	pool    *pgxpool.Pool
	hung    *hungCommits
	hosts   *hosts // of the primary's pool, if its setting names several

	// observer is set before the pool may connect.
	observer *observer

	// meet asks a new connection's server who it is, nil where that does not
	// matter. It is set before the pool may connect.
	meet func(ctx context.Context, conn *pgx.Conn)

	resets atomic.Int64 // how often all connections were replaced

	// answered is set when the server has let somebody in. Until then only
	// awaitServer connects: a wrong password is tried once at a time, not once
	// for each of MinConns.
	answered atomic.Bool

	mu        sync.Mutex
	links     map[*link]struct{} // the connections, if hosts are watched
	losses    []time.Time        // of connections, to the server's state, newest last
	lastReset time.Time
}

// The settings that name servers: the one that is written to, and its replicas.
const (
	settingPrimary  = "DATABASE_URL"
	settingReplicas = "DATABASE_REPLICA_URLS"
)

// openPool opens a pool on the server that a setting names. It does not connect
// yet.
func (c Config) openPool(ctx context.Context, setting, url string) (*keeper, error) {
	pc, err := c.poolConfigOf(setting, url)
	if err != nil {
		return nil, err
	}
	k := &keeper{config: pc, cfg: c, setting: setting, links: map[*link]struct{}{}, types: typesOf(c.Statements)}
	k.hung = newHungCommits(k)
	if setting == settingPrimary {
		k.hosts = newHosts(c, pc)
		k.hosts.guard(&pc.ConnConfig.Config)
	}
	pc.BeforeConnect = k.beforeConnect
	pc.AfterConnect = k.afterConnect
	pc.PrepareConn = k.prepareConn
	pc.ShouldPing = k.shouldPing
	pc.BeforeClose = k.beforeClose
	pc.ConnConfig.Tracer = connectTracer{k}
	k.pool, err = pgxpool.NewWithConfig(ctx, pc)
	return k, wrap("connect", err)
}

// errNotYet is what the pool's own attempts get before the server's first
// answer.
var errNotYet = errors.New("the server has not answered yet")

// begin lets the pool connect.
func (k *keeper) begin() { k.answered.Store(true) }

func (k *keeper) beforeConnect(ctx context.Context, cc *pgx.ConnConfig) error {
	if !k.answered.Load() && ctx.Value(firstKey{}) == nil {
		return errNotYet
	}
	l := &link{keeper: k, born: time.Now(), resets: k.resets.Load()}
	cc.DialFunc = l.dial
	cc.BuildContextWatcherHandler = l.watch
	cc.OnPgError = l.onPgError
	cc.OnNotice = l.onNotice
	return nil
}

func (k *keeper) afterConnect(ctx context.Context, conn *pgx.Conn) error {
	l := linkOf(conn.PgConn())
	l.reason = "" // of an attempt before this one: sslmode=allow makes two
	l.open.Store(true)
	if err := prepareSession(ctx, conn, k.cfg.Pooler, k.config.ConnConfig.ConnectTimeout); err != nil {
		return err
	}
	k.begin()
	k.enlist(l)
	wire.Register(conn.TypeMap())
	if _, err := l.loadTypes(ctx, conn); err != nil {
		return err
	}
	if k.meet != nil {
		k.meet(ctx, conn)
	}
	return nil
}

// prepareConn is asked before the pool hands out a connection: on false it
// closes this one and takes another.
func (k *keeper) prepareConn(_ context.Context, conn *pgx.Conn) (bool, error) {
	l := linkOf(conn.PgConn())
	if l.reason == "" && (l.rested < peekAfter || !l.dead()) {
		return true, nil
	}
	if l.reason == "" {
		l.reason = destroyedDead
	}
	return false, nil
}

// shouldPing is asked before prepareConn, and is told how long the connection
// has been idle.
func (k *keeper) shouldPing(_ context.Context, p pgxpool.ShouldPingParams) bool {
	linkOf(p.Conn.PgConn()).rested = p.IdleDuration
	if canPeek {
		return p.IdleDuration > pingAfter
	}
	return p.IdleDuration > time.Second
}

func (k *keeper) beforeClose(conn *pgx.Conn) {
	l := linkOf(conn.PgConn())
	reason, early := l.destroyed(conn)
	if !early {
		reason = k.closed(l)
	}
	k.observer.closed(k.server, l, reason, early)
	k.hung.wait(l)
	k.delist(l)
}

// closed says why a connection without a fault is closed. pgxpool does not say
// it. A connection that is older than its lifetime and that was idle for too
// long counts as too old.
func (k *keeper) closed(l *link) string {
	switch {
	case k.closing.Load():
		return closedPool
	case l.resets != k.resets.Load():
		return closedReset
	case time.Since(l.born) > k.cfg.MaxConnLifetime:
		return closedAge
	}
	return closedIdle
}

// reset replaces all connections: idle ones at once, those in use when they are
// given back.
func (k *keeper) reset() {
	k.resets.Add(1)
	k.pool.Reset()
}

// lost counts a connection that was given up because its server is going away
// or takes no writes. After a few of them all others go, too: they lead to the
// same server.
func (k *keeper) lost(reason string) {
	if !k.tooMany(time.Now()) {
		return
	}
	k.cfg.Logger.Warn("all connections are replaced: their server refuses to work", "reason", reason, "setting", k.setting)
	k.reset()
}

// tooMany adds a loss and reports whether it is time for a reset.
func (k *keeper) tooMany(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.losses = append(k.losses, now)
	if n := len(k.losses); n > resetAfter {
		k.losses = k.losses[n-resetAfter:]
	}
	if len(k.losses) < resetAfter || now.Sub(k.losses[0]) > resetWindow || now.Sub(k.lastReset) < resetPause {
		return false
	}
	k.losses, k.lastReset = nil, now
	return true
}

// connectTracer tells of attempts to connect: pgxpool has no hook for those
// that fail. pgx asks for a query's tracer here, and this one does nothing.
type connectTracer struct{ *keeper }

func (connectTracer) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return context.WithValue(ctx, connectStartKey{}, time.Now())
}

func (t connectTracer) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	start, _ := ctx.Value(connectStartKey{}).(time.Time)
	t.observer.connected(ctx, t.server, start, data.Conn, data.Err)
}

// connectStartKey is where an attempt to connect keeps its beginning.
type connectStartKey struct{}

func (connectTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (connectTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
