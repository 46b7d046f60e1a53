package conn

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// cancelDelay is how long a statement may still finish by itself after its context
	// has ended. A cancel request costs the server a process, and most statements take
	// less time than this.
	cancelDelay = 2 * time.Millisecond

	// CancelTimeout is how long after the end of its context a statement returns at the
	// latest, even if the server hangs or the network drops all packets. The connection
	// is lost then.
	CancelTimeout = 50 * time.Millisecond

	// closeTimeout bounds how long an abandoned connection may take to close. It holds
	// its pool slot until then. A COMMIT holds it longer (see hungCommits). pgconn's own
	// bound is 15 s.
	closeTimeout = time.Second
)

// cancellation ends a statement whose context has ended. It asks the server to cancel
// the statement (PostgreSQL manual, 55.2.8), so that the connection can be used
// again. pgconn itself would close the connection. It is the ctxwatch.Handler of its
// state.
type cancellation struct {
	deadline time.Time
	answered chan struct{} // closed when the statement has returned
	finished chan struct{} // closed when no cancel request is in flight
	doubt    atomic.Bool   // a cancel request may still reach the server
	shielded atomic.Bool   // the statement must not be cancelled

	unreplicated atomic.Bool // a COMMIT did not wait for the synchronous standby
}

// HandleCancel is called when the context of a running statement has ended.
func (s *state) HandleCancel(context.Context) {
	s.answered, s.finished = make(chan struct{}), make(chan struct{})
	s.doubt.Store(false)
	s.deadline = time.Now().Add(CancelTimeout)
	_ = s.pg.Conn().SetDeadline(s.deadline)
	if s.shielded.Load() {
		close(s.finished)
		return
	}
	go s.requestCancel()
}

// HandleUnwatchAfterCancel is called when that statement has returned. If a cancel
// request was sent, it waits for the request's end, because the request must not
// cancel the next statement on the connection. The server closes the request's
// connection after it has signalled the backend, and an idle backend ignores the
// signal.
func (s *state) HandleUnwatchAfterCancel() {
	close(s.answered)
	<-s.finished
	switch {
	case !time.Now().Before(s.deadline):
		s.reason = destroyedTimeout
		if s.shielded.Load() && s.pg.IsClosed() {
			s.pool.hung.add(s)
		}
		if !s.pg.IsClosed() {
			// The answer came at the last moment. It is unknown whether the deadline
			// interrupted a write.
			_ = s.net.Close()
		}
	case s.doubt.Load():
		s.reason = destroyedTimeout
		_ = s.net.Close()
	case !s.pg.IsClosed():
		_ = s.pg.Conn().SetDeadline(time.Time{})
	}
}

func (s *state) requestCancel() {
	defer close(s.finished)
	wait := time.NewTimer(cancelDelay)
	defer wait.Stop()
	select {
	case <-s.answered:
		return
	case <-wait.C:
	}
	sent := make(chan error, 1)
	go func() {
		// Longer than any caller waits for it. PgBouncer up to 1.19 can fail with FATAL
		// "bad client state" if a cancel request is closed before it was answered.
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), ownRequest{}, true), closeTimeout)
		defer cancel()
		sent <- s.pg.CancelRequest(ctx)
	}()
	late := time.NewTimer(time.Until(s.deadline))
	defer late.Stop()
	select {
	case err := <-sent:
		if err != nil {
			s.doubt.Store(true)
		}
	case <-late.C:
		s.doubt.Store(true)
	}
}

// ownRequest is the context key that marks a cancel request sent by this package.
type ownRequest struct{}

// dialCancel dials a cancel request. A request that this package did not send comes from
// pgconn, which is closing the connection.
func (s *state) dialCancel(ctx context.Context, network, address string) (net.Conn, error) {
	if ctx.Value(ownRequest{}) == nil {
		time.AfterFunc(closeTimeout, func() {
			if !s.held.Load() {
				_ = s.net.Close()
			}
		})
		if s.shielded.Load() {
			return nil, errors.New("the statement must not be cancelled")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(closeTimeout))
	return &cancelConn{conn, &s.doubt}, nil
}

// cancelConn is the connection of a cancel request. pgconn does not report how it
// ended, and only its orderly end shows that the server has signalled the backend.
type cancelConn struct {
	net.Conn
	doubt *atomic.Bool
}

func (c *cancelConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		c.doubt.Store(true)
	}
	return n, err
}

// Shield begins a statement that must never be cancelled, until end is called. If the
// connection breaks, or if the context has ended and no answer came within
// CancelTimeout, the connection is abandoned and the server continues the statement.
// hungCommits counts the latter.
//
// COMMIT is such a statement. If it is cancelled while it waits for a synchronous
// standby, it returns at once with success and a warning, and its transaction can
// still be lost with the primary.
func Shield(conn *pgconn.PgConn) (end func()) {
	s := stateOf(conn)
	if s == nil {
		return func() {}
	}
	s.shielded.Store(true)
	return func() {
		// pgconn closes a broken connection with a cancel request, which may be sent later
		// than this.
		if !conn.IsClosed() {
			s.shielded.Store(false)
		}
	}
}

// Unreplicated reports whether the last statement of a connection committed without
// waiting for the synchronous standby because it was cancelled there. It checks this
// only if the statement's context has ended, and resets it.
func Unreplicated(ctx context.Context, conn *pgconn.PgConn) bool {
	s := stateOf(conn)
	if ctx.Err() == nil || s == nil {
		return false
	}
	return s.unreplicated.Swap(false)
}

// onNotice is pgconn's hook for the server's notices.
func (s *state) onNotice(_ *pgconn.PgConn, n *pgconn.Notice) {
	// The message is translated, but the name of the routine is not (syncrep.c).
	if n.Routine == "SyncRepWaitForLSN" {
		s.unreplicated.Store(true)
	}
	if s.pool.Warned != nil && n.SeverityUnlocalized == "WARNING" {
		s.pool.Warned(n)
	}
}

// Cancelled adds the context's error to the error of a statement that was cancelled
// because its context ended. The server does not know about contexts.
func Cancelled(ctx context.Context, err error) error {
	var pgErr *pgconn.PgError
	if ctx.Err() == nil || !errors.As(err, &pgErr) || pgErr.Code != pgerrcode.QueryCanceled {
		return err
	}
	return &cancelledError{err, ctx.Err()}
}

type cancelledError struct{ server, context error }

func (e *cancelledError) Error() string   { return e.context.Error() + ": " + e.server.Error() }
func (e *cancelledError) Unwrap() []error { return []error{e.context, e.server} }
