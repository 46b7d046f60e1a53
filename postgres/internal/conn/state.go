package conn

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// stateKey is the key of a connection's state in its custom data.
const stateKey = "quern.conn"

// state is the state that a Pool keeps for a connection in addition to pgx's own. It is created
// before the connection, so that it can observe connecting.
type state struct {
	pool   *Pool
	pg     *pgconn.PgConn
	net    net.Conn // the socket below TLS
	socket peeker
	born   time.Time
	rested time.Duration // how long it was idle before its present use
	reason string        // why it must not be used again
	resets int64         // the pool's resets when the connection attempt began
	held   atomic.Bool   // hung keeps its slot until the server has ended it

	// open is true once the connection is established. After that, dial is only called for
	// cancel requests.
	open  atomic.Bool
	types knownTypes
	statements
	builder pgx.ExtendedQueryBuilder // of the batch that is being sent
	cancellation
}

// stateOf returns the state of a connection, or nil if it does not belong to a Pool.
func stateOf(conn *pgconn.PgConn) *state {
	s, _ := conn.CustomData()[stateKey].(*state)
	return s
}

// watch is pgconn's BuildContextWatcherHandler. It is called when a server has accepted
// the connection.
func (s *state) watch(conn *pgconn.PgConn) ctxwatch.Handler {
	s.pg, s.net = conn, beneathTLS(conn.Conn())
	s.socket = peeker{}
	if c, ok := s.net.(syscall.Conn); ok {
		s.socket.open(c)
	}
	conn.CustomData()[stateKey] = s
	return s
}

func beneathTLS(c net.Conn) net.Conn {
	for {
		wrapped, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = wrapped.NetConn()
	}
}

// dial is pgconn's DialFunc. It dials connections and cancel requests. The latter are
// sent by cancellation, or by pgconn when it closes a connection.
func (s *state) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !s.open.Load() {
		return dialer.DialContext(ctx, network, address)
	}
	return s.dialCancel(ctx, network, address)
}

// onPgError is pgconn's hook for the server's errors. If it returns false, pgconn
// closes the connection. pgconn's own hook closes it for FATAL errors, but checks a
// severity that the server may have translated.
func (s *state) onPgError(conn *pgconn.PgConn, e *pgconn.PgError) bool {
	severity := e.SeverityUnlocalized
	if severity == "" { // PostgreSQL 9.5, and poolers
		severity = e.Severity
	}
	switch e.Code {
	case pgerrcode.AdminShutdown, pgerrcode.CrashShutdown, pgerrcode.CannotConnectNow:
		if strings.EqualFold(severity, "ERROR") {
			return true // the error comes from another server, to which this one was connected
		}
		s.lost(destroyedShutdown)
		return false
	case pgerrcode.ReadOnlySQLTransaction:
		if !readOnlyServer(conn) || time.Since(s.born) < readOnlyPatience {
			return true
		}
		s.lost(destroyedReadOnly)
		return false
	}
	if strings.EqualFold(severity, "FATAL") || strings.EqualFold(severity, "PANIC") {
		s.reason = destroyedFatal
		return false
	}
	return true
}

func (s *state) lost(reason string) {
	s.reason = reason
	if s.open.Load() { // not while connecting
		s.pool.lost(reason)
	}
}

// readOnlyServer distinguishes a server that accepts no writes from a transaction that was
// declared read-only. The server reports changes of both settings. Before version 14, and
// through poolers, it does not report them, so they count as on.
func readOnlyServer(conn *pgconn.PgConn) bool {
	return conn.ParameterStatus("in_hot_standby") != "off" || conn.ParameterStatus("default_transaction_read_only") != "off"
}

// dead reports whether the connection cannot be used again, because its server has
// closed it or sent unsolicited data, usually a shutdown notice.
func (s *state) dead() bool {
	return s.pg.Frontend().ReadBufferLen() > 0 || s.socket.dead()
}

// destroyed returns why the pool closes a connection before the end of its lifetime.
// early is false for a connection without a fault.
func (s *state) destroyed(conn *pgx.Conn) (reason string, early bool) {
	switch {
	case s.reason != "":
		return s.reason, true
	case conn.IsClosed():
		return destroyedBroken, true
	case conn.PgConn().TxStatus() != 'I', conn.PgConn().IsBusy():
		return destroyedTx, true
	}
	return "", false
}

// Discard makes the pool close a connection for the given reason instead of reusing it.
func Discard(conn *pgconn.PgConn, reason string) {
	if s := stateOf(conn); s != nil {
		s.reason = reason
	}
}
