package postgres

import "quern/postgres/internal/conn"

// Pooler is what stands between a Router and the server.
type Pooler string

// The poolers that a Router knows.
const (
	// PoolerNone is none, or one that keeps a server connection for as long as
	// the client's lives (session pooling).
	PoolerNone Pooler = "none"

	// PoolerTransaction is one that gives each transaction another server
	// connection: PgBouncer with pool_mode=transaction and its like. What a
	// connection was told, prepared or locked is not there in the next one.
	PoolerTransaction Pooler = "transaction"
)

// ErrPooler says that a pooler gives each transaction another server connection
// and that POOLER does not say so.
var ErrPooler = conn.ErrPooler
