// Package conn provides healthy connections. It dials them, prepares their sessions, detects
// those that died while idle, cancels their statements, bounds how long they may take, and
// replaces connections whose server is going away. It depends on pgx but not on the runtime,
// which passes it Options and Hooks.
//
//	Open, Pool         pool.go, enter.go, leave.go   a pgxpool.Pool with hooks
//	Options            options.go, pooler.go         settings of a connection, PgBouncer
//	PrepareSession     session.go                    settings that are the same in every session
//	Discard            state.go, peek*.go, reason.go a connection's state, and why it was closed
//	Shield, Cancelled  cancel.go                     a statement whose context has ended
//	RefuseWrite        hung.go                       COMMITs that got no answer
//	KnowTypes          types.go                      OIDs of a project's own types
//	WithDeadline       deadline.go                   contexts that share one timer
//
// dial*.go bounds how long a silent network may take.
package conn
