package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/internal/conn"
)

// route is where a statement runs. If it was meant for a replica and runs on the primary,
// reason says why.
type route struct {
	replica *replica // nil for the primary
	reason  string
	history history // of the replica
	server  int64   // when the server at the replica's address was started
}

// name returns the name of the server in metrics and logs.
func (w route) name() string {
	if w.replica != nil {
		return w.replica.name
	}
	return primaryName
}

// position returns the query for the WAL position on the server of the route.
func (w route) position() string {
	if w.replica != nil {
		return seenOnReplica
	}
	return pointOfPrimary
}

// scanPoint reads the result of the query that position returns. A position on a replica
// belongs to the history that was current when the replica was picked. The lead is how far that
// replica may be ahead of the primary.
func (w route) scanPoint(row pgx.Row) (point, lead, error) {
	var at, next, timeline int64
	p := point{history: w.history}
	if w.replica != nil {
		err := row.Scan(&at, &next)
		p.at = lsn(at)
		return p, lead{history: w.history, next: uint64(next)}, err
	}
	err := row.Scan(&at, &timeline, &p.started)
	p.at, p.timeline = lsn(at), uint32(timeline)
	return p, lead{}, err
}

// check rejects a connection to a server other than the one that was current when the route
// was chosen, and makes the pool replace it.
func (w route) check(c *pgxpool.Conn) error {
	if w.replica == nil {
		return nil
	}
	server := serverOf(c.Conn().PgConn()).started
	if server == w.server || server == 0 {
		return nil
	}
	conn.Discard(c.Conn().PgConn(), conn.DestroyedOther)
	return errOtherServer
}

// errOtherServer: a replica's address leads to several servers, or its server has just been
// restarted.
var errOtherServer = &Error{Kind: ErrUnavailable, Err: errors.New("the replica's address now leads to another server")}

// ask runs a query on the replica of the route. It must not delay a statement for the
// primary longer than a replica may be silent.
func (w route) ask(ctx context.Context, sql string, xids []int64, dest *bool) error {
	ctx, cancel := context.WithTimeout(ctx, replicaSilence)
	defer cancel()
	conn, err := w.replica.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := w.check(conn); err != nil {
		return err
	}
	return conn.QueryRow(ctx, sql, xids).Scan(dest)
}
