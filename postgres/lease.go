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
	joined   string // the class of a later statement in the transaction
	read     *semaphore.Weighted
	checkout *checkout
	usage    *usage
}

// join counts a statement of an open transaction against its class, because a transaction
// of class default that runs bulk statements would otherwise exceed the share of bulk. It
// does not wait, because the transaction holds a connection that others need.
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

// tryRead counts the first statement of a transaction as a call of that read. It returns
// false if the read's share is in use.
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

// release releases the connection before its share, so that the next caller admitted to the
// share finds a connection.
func (l *lease) release() {
	l.usage.end()
	l.checkout.released() // first, because the pool may close the connection
	l.Conn.Release()
	if l.read != nil {
		l.read.Release(1)
	}
	if l.joined != "" {
		l.bulkhead.leave(l.joined)
	}
	l.bulkhead.leave(l.class)
}

// request describes the connection that a caller needs.
type request struct {
	where     route
	session   *Session // the connection must show everything it has seen; may be nil
	class     string
	statement *statement // whose share it counts against, if reads have one; may be nil
	name      string     // of the statement or action, for errors
	spare     bool       // fail instead of waiting
	start     time.Time
}

// acquire acquires a connection that shows everything the session has seen. It waits as long as
// take does.
func (r *Router) acquire(ctx context.Context, q request) (lease, error) {
	wait := &conn.Deadline{}
	defer wait.Release()
	return r.acquireWithin(ctx, wait, q)
}

// acquireWithin is acquire with the context of the wait, which begins here. Afterwards, that
// context ends only with ctx, and another deadline may be set.
func (r *Router) acquireWithin(ctx context.Context, wait *conn.Deadline, q request) (lease, error) {
	wait.Begin(ctx, q.start, q.start.Add(r.cfg.AcquireTimeout))
	conn, err := r.takeWithin(wait, time.Time{}, q)
	wait.Extend(never)
	if err == nil && q.leads() {
		return r.follow(ctx, q, conn)
	}
	return conn, err
}

// never is the deadline of a context that has none.
var never = time.Unix(1<<40, 0)

// take acquires a connection from the pool of a route, within the share of the class and, if it
// has one, of the statement. It takes at most AcquireTimeout, because pgxpool has no limit, and
// ends with ctx. If the time is up and the pool is full, the error is ErrPoolExhausted in both
// cases, because the statement was not sent.
func (r *Router) take(ctx context.Context, q request) (lease, error) {
	wait := &conn.Deadline{}
	wait.Begin(ctx, q.start, q.start.Add(r.cfg.AcquireTimeout))
	defer wait.Release()
	return r.takeWithin(wait, time.Time{}, q)
}

// takeWithin is take with a context that ends after AcquireTimeout. The caller's deadline
// is until, or that of wait's parent if until is zero.
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
	if q.spare && pool.Stat().AcquiredConns() >= pool.Config().MaxConns {
		q.leave(classes, read)
		return lease{}, q.notSpare()
	}
	conn, err := pool.Acquire(wait.Waiting())
	if err != nil {
		q.leave(classes, read)
		return lease{}, r.noConnection(wait, until, q, pool, classes, err)
	}
	l := lease{Conn: conn, bulkhead: classes, class: q.class, read: read}
	l.usage = r.inFlight.begin(wait.Context, q, conn.Conn().PgConn().PID())
	if r.cfg.Logger.Enabled(wait, slog.LevelDebug) {
		l.checkout = r.observer.acquired(wait, q.where, q.name, q.class, q.start, conn.Conn())
	}
	return l, nil
}

// enter waits until the shares of the class and of the statement admit the request. It
// returns the semaphore of the statement, if it has one.
func (q request) enter(wait *conn.Deadline, classes *bulkhead) (*semaphore.Weighted, error) {
	if !classes.admit(q.class) {
		if q.spare {
			return nil, q.notSpare()
		}
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

// leave undoes enter.
func (q request) leave(classes *bulkhead, read *semaphore.Weighted) {
	classes.leave(q.class)
	if read != nil {
		read.Release(1)
	}
}

// noConnection returns the error of a request that was admitted to its shares but got no
// connection because of err.
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
			"all %d connections are in use: raise POOL_MAX_CONNS or find the statements that hold them: %w", pool.Config().MaxConns, err)}
	}
	if timedOut && wait.Context.Err() == nil && (until.IsZero() || time.Now().Before(until)) {
		// The pool has room but no server answers. The statement is not at fault.
		return &Error{Kind: ErrUnavailable, Statement: q.name, Err: withoutConfig(err), unreached: true}
	}
	return wrap(q.name, err)
}

// now returns the request with the current time as its start.
func (q request) now() request {
	q.start = time.Now()
	return q
}

// notSpare returns the error of a request that would have to wait, and must not.
func (q request) notSpare() error {
	return &Error{Kind: ErrPoolExhausted, Statement: q.name, Class: q.class, Err: errNotSpare}
}

// noShare returns the error of a request that was not admitted to its share of the pool.
func (q request) noShare(err error) error {
	if errors.Is(err, errClass) {
		return &Error{Kind: ErrPoolExhausted, Statement: q.name, Class: q.class, Err: err}
	}
	return wrap(q.name, err)
}

// giveBack releases conn. If a failed statement left it in a transaction, it rolls back
// first. The caller waits for the ROLLBACK until its context ends and a moment longer. In
// the background, the ROLLBACK may take rollbackTimeout, after which the connection is
// destroyed.
func giveBack(ctx context.Context, conn lease) {
	if conn.Conn.Conn().IsClosed() || conn.Conn.Conn().PgConn().TxStatus() == 'I' {
		conn.release()
		return
	}
	rollBack(ctx, conn)
}

// rollBack rolls back and releases conn. It is not part of giveBack, whose argument would be
// allocated for its goroutine.
func rollBack(ctx context.Context, conn lease) {
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
