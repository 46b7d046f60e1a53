package postgres

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

// Why a connection was closed before its time, in metrics and logs.
const (
	destroyedDead     = "dead"                // found closed by the server, or with unread data, when it was asked for
	destroyedReadOnly = "read_only"           // its server takes no writes any more (25006)
	destroyedShutdown = "shutdown"            // its server is going down or coming up (57P01, 57P02, 57P03)
	destroyedFatal    = "fatal"               // the server ended it for another reason
	destroyedTimeout  = "timeout"             // neither an answer nor the end of a cancelled statement came in time
	destroyedBroken   = "broken"              // the network, or the ping after a long idle time
	destroyedIdle     = "idle_in_transaction" // its transaction was idle for too long
	destroyedTx       = "in_transaction"      // given back inside a transaction or a statement
	destroyedOther    = "other_server"        // it leads to another replica than the one that was looked at
)

// linkKey is where a connection's link is kept in its custom data.
const linkKey = "quern.link"

// link is one connection of a pool, with what pgx does not know of it. It is
// made before the connection is, so that it can see it being made.
type link struct {
	keeper *keeper
	pg     *pgconn.PgConn
	net    net.Conn // the socket, beneath TLS
	socket peeker
	born   time.Time
	rested time.Duration // how long it has been idle before its present use
	system int64         // the server's system identifier, 0 when it was not asked
	server int64         // when a replica's server was started, 0 when it was not asked
	reason string        // why it is not to be used again
	resets int64         // of the keeper, when the connection was begun
	held   atomic.Bool   // hung keeps it until the server has ended it

	// open is set when the connection is made: what is dialled from then on
	// are requests to cancel.
	open  atomic.Bool
	types linkTypes
	cancellation
}

// linkOf returns the link of a connection, or nil for one that no keeper made.
func linkOf(conn *pgconn.PgConn) *link {
	l, _ := conn.CustomData()[linkKey].(*link)
	return l
}

// watch is pgconn's BuildContextWatcherHandler: it is called when a server has
// let us in.
func (l *link) watch(conn *pgconn.PgConn) ctxwatch.Handler {
	l.pg, l.net = conn, beneathTLS(conn.Conn())
	l.socket = peeker{}
	if c, ok := l.net.(syscall.Conn); ok {
		l.socket.open(c)
	}
	conn.CustomData()[linkKey] = l
	return l
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
func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !l.open.Load() {
		return dialer.DialContext(ctx, network, address)
	}
	return l.dialCancel(ctx, network, address)
}

// onPgError is pgconn's hook for the server's errors: false closes the
// connection. pgconn's own closes what is FATAL, by a severity that the server
// may have translated.
func (l *link) onPgError(conn *pgconn.PgConn, e *pgconn.PgError) bool {
	severity := e.SeverityUnlocalized
	if severity == "" { // PostgreSQL 9.5, and poolers
		severity = e.Severity
	}
	switch e.Code {
	case pgerrcode.AdminShutdown, pgerrcode.CrashShutdown, pgerrcode.CannotConnectNow:
		if strings.EqualFold(severity, "ERROR") {
			return true // another server, to which this one was connected
		}
		l.lost(destroyedShutdown)
		return false
	case pgerrcode.ReadOnlySQLTransaction:
		if !readOnlyServer(conn) || time.Since(l.born) < readOnlyPatience {
			return true
		}
		l.lost(destroyedReadOnly)
		return false
	}
	if strings.EqualFold(severity, "FATAL") || strings.EqualFold(severity, "PANIC") {
		l.reason = destroyedFatal
		return false
	}
	return true
}

func (l *link) lost(reason string) {
	l.reason = reason
	if l.open.Load() { // and not only being made
		l.keeper.lost(reason)
	}
}

// readOnlyServer tells a server that takes no writes from a transaction that
// was declared read-only. The server reports both settings as they change;
// before version 14, and through poolers, it does not, and they may be on.
func readOnlyServer(conn *pgconn.PgConn) bool {
	return conn.ParameterStatus("in_hot_standby") != "off" || conn.ParameterStatus("default_transaction_read_only") != "off"
}

// dead reports whether the connection cannot be used again: its server has
// closed it, or said something that nobody asked for, which is mostly goodbye.
func (l *link) dead() bool {
	return l.pg.Frontend().ReadBufferLen() > 0 || l.socket.dead()
}

// destroyed says why the pool is about to close a connection before its time,
// and false for one whose time has come.
func (l *link) destroyed(conn *pgx.Conn) (reason string, early bool) {
	switch {
	case l.reason != "":
		return l.reason, true
	case conn.IsClosed():
		return destroyedBroken, true
	case conn.PgConn().TxStatus() != 'I', conn.PgConn().IsBusy():
		return destroyedTx, true
	}
	return "", false
}
