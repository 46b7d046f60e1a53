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

// stateKey is where a connection's state is kept in its custom data.
const stateKey = "quern.conn"

// state is a connection of a Pool with what pgx does not know of it. It is made before
// the connection is made, so that it can see it being made.
type state struct {
	pool   *Pool
	pg     *pgconn.PgConn
	net    net.Conn // the socket, beneath TLS
	socket peeker
	born   time.Time
	rested time.Duration // how long it has been idle before its present use
	reason string        // why it is not to be used again
	resets int64         // of the pool, when the connection was begun
	held   atomic.Bool   // hung keeps it until the server has ended it

	// open is set when the connection is made: what is dialled from then on
	// are requests to cancel.
	open  atomic.Bool
	types knownTypes
	cancellation
}

// stateOf returns the state of a connection, or nil for one beside every Pool.
func stateOf(conn *pgconn.PgConn) *state {
	s, _ := conn.CustomData()[stateKey].(*state)
	return s
}

// watch is pgconn's BuildContextWatcherHandler: it is called when a server has accepted
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

// dial is pgconn's DialFunc. Besides connections it dials the requests to
// cancel: those that cancellation sends, and those that pgconn sends when it
// gives a connection up.
func (s *state) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !s.open.Load() {
		return dialer.DialContext(ctx, network, address)
	}
	return s.dialCancel(ctx, network, address)
}

// onPgError is pgconn's hook for the server's errors: false closes the
// connection. pgconn's own closes what is FATAL, by a severity that the server
// may have translated.
func (s *state) onPgError(conn *pgconn.PgConn, e *pgconn.PgError) bool {
	severity := e.SeverityUnlocalized
	if severity == "" { // PostgreSQL 9.5, and poolers
		severity = e.Severity
	}
	switch e.Code {
	case pgerrcode.AdminShutdown, pgerrcode.CrashShutdown, pgerrcode.CannotConnectNow:
		if strings.EqualFold(severity, "ERROR") {
			return true // another server, to which this one was connected
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
	if s.open.Load() { // and not only being made
		s.pool.lost(reason)
	}
}

// readOnlyServer tells a server that takes no writes from a transaction that
// was declared read-only. The server reports both settings as they change;
// before version 14, and through poolers, it does not, and they may be on.
func readOnlyServer(conn *pgconn.PgConn) bool {
	return conn.ParameterStatus("in_hot_standby") != "off" || conn.ParameterStatus("default_transaction_read_only") != "off"
}

// dead reports whether the connection cannot be used again: its server has closed it or
// sent unsolicited data, usually a shutdown notice.
func (s *state) dead() bool {
	return s.pg.Frontend().ReadBufferLen() > 0 || s.socket.dead()
}

// destroyed returns why the pool closes a connection before its time. early is false for
// a connection without a fault.
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

// Discard makes the pool close a connection, for the given reason, instead of using it
// again.
func Discard(conn *pgconn.PgConn, reason string) {
	if s := stateOf(conn); s != nil {
		s.reason = reason
	}
}
