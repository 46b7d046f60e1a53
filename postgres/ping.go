package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
)

// pinger checks the primary on one separate connection, because a pool full of slow
// statements says nothing about the server. The connection is kept between checks, and
// there is never a second one.
type pinger struct {
	turn chan struct{} // held by the call that uses the connection
	conn *pgx.Conn     // nil before the first call and after a failure
}

func newPinger() *pinger { return &pinger{turn: make(chan struct{}, 1)} }

var errClosed = errors.New("the Router is closed")

// ping connects if there is no connection, and checks the server. If a kept connection has
// died in the meantime, it is replaced once.
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
		err := writable(ctx, p.conn)
		if err == nil && !demoted(p.conn.PgConn()) && !r.hosts.outdated(p.conn.PgConn()) || ctx.Err() != nil && !p.conn.IsClosed() {
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
	return writable(ctx, conn)
}

// ErrReadOnly: new connections to the primary cannot write, because
// default_transaction_read_only is on.
var ErrReadOnly = errors.New("the database is read-only: default_transaction_read_only is on for the role, the database, the server or DATABASE_URL: RESET it, or remove it there")

// readOnlySessions returns true if a session that begins now cannot write. The session of
// this connection began earlier, so the current settings of the role and the database are
// read from the catalog, in order of precedence (PostgreSQL manual, ALTER ROLE).
const readOnlySessions = `SELECT s.setting = 'on' OR s.source <> 'client' AND coalesce((
         SELECT split_part(c, '=', 2)::boolean
         FROM pg_db_role_setting AS g, unnest(g.setconfig) AS c
         WHERE g.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
           AND g.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
           AND c LIKE 'default\_transaction\_read\_only=%'
         ORDER BY g.setrole <> 0 DESC, g.setdatabase <> 0 DESC
         LIMIT 1), false)
FROM pg_settings AS s
WHERE s.name = 'default_transaction_read_only'`

// writable checks that the server answers and accepts writes.
func writable(ctx context.Context, conn *pgx.Conn) error {
	// Not prepared, because there may be a pooler in between.
	results, err := conn.PgConn().Exec(ctx, readOnlySessions).ReadAll()
	if err != nil {
		return err
	}
	if rows := results[0].Rows; len(rows) == 1 && string(rows[0][0]) == "t" {
		return ErrReadOnly
	}
	return nil
}

// demoted reports whether the server has become a standby. If the URL names several hosts,
// a new connection finds the primary.
func demoted(conn *pgconn.PgConn) bool { return conn.ParameterStatus("in_hot_standby") == "on" }

// drop closes the connection. The caller must hold the turn.
func (p *pinger) drop() {
	conn.CloseQuickly(p.conn) // the server ends it in any case
	p.conn = nil
}

// close waits for a ping in progress and closes the connection.
func (p *pinger) close() {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	p.drop()
}
