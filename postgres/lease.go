package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/semaphore"

	"quern/postgres/internal/conn"
)

// lease is a connection of a pool, with the classes that it counts against.
type lease struct {
	*pgxpool.Conn
	bulkhead *bulkhead
	class    string
	joined   string // a class that a later statement of a transaction brought in
	read     *semaphore.Weighted
	checkout *checkout
}

// join makes a statement of a transaction under way count against its class. A
// transaction of class default that comes to work in bulk would otherwise take
// what is not its share. It does not wait: it holds a connection, which waiting
// would keep from others.
func (l *lease) join(s *statement) error {
	if s.Class == DefaultClass || l.class != DefaultClass || l.joined != "" {
		return nil
	}
	if err := l.bulkhead.tryEnter(s.Class); err != nil {
		return &Error{Kind: ErrPoolExhausted, Statement: s.Name, Class: s.Class, Err: err}
	}
	l.joined = s.Class
	return nil
}

// tryRead makes the first statement of a transaction count as one of its calls, and
// reports false if these have all that they may.
func (l *lease) tryRead(s *statement) bool {
	read := l.bulkhead.reads[s]
	if read == nil || l.read != nil {
		return true
	}
	if !read.TryAcquire(1) {
		return false
	}
	l.read = read
	return true
}

// release gives the connection back, and then its place in the shares: whoever
// waits for that finds a connection.
func (l *lease) release() {
	l.checkout.released() // first: the pool may close it
	l.Conn.Release()
	if l.read != nil {
		l.read.Release(1)
	}
	if l.joined != "" {
		l.bulkhead.leave(l.joined)
	}
	l.bulkhead.leave(l.class)
}

// request is what a connection is asked for with.
type request struct {
	where     route
	session   *Session // that must see on it what it has seen before; nil for none
	class     string
	statement *statement // of whose share it is, if reads have one; nil for none
	name      string     // of the statement, or the act, in errors
	start     time.Time
}

// acquire takes a connection that shows all that the session has seen, with a wait as
// that of take.
func (r *Router) acquire(ctx context.Context, q request) (lease, error) {
	conn, err := r.take(ctx, q)
	if err == nil && q.leads() {
		return r.follow(ctx, q, conn)
	}
	return conn, err
}

// take takes a connection from the pool of a route, within the share of the class
// and, unless it is nil, of the statement. The wait for all of these ends after
// AcquireTimeout, because pgxpool has no bound, or with ctx if that is sooner. If the
// time is up and the pool is full, the error is ErrPoolExhausted in both cases: the
// statement was not sent.
func (r *Router) take(ctx context.Context, q request) (lease, error) {
	wait := &conn.Deadline{}
	wait.Begin(ctx, q.start, q.start.Add(r.cfg.AcquireTimeout))
	defer wait.Cancel()
	return r.takeWithin(wait, time.Time{}, q)
}

// takeWithin is take with a context that ends after AcquireTimeout. The caller's
// own time is up at until, or with the parent of wait if until is zero.
func (r *Router) takeWithin(wait *conn.Deadline, until time.Time, q request) (lease, error) {
	pool, classes := r.primary, r.classes
	if q.where.replica != nil {
		pool, classes = q.where.replica.pool, q.where.replica.classes
	} else if r.holds.count.Load() >= r.cfg.MaxConns {
		if h := r.holds.within(); h != nil {
			return lease{}, h.second(q.name)
		}
	}
	read, err := q.enter(wait, classes)
	if err != nil {
		return lease{}, err
	}
	conn, err := pool.Acquire(wait)
	if err != nil {
		classes.leave(q.class)
		if read != nil {
			read.Release(1)
		}
		return lease{}, r.noConnection(wait, until, q, pool, classes, err)
	}
	l := lease{Conn: conn, bulkhead: classes, class: q.class, read: read}
	if r.cfg.Logger.Enabled(wait, slog.LevelDebug) {
		l.checkout = r.observer.acquired(wait, q.where, q.name, q.class, q.start, conn.Conn())
	}
	return l, nil
}

// enter returns when the shares of the class and of the statement admit the request,
// with the semaphore of the statement if it has one.
func (q request) enter(wait *conn.Deadline, classes *bulkhead) (*semaphore.Weighted, error) {
	if !classes.admit(q.class) {
		if err := classes.wait(wait, q.class); err != nil {
			return nil, q.noShare(err)
		}
	}
	read := classes.reads[q.statement]
	if read == nil || read.TryAcquire(1) {
		return read, nil
	}
	err := classes.waitRead(wait, read)
	if err == nil {
		return read, nil
	}
	classes.leave(q.class)
	if errors.Is(err, errClass) {
		classes.noConnection(q.class)
	}
	return nil, q.noShare(err)
}

// noConnection is the error of a request that its shares admitted, and that got no
// connection from the pool because of err.
func (r *Router) noConnection(wait *conn.Deadline, until time.Time, q request, pool *pgxpool.Pool, classes *bulkhead, err error) error {
	if r.closed.Load() && wait.Err() == nil {
		return wrap(q.name, errClosed)
	}
	timedOut := errors.Is(wait.Err(), context.DeadlineExceeded)
	if timedOut && pool.Stat().AcquiredConns() >= pool.Config().MaxConns {
		classes.noConnection(q.class)
		if h := r.holds.within(); h != nil && q.where.replica == nil {
			return h.second(q.name)
		}
		return &Error{Kind: ErrPoolExhausted, Statement: q.name, Class: q.class, Err: fmt.Errorf(
			"all %d connections are in use: raise POOL_MAX_CONNS or find what holds them: %w", pool.Config().MaxConns, err)}
	}
	if timedOut && wait.Context.Err() == nil && (until.IsZero() || time.Now().Before(until)) {
		// The pool has room and no server answers: that is no slow statement.
		return &Error{Kind: ErrUnavailable, Statement: q.name, Err: withoutConfig(err), unreached: true}
	}
	return wrap(q.name, err)
}

// now is the request made again, now.
func (q request) now() request {
	q.start = time.Now()
	return q
}

// noShare is the error of a request that its share of the pool did not admit.
func (q request) noShare(err error) error {
	if errors.Is(err, errClass) {
		return &Error{Kind: ErrPoolExhausted, Statement: q.name, Class: q.class, Err: err}
	}
	return wrap(q.name, err)
}

// giveBack releases a connection. If a failed statement left it in a transaction,
// it rolls back first. The caller waits for the ROLLBACK as long as its context
// lives and a moment longer. A server that does not answer gets the time of
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
