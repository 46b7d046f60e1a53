// Package conn keeps connections that work: it dials them, prepares their sessions,
// finds those that died while idle, cancels their statements, ends what takes too long,
// and replaces connections whose server is going away. It knows pgx, and nothing of the
// runtime, which gives it Options and Hooks.
//
//	Open, Pool         pool.go, enter.go, leave.go   a pgxpool.Pool with hooks
//	Options            options.go, pooler.go         what a connection is made with, PgBouncer
//	PrepareSession     session.go                    settings that are the same in every session
//	Discard            state.go, peek*.go, reason.go a connection's state, and why it was closed
//	Shield, Cancelled  cancel.go                     a statement whose context has ended
//	RefuseWrite        hung.go                       COMMITs that got no answer
//	KnowTypes          types.go                      OIDs of a project's own types
//	WithDeadline       deadline.go                   contexts that share one timer
//
// dial*.go bounds how long a silent network may take.
package conn
