package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/internal/conn"
)

// Router runs statements on the shared pools, each by the policy its SQL file
// declares: on the primary or on a replica, within its deadline, repeated where
// that is safe. It is the DBTX of the application's Queries and safe for
// concurrent use.
type Router struct {
	cfg      Config
	primary  *pgxpool.Pool
	classes  *bulkhead // of the primary's pool
	replicas *replicas
	hosts    *hosts // of DATABASE_URL; nil for one
	registry *registry
	observer *observer
	markers  *markers
	pinger   *pinger
	closed   atomic.Bool
	conns    *conn.Pool // of which primary is
	holds    holds
}

func newRouter(cfg Config, conns *conn.Pool) *Router {
	primary := conns.Pool
	registry := newRegistry(cfg.Statements, cfg.QueryTimeout)
	r := &Router{
		cfg: cfg, conns: conns, primary: primary, classes: newBulkhead(cfg, registry), registry: registry,
		observer: newObserver(cfg),
		markers:  newMarkers(registry.known),
		pinger:   newPinger(),
	}
	r.replicas = &replicas{
		primary: primary, histories: &histories{observer: r.observer}, observer: r.observer,
		maxLag: cfg.ReplicaMaxLag, start: time.Now(), sign: func() {},
	}
	r.openLanes()
	return r
}

// start begins the work in the background: the watch on the hosts and the replicas,
// and the sweep of old markers.
func (r *Router) start() {
	r.replicas.watch()
	r.hosts.start()
	r.markers.start(r)
	r.observer.happened(RouterStarted{Router: r})
}

// Close closes the pools. It waits for the connections in use.
func (r *Router) Close() {
	r.closed.Store(true)
	r.markers.stop()
	r.pinger.close()
	r.hosts.close()
	r.replicas.close()
	r.conns.Close()
}

// Pool returns the primary's pool, for what is not a statement: metrics and
// introspection.
func (r *Router) Pool() *pgxpool.Pool { return r.primary }

// Config returns the configuration in force, its defaults filled in.
func (r *Router) Config() Config { return r.cfg }

// Ping asks the primary for an answer, through the pool, within the context's
// deadline.
func (r *Router) Ping(ctx context.Context) error {
	conn, err := r.acquire(ctx, route{}, DefaultClass, nil, time.Now(), "ping")
	if err != nil {
		return err
	}
	defer conn.release()
	return wrap("ping", conn.Ping(ctx))
}

// route is where a statement ran and, when it asked for a replica and did not
// get one, why.
type route struct {
	replica *replica // nil: the primary
	reason  string
	history history // that the replica has
	server  int64   // of the replica's address: when it was started
}

// name is that of the server in metrics and logs.
func (w route) name() string {
	if w.replica != nil {
		return w.replica.name
	}
	return primaryName
}

// Exec runs a statement that returns no rows.
func (r *Router) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	s := r.registry.find(sql)
	if err := r.refuseWrite(ctx, s, args); err != nil {
		return pgconn.CommandTag{}, err
	}
	return tagOf(r.query(ctx, s, time.Time{}, args))
}

// Query runs a statement that returns rows. The statement's deadline covers
// the reading of them; its connection is free when they are read or closed.
func (r *Router) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	s := r.registry.find(sql)
	if err := r.refuseWrite(ctx, s, args); err != nil {
		return nil, err
	}
	return rowsOf(r.query(ctx, s, time.Time{}, args))
}

// refuseWrite returns why a statement that writes is not to begin, or nil.
func (r *Router) refuseWrite(ctx context.Context, s *statement, args []any) error {
	if !s.writes {
		return nil
	}
	err := r.mayWrite(s.Name)
	if err != nil {
		r.observer.statement(ctx, s, args, route{}, time.Now(), pgconn.CommandTag{}, err)
	}
	return err
}

