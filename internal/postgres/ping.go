package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// pinger asks the primary whether it answers, on one connection of its own: a
// pool that is full of slow work says nothing about the server. The connection
// is kept from one question to the next, and there is never a second one.
type pinger struct {
	turn chan struct{} // held by the call that uses the connection
	conn *pgx.Conn     // nil before the first call and after a failure
}

func newPinger() *pinger { return &pinger{turn: make(chan struct{}, 1)} }

var errClosed = errors.New("the Router is closed")

// ping connects if there is no connection, and asks for an answer. A connection
// that was kept may have died since: then it is made anew, once.
func (p *pinger) ping(ctx context.Context, r *Router) error {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.turn }()
	if r.closed.Load() {
		return errClosed
	}
	if p.conn != nil {
		err := p.conn.Ping(ctx)
		if err == nil && !demoted(p.conn.PgConn()) || ctx.Err() != nil && !p.conn.IsClosed() {
			return err
		}
		p.drop()
		if ctx.Err() != nil {
			return err
		}
	}
	conn, err := pgx.ConnectConfig(ctx, r.primary.Config().ConnConfig)
	if err != nil {
		return err
	}
	p.conn = conn
	return conn.Ping(ctx)
}

// demoted reports whether the server has become a standby. With several hosts
// in the URL, a new connection finds the primary.
func demoted(conn *pgconn.PgConn) bool { return conn.ParameterStatus("in_hot_standby") == "on" }

// drop closes the connection. The caller has the turn.
func (p *pinger) drop() {
	if p.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = p.conn.Close(ctx) // the server ends it in any case
	p.conn = nil
}

// close waits for the ping under way, and closes the connection.
func (p *pinger) close() {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	p.drop()
}

// Ready returns nil if the primary answers within the context's deadline. It uses
// a connection of its own, so that it can tell a server that does not answer from
// a pool that is full: with all connections in use, the service is busy and
// works. If the pool has no connection at all, it must be able to make one.
func (r *Router) Ready(ctx context.Context) error {
	if err := r.pinger.ping(ctx, r); err != nil {
		return wrap("ready", err)
	}
	if stat := r.primary.Stat(); stat.AcquiredConns()+stat.IdleConns() > 0 {
		return nil
	}
	conn, err := r.acquire(ctx, route{}, DefaultClass, time.Now(), "ready")
	if err != nil {
		return err
	}
	conn.release()
	return nil
}
