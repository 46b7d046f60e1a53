package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/internal/conn"
)

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

// position is the question how far the log is on the server of the route.
func (w route) position() string {
	if w.replica != nil {
		return seenOnReplica
	}
	return pointOfPrimary
}

// scanPoint reads the answer to it. A position of a replica belongs to the
// history that was current when the replica was picked, and the session leads the
// primary by what it has seen there.
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

// check refuses a connection to another server than the one that was looked at
// when the route was chosen, and has the pool make it anew.
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

// errOtherServer is met where a replica's address leads to several servers, or
// its server was restarted in this moment.
var errOtherServer = &Error{Kind: ErrUnavailable, Err: errors.New("the replica's address leads to another server than a moment ago")}

// ask asks the replica of the route. It may not keep a statement for the primary
// longer than a replica may be silent.
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