// QueryRow runs a statement that returns one row. Its error comes from Scan:
// ErrNotFound when there is no row. One with @batch may leave with others.
func (r *Router) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	s := r.registry.find(sql)
	if err := r.refuseWrite(ctx, s, args); err != nil {
		return failedRow{err}
	}
	if s.lane != nil {
		return s.lane.queryRow(ctx, args)
	}
	return rowOf(r.query(ctx, s, time.Time{}, args))
}

// query sends a statement, and again where that is safe. Its deadline is zero
// for the statement's own.
func (r *Router) query(ctx context.Context, s *statement, deadline time.Time, args []any) (*boundRows, error) {
	// The clock is read once for all that begins here.
	now := time.Now()
	if deadline.IsZero() {
		deadline = now.Add(s.Timeout)
	}
	bounded, cancel := withDeadline(ctx, now, deadline)
	where := route{}
	if s.Route == Replica {
		where = r.choose(ctx)
	}
	var doubt error    // of an earlier sending that may have been applied
	var refused *Error // of the last attempt, where it reached no server
	try := tries{start: now}
	for ; ; now = time.Now() {
		rows, err := r.send(ctx, bounded, cancel, s, where, now, args)
		if err == nil {
			rows.handed = true
			return rows, nil
		}
		if errors.Is(err, ErrCommitUnknown) {
			doubt = err
		}
		if refused != nil && errors.Is(err, ErrTimeout) {
			// The time was up while it was tried again: that is not the
			// statement's fault.
			err = refused
		}
		if e := (*Error)(nil); errors.As(err, &e) && e.unreached {
			refused = e
		}
		switch {
		case where.replica != nil && !definite(err) && bounded.Err() == nil:
			// Whatever is the matter with the replica, the primary knows.
			r.observer.retry(s.Name, "replica")
			where, refused = route{reason: reasonFailed}, nil
		case errors.Is(err, errReplicaHasIt):
			where, refused = r.choose(ctx), nil
		case stalePlan(err) && try.stalePlan(bounded, r.cfg.MaxConns):
			r.observer.retry(s.Name, "stale_plan")
		case repeatable(s, err) && try.again(bounded, err):
			r.observer.retry(s.Name, "connection")
			if s.Route == Replica {
				// One may be back that was not there a moment ago.
				where = r.choose(ctx)
			}
		default:
			cancel()
			if doubt != nil && doubt != err {
				err = errors.Join(doubt, err)
			}
			if doubt != nil {
				r.observer.settled("unknown")
			}
			return nil, err
		}
	}
}

// repeatable reports whether a statement that ended with err did nothing, or
// may be done twice. A write whose connection broke is ErrCommitUnknown, and so
// is one that this server refused because its connection to another one broke;
// other errors of the kind came before it was sent, or from a server that
// refused it.
func repeatable(s *statement, err error) bool {
	if errors.Is(err, ErrCommitUnknown) {
		return s.Retry
	}
	return errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrPoolExhausted) && !errors.Is(err, errLead)
}

// definite reports whether err is the statement's own fault and would be the
// same on any server.
func definite(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Code == "" {
		return false
	}
	return e.Kind == nil || e.Kind == ErrInvalidValue || e.Kind == ErrNotFound
}

// choose says where a read of the context's session runs.
func (r *Router) choose(ctx context.Context) route {
	if len(r.replicas.all) == 0 {
		return route{}
	}
	return r.replicas.pick(sessionOf(ctx))
}

