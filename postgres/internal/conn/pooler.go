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

// ErrPooler means that a pooler assigns another server connection to each
// transaction although Options.Pooled is not set.
var ErrPooler = errors.New("a pooler gives each transaction another server connection")

// behindPooler makes connections leave no state on the server. A statement is described once
// for each connection and then sent completely each time, without a name. That takes one round
// trip and stays binary. pgx's exec mode, which does not describe statements, would send text
// and guess the types. It encodes a []string as text[] even if the column is jsonb.
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

// lookAround checks for faults that would only appear under load. Only a fault of a pooler is
// an error. If the server does not answer one of its queries, that check is skipped.
func (p *Pool) lookAround(ctx context.Context, conn *pgx.Conn) error {
	if p.options.Pooled {
		return nil // the setting names the pooler, and the limits of its server do not concern the pool
	}
	var pid, room int64
	// Not prepared, because a pooler may be in between.
	if err := conn.QueryRow(ctx, lookAround, pgx.QueryExecModeExec).Scan(&pid, &room); err != nil {
		p.options.Logger.DebugContext(ctx, "the server's limits could not be read", "error", err)
		return nil
	}
	if int64(p.config.MaxConns) >= room {
		// An operator's psql and the migrations need a connection, too.
		p.options.Logger.WarnContext(ctx, fmt.Sprintf("the pool may take every connection of its server: "+
			"lower POOL_MAX_CONNS below %d or raise the server's limit", room),
			"setting", p.options.Setting, "pool_max_conns", p.config.MaxConns, "server", room)
	}
	// A pooler gives its clients its own process ids.
	if uint32(pid) == conn.PgConn().PID() {
		return nil
	}
	return p.checkPooler(ctx, conn.PgConn())
}

// checkPooler detects whether a statement prepared in one transaction exists in the
// next one. It opens a transaction on a second connection, which with session
// pooling never gets the server connection of the first. Poolers that track prepared
// statements pass, too.
func (p *Pool) checkPooler(ctx context.Context, conn *pgconn.PgConn) error {
	ctx, cancel := context.WithTimeout(ctx, p.config.ConnConfig.ConnectTimeout)
	defer cancel()
	other, err := pgconn.ConnectConfig(ctx, &p.config.ConnConfig.Copy().Config)
	if err != nil {
		return nil // unknown
	}
	defer other.Close(context.WithoutCancel(ctx))
	name := "quern_" + rand.Text()
	if _, err = conn.Prepare(ctx, name, "SELECT pg_backend_pid()", nil); err != nil {
		return nil
	}
	first := conn.ExecPrepared(ctx, name, nil, nil, nil).Read()
	// A pooler usually assigns the server connection that was released last.
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
		// On the same server connection the name is already in use.
		_, err = other.Prepare(ctx, name, "SELECT 1", nil)
	} else {
		// Another server connection was used in the meantime.
		second = conn.ExecPrepared(ctx, name, nil, nil, nil).Read()
	}
	// Prepared statements would stay as long as the server connection.
	_, _ = other.Exec(ctx, "ROLLBACK").ReadAll()
	_ = other.Deallocate(ctx, name)
	_ = conn.Deallocate(ctx, name)
	if notPrepared(first.Err) || notPrepared(second.Err) || notPrepared(err) {
		return ErrPooler
	}
	p.options.Logger.DebugContext(ctx, "the server is behind a pooler that supports prepared statements", "setting", p.options.Setting)
	return nil
}

// notPrepared reports whether a prepared statement did not exist, or an unexpected
// one did. Both show that other clients use the server connection.
func notPrepared(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) &&
		(e.Code == pgerrcode.InvalidSQLStatementName || e.Code == pgerrcode.DuplicatePreparedStatement)
}
