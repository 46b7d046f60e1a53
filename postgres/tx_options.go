package postgres

import (
	"time"

	"github.com/jackc/pgx/v5"
)

// TxOptions say how a transaction runs. The zero value is a read-write transaction at the
// server's default isolation level whose outcome is known exactly.
type TxOptions struct {
	// Isolation is pgx.Serializable, pgx.RepeatableRead or pgx.ReadCommitted.
	// Defaults to the server's.
	Isolation pgx.TxIsoLevel

	// ReadOnly rejects writes. Defaults to off.
	ReadOnly bool

	// Replica lets a ReadOnly transaction run on a replica that has replayed everything
	// the caller's session has seen. Defaults to the primary.
	Replica bool

	// Class is the class of work whose share of the pool the transaction uses. Defaults
	// to the class of its first statement. In a Pipeline it defaults to the first class
	// of its statements that is not DefaultClass.
	Class string

	// Spare runs the transaction only on a connection that is free now. If the share of
	// its class is in use, if another call waits for that share, or if the pool is full,
	// InTx returns ErrPoolExhausted without waiting. The DBTX of another InTx has no spare
	// connection. Use it for work that can also be done later, on a connection that the
	// caller already has. Defaults to off.
	Spare bool

	// MaxIdle is how long the transaction may be idle, which means that its function
	// sends nothing because it waits for something other than its own statements. After
	// that its connection is closed, and the next statement or the COMMIT returns
	// ErrIdleInTransaction. The server gets the same limit as
	// idle_in_transaction_session_timeout, so the locks are released even if this process
	// dies. The limit does not apply to a Pipeline that sends COMMIT with its statements.
	// Defaults to Config.TxMaxIdle. Negative means no limit.
	MaxIdle time.Duration

	// NoMarker omits the row that resolves a lost COMMIT. A lost COMMIT is then
	// ErrCommitUnknown. Use it if the caller can tell from its own rows whether the
	// transaction committed. It saves about 20 µs. Defaults to off.
	NoMarker bool

	// ReadBack reads the stored rows of a Pipeline whose transaction committed but whose
	// answer was lost. It runs in a separate transaction on the primary. With ReadBack, a
	// Pipeline that writes is one round trip. Defaults to none, which costs a second round
	// trip.
	ReadBack func(tx DBTX) error

	// Coalesce lets a Pipeline share its transaction under load: pipelines that are called at
	// the same time are sent in one round trip, with one BEGIN, a marker for each, the
	// statements of one after those of another, and one COMMIT. Each caller gets its own rows,
	// its own error and its own outcome, as if the pipelines had run one after another. If the
	// server rejects a statement, nothing of the shared transaction is kept: that pipeline then
	// runs alone, and the others again without it.
	//
	// The pipelines can see this of each other:
	//   - now() and the transaction ID are the same for all of them.
	//   - Deferred constraints and triggers run after the statements of all of them.
	//   - A setting for the transaction would apply to all. A Pipeline with SET or set_config
	//     is never shared, but a function that it calls must not change one either.
	//   - A statement that waits for a lock delays the others, for 100 ms at most.
	//   - Once it is sent, a shared transaction is not cancelled with one caller's context.
	//     That caller waits another moment for the outcome, and then gets ErrCommitUnknown.
	//
	// It needs ReadBack or NoMarker, and has no effect in a transaction, with ReadOnly, in a
	// class other than DefaultClass, at an isolation level other than pgx.ReadCommitted and
	// the server's default, and with more than 64 kB of arguments. Defaults to off.
	Coalesce bool

	// Recall is the old name of ReadBack, which takes precedence.
	//
	// Deprecated: Use ReadBack.
	Recall func(tx DBTX) error
}

// withDefaults returns o with ReadBack set from the deprecated Recall.
func (o TxOptions) withDefaults() TxOptions {
	if o.ReadBack == nil {
		o.ReadBack = o.Recall
	}
	return o
}

func (o TxOptions) begin() string {
	sql := "begin"
	if o.Isolation != "" {
		sql += " isolation level " + string(o.Isolation)
	}
	if o.ReadOnly {
		sql += " read only"
	}
	return sql
}