// send runs a statement once. When it returns it has the first row, or knows
// that there is none: an error that comes before any row is send's own, so that
// the statement can be sent again.
func (r *Router) send(
	caller, bounded context.Context, cancel context.CancelFunc, s *statement, where route, now time.Time, args []any,
) (*boundRows, error) {
	out := &boundRows{run: run{
		statement: s, args: args, ctx: caller, start: now, where: where, observer: r.observer,
		histories: r.replicas.histories, commits: !s.Reads, alone: true,
	}}
	ctx, detach := bounded, func() {}
	unbind := func() bool { return true }
	if where.replica != nil {
		ctx, unbind, detach = where.replica.bind(bounded)
	}
	conn, err := r.acquire(ctx, where, s.Class, s, now, s.Name)
	if err != nil {
		detach()
		if !errors.Is(err, errReplicaHasIt) {
			r.observer.statement(caller, s, args, where, out.start, pgconn.CommandTag{}, err)
		}
		return nil, err
	}
	out.release = func() {
		giveBack(ctx, conn)
		detach()
	}
	if err := cmp.Or(ctx.Err(), where.check(conn.Conn)); err != nil {
		out.release()
		return nil, wrap(s.Name, err)
	}
	if out.commits {
		out.bounded, out.conn = ctx, conn.Conn.Conn().PgConn()
	}
	knowTypes(ctx, conn.Conn.Conn(), s)
	sent := false
	defer func() {
		if !sent { // an argument panicked while it was encoded
			out.release()
		}
	}()
	if session := sessionOf(caller); session != nil && len(r.replicas.all) > 0 {
		out.Rows, err = out.sendWithPosition(ctx, conn.Conn.Conn(), session, args)
	} else {
		out.Rows, err = conn.Query(ctx, s.SQL, args...)
	}
	sent = true
	if err == nil {
		out.peeked = out.Rows.Next()
		err = out.Rows.Err()
	}
	switch {
	case err != nil:
		err = replacedTypes(ctx, conn.Conn.Conn(), err)
	case !out.peeked:
		// No rows: what stands behind the statement can be settled at once. The
		// connection is the pool's again after that.
		out.Close()
		err = out.err
	}
	if err != nil {
		out.Close()
		if where.replica != nil && ctx.Err() != nil && bounded.Err() == nil {
			err = errReplicaGone
		}
		return nil, out.typed(err)
	}
	// With rows under way no other server can take over: a replica that falls
	// silent for a moment may go on.
	unbind()
	// The deadline ends with the rows, and not before another attempt.
	out.cancel = cancel
	if out.ended {
		cancel()
	}
	return out, nil
}

// errReplicaGone stands for a read that waited for a replica which went.
var errReplicaGone = &Error{Kind: ErrUnavailable, Err: errors.New("the replica went away")}

// giveBack releases a connection, out of the transaction that a failure left it
// in. The caller waits for the ROLLBACK as long as its context lives and a
// moment longer; a server that does not answer gets the time of
// rollbackTimeout in the background, and then the connection is destroyed.
func giveBack(ctx context.Context, conn lease) {
	if conn.Conn.Conn().IsClosed() || conn.Conn.Conn().PgConn().TxStatus() == 'I' {
		conn.release()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer conn.release()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_, _ = conn.Exec(bounded, "rollback")
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(rollbackGrace):
	}
}

// bind returns a context that also ends when the replica goes, what undoes
// that, and what frees both.
func (r *replica) bind(ctx context.Context) (_ context.Context, unbind func() bool, free func()) {
	r.inFlight.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	unbind = func() bool { return true }
	if alive := r.living(); alive != nil {
		unbind = context.AfterFunc(alive, cancel)
	} else {
		cancel()
	}
	return ctx, unbind, func() {
		unbind()
		cancel()
		r.inFlight.Add(-1)
	}
}

// sendWithPosition sends the statement together with the question where the
// log stands behind it, in one round trip. A statement that writes is committed
// in between: a position from before its COMMIT would be too early.
func (r *run) sendWithPosition(ctx context.Context, conn *pgx.Conn, session *Session, args []any) (pgx.Rows, error) {
	batch := &pgx.Batch{}
	if r.commits {
		batch.Queue("begin")
	}
	batch.Queue(r.statement.SQL, args...)
	if r.commits {
		batch.Queue("commit")
	}
	batch.Queue(r.where.position())
	blinds := session.blinds()
	results := conn.SendBatch(ctx, batch)
	if r.commits {
		if _, err := results.Exec(); err != nil {
			results.Close()
			return nil, err
		}
	}
	r.after = func() error {
		// Closed first: what it says of the batch is said already.
		defer results.Close()
		if r.where.replica != nil && !r.handed && !r.committing {
			return nil // it failed before there was anything to see
		}
		if r.commits {
			if err := committed(results.Exec()); err != nil {
				return err
			}
		}
		session.learn(results.QueryRow(), r.where, blinds, r.histories)
		return nil
	}
	return results.Query()
}

