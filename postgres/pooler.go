package postgres

import "quern/postgres/internal/conn"

// Pooler is the connection pooler between a Router and the server.
type Pooler string

// The poolers that a Router supports.
const (
	// PoolerNone means no pooler, or one that keeps a server connection for as long as the
	// client's connection lives (session pooling).
	PoolerNone Pooler = "none"

	// PoolerTransaction means a pooler that may give each transaction another server
	// connection, such as PgBouncer with pool_mode=transaction. Settings, prepared
	// statements and locks of a session do not survive a transaction.
	PoolerTransaction Pooler = "transaction"
)

// ErrPooler: a pooler gives each transaction another server connection, but POOLER does not
// say so.
var ErrPooler = conn.ErrPooler
