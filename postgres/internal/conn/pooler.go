package conn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrPooler says that a pooler gives each transaction another server connection
// and that Options.Pooled is not set.
var ErrPooler = errors.New("a pooler gives each transaction another server connection")

// behindPooler makes connections leave nothing on the server. A statement is
// described once for each connection and then sent whole each time, without a
// name: one round trip, and binary as ever. (pgx's exec mode, which describes
// nothing, would send text and guess the types: it takes a []string for a
// text[] where the column is jsonb.)
func behindPooler(cc *pgx.ConnConfig) {
	cc.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	cc.StatementCacheCapacity = 0
}

const lookAround = `-- name: LookAround :one
SELECT pg_backend_pid(),
       least(
         current_setting('max_connections')::int
           - CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::int
               + coalesce(current_setting('reserved_connections', true)::int, 0) END,
         CASE WHEN NOT r.rolsuper THEN nullif(r.rolconnlimit, -1) END,
         CASE WHEN NOT r.rolsuper THEN nullif(d.datconnlimit, -1) END)
FROM pg_roles r, pg_database d
WHERE r.rolname = current_user
  AND d.datname = current_database()`

// lookAround looks for faults that would only show under load. Its error is about a
// pooler. A question that the server does not answer is skipped.
func (p *Pool) lookAround(ctx context.Context, conn *pgx.Conn) error {
	if p.options.Pooled {
		return nil // it is known, and its server's limits are its own concern
	}
	var pid, room int64
	// Not prepared, because a pooler may be in between.
	if err := conn.QueryRow(ctx, lookAround, pgx.QueryExecModeExec).Scan(&pid, &room); err != nil {
		p.options.Logger.DebugContext(ctx, "the server's limits could not be read", "error", err)
		return nil
	}
	if int64(p.config.MaxConns) >= room {
		// An operator's psql and the migrations need one, too.
		p.options.Logger.WarnContext(ctx, fmt.Sprintf("the pool may take every connection of its server: "+
			"lower POOL_MAX_CONNS below %d or raise the server's limit", room),
			"setting", p.options.Setting, "pool_max_conns", p.config.MaxConns, "server", room)
	}
	// A pooler gives its clients process ids of its own.
	if uint32(pid) == conn.PgConn().PID() {
		return nil
	}
	return p.checkPooler(ctx, conn.PgConn())
}

// checkPooler finds out whether a statement that one transaction has prepared exists in
// the next one. It opens a transaction on a second connection, which with session
// pooling never gets the server connection of the first. Poolers that track prepared
// statements pass, too.
func (p *Pool) checkPooler(ctx context.Context, conn *pgconn.PgConn) error {
	ctx, cancel := context.WithTimeout(ctx, p.config.ConnConfig.ConnectTimeout)
	defer cancel()
	other, err := pgconn.ConnectConfig(ctx, &p.config.ConnConfig.Copy().Config)
	if err != nil {
		return nil // nothing is known
	}
	defer other.Close(context.WithoutCancel(ctx))
	name := "quern_" + rand.Text()
	if _, err = conn.Prepare(ctx, name, "SELECT pg_backend_pid()", nil); err != nil {
		return nil
	}
	first := conn.ExecPrepared(ctx, name, nil, nil, nil).Read()
	// A pooler mostly gives out the server connection that came back last.
	begun, err := other.Exec(ctx, "BEGIN; SELECT pg_backend_pid()").ReadAll()
	if err != nil {
		var refused *pgconn.PgError
		if errors.As(err, &refused) { // statement pooling
			return err
		}
		return nil
	}
	second := first
	if shared := first.Err == nil && string(first.Rows[0][0]) == string(begun[1].Rows[0][0]); shared {
		// On the same server connection the name is taken.
		_, err = other.Prepare(ctx, name, "SELECT 1", nil)
	} else {
		// Another server connection was used in between.
		second = conn.ExecPrepared(ctx, name, nil, nil, nil).Read()
	}
	// What was prepared would stay as long as the server connection does.
	_, _ = other.Exec(ctx, "ROLLBACK").ReadAll()
	_ = other.Deallocate(ctx, name)
	_ = conn.Deallocate(ctx, name)
	if notPrepared(first.Err) || notPrepared(second.Err) || notPrepared(err) {
		return ErrPooler
	}
	p.options.Logger.DebugContext(ctx, "a pooler stands before the server; prepared statements work through it", "setting", p.options.Setting)
	return nil
}

// notPrepared reports whether a prepared statement was not there, or one was
// that should not be: the marks of a server connection that others use, too.
func notPrepared(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) &&
		(e.Code == pgerrcode.InvalidSQLStatementName || e.Code == pgerrcode.DuplicatePreparedStatement)
}