// committed types the answer to a COMMIT. PostgreSQL answers the COMMIT of a
// transaction that failed with the tag ROLLBACK, and no error.
func committed(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.String() != "COMMIT" {
		return pgx.ErrTxCommitRollback
	}
	return err
}

// take takes a connection from the pool of a route, within the class's share
// of it and, unless it is nil, that of the statement. The wait for all of these
// ends after AcquireTimeout, because pgxpool has no bound, or with ctx if that is
// sooner. If the time is up and the pool is full, the error is ErrPoolExhausted
// in both cases: the statement was not sent.
func (r *Router) take(ctx context.Context, where route, class string, s *statement, now time.Time, statement string) (lease, error) {
	pool, classes := r.primary, r.classes
	if where.replica != nil {
		pool, classes = where.replica.pool, where.replica.classes
	}
	if where.replica == nil && r.holds.count.Load() >= r.cfg.MaxConns {
		if h := r.holds.within(); h != nil {
			return lease{}, h.second(statement)
		}
	}
	bounded := ctx
	// A second deadline, a timer, costs more than asking whether it is needed.
	if deadline, ok := ctx.Deadline(); !ok || deadline.Sub(now) > r.cfg.AcquireTimeout {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, r.cfg.AcquireTimeout)
		defer cancel()
	}
	if err := classes.enter(bounded, class); err != nil {
		if errors.Is(err, errClass) && !errors.Is(ctx.Err(), context.Canceled) {
			return lease{}, &Error{Kind: ErrPoolExhausted, Statement: statement, Class: class, Err: err}
		}
		return lease{}, wrap(statement, cmp.Or(ctx.Err(), err))
	}
	read, err := classes.enterRead(bounded, s)
	if err != nil {
		classes.leave(class)
		if errors.Is(err, errClass) && !errors.Is(ctx.Err(), context.Canceled) {
			classes.noConnection(class)
			return lease{}, &Error{Kind: ErrPoolExhausted, Statement: statement, Class: class, Err: err}
		}
		return lease{}, wrap(statement, cmp.Or(ctx.Err(), err))
	}
	conn, err := pool.Acquire(bounded)
	if err == nil {
		return lease{
			Conn: conn, bulkhead: classes, class: class, read: read,
			checkout: r.observer.acquired(ctx, where, statement, class, now, conn.Conn()),
		}, nil
	}
	classes.leave(class)
	if read != nil {
		read.Release(1)
	}
	if errors.Is(bounded.Err(), context.DeadlineExceeded) && !errors.Is(ctx.Err(), context.Canceled) &&
		pool.Stat().AcquiredConns() >= pool.Config().MaxConns {
		classes.noConnection(class)
		if h := r.holds.within(); h != nil && where.replica == nil {
			return lease{}, h.second(statement)
		}
		return lease{}, &Error{Kind: ErrPoolExhausted, Statement: statement, Class: class, Err: fmt.Errorf(
			"all %d connections are in use: raise POOL_MAX_CONNS or find what holds them: %w", pool.Config().MaxConns, err)}
	}
	if ctx.Err() == nil && bounded.Err() != nil {
		// The pool has room and no server answers: that is no slow statement.
		return lease{}, &Error{Kind: ErrUnavailable, Statement: statement, Err: withoutConfig(err), unreached: true}
	}
	return lease{}, wrap(statement, err)
}
