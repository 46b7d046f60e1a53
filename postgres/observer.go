package postgres

import (
	"context"
	"time"
)

// Observer is notified of the statements, connections and failures of a Router, for
// metrics, spans or alerts. Packages pgprom and pgotel have implementations. The Router
// itself writes the log and counts the Stats of a request.
//
// The Router calls an Observer from many goroutines and waits for it. Methods must be safe
// for concurrent use and must not block.
type Observer interface {
	// StatementEnded is called when a statement has ended, with the context of its caller.
	// That context may have ended, too. A statement that is repeated ends once per attempt.
	StatementEnded(ctx context.Context, end StatementEnd)

	// Happened is called for all other events. The event is a struct of this package. A
	// later version may add events, so an Observer must ignore those that it does not know.
	Happened(event Event)
}

// RowObserver is an Observer that also sees rows. It is for tests, such as those that look
// for a NULL in each nullable column.
type RowObserver interface {
	Observer

	// RowScanned is called for each row that a caller scans, with its values as the server
	// sent them. A NULL is nil. The values must not be kept. Rows of coalesced calls are
	// not reported.
	RowScanned(statement *Statement, values [][]byte)
}

// StatementEnd describes a statement that has ended. COMMIT is a statement named "commit".
// A call that was coalesced with others is reported as a separate statement.
type StatementEnd struct {
	// Statement belongs to the Router and must not be modified.
	Statement *Statement

	// Replica is the host:port of the replica that the statement ran on. It is empty for
	// the primary.
	Replica string

	// Fallback is the reason why a statement with @route replica ran on the primary:
	// no_replica, history, lag, token, failed or position_unknown. It is empty for all
	// other statements.
	Fallback string

	// Start is when the attempt began. Duration is the time from then to the last row,
	// including the wait for a connection.
	Start    time.Time
	Duration time.Duration

	Rows int64 // returned or affected

	// Err is the statement's error, or nil. ErrorClass names its kind. ErrNotFound is not a
	// failure.
	Err error
}

// Event is an event of a Router. It is one of RouterStarted, Repeated, CallsCoalesced,
// CoalescingPaused, DoubtEnded, ConnectEnded, ConnectionClosed, PrimaryChanged,
// PrimaryBehind, TimelineRaised, HostRefused, ReplicasChanged, DiscoveryFailed and ServerWarned.
type Event interface{ event() }

// RouterStarted: Connect has succeeded. An Observer may keep the Router and call its
// Snapshot. Only ConnectEnded and ConnectionClosed can come before it.
type RouterStarted struct{ Router *Router }

// Repeated: a statement or transaction is about to be repeated.
type Repeated struct {
	Statement string // its name, "transaction" for the function of InTx, or "commit" for resolving a lost COMMIT
	Reason    string // connection, replica, serialization, deadlock, lock_timeout, stale_plan, settle or shared
}

// CallsCoalesced: several calls of a statement with @batch are sent as one. A call that
// runs individually is not counted. Pipelines that share a transaction are calls of "commit".
type CallsCoalesced struct {
	Statement string // the statement that was called
	Calls     int
}

// CoalescingPaused: a shared statement failed for calls that succeeded without it. For a
// while, calls run individually.
type CoalescingPaused struct {
	Statement string // the statement that was called
	Shared    string // the statement that failed
	Pause     time.Duration
	Err       error
}

// BatchSent is the old name of CallsCoalesced.
//
// Deprecated: Use CallsCoalesced.
type BatchSent = CallsCoalesced

// BatchPaused is the old name of CoalescingPaused.
//
// Deprecated: Use CoalescingPaused.
type BatchPaused = CoalescingPaused

// DoubtEnded: the answer to a write was lost. The Router has resolved whether it was
// applied, or has given up.
type DoubtEnded struct {
	Outcome string // committed, aborted or unknown
}

// ConnectEnded: an attempt to connect has succeeded or failed.
type ConnectEnded struct {
	Server   string // "primary", or the host:port of a replica
	PID      uint32 // of the backend, as in pg_stat_activity; 0 if Err is set
	Duration time.Duration
	Err      error
}

// ConnectionClosed: the pool closes a connection.
type ConnectionClosed struct {
	Server string // as in ConnectEnded
	PID    uint32
	Age    time.Duration
	Reason string // age, idle, reset or pool_closed; if Early, the fault, such as dead or broken
	Early  bool   // it had a fault
}

// PrimaryChanged: the primary was restarted, or is another server. A replica is not used
// until it shows that it follows this primary.
type PrimaryChanged struct {
	Timeline, TimelineBefore int64
	Started, StartedBefore   time.Time // of the server
}

// PrimaryBehind: the server at the primary's address is on a lower timeline than the last
// primary, so its writes may be lost.
type PrimaryBehind struct {
	Timeline, Highest int64
	Started           time.Time // of the server
}

// TimelineRaised: one of the hosts of Config.URL is the primary of a higher timeline. All
// connections move to it.
type TimelineRaised struct {
	Host             string // host:port
	Timeline, Before int64
}

// HostRefused: a host of Config.URL must not be written to.
type HostRefused struct {
	Host    string // host:port
	Problem string // older_timeline, equal_timelines or other_cluster
}

// ReplicasChanged: Config.ReplicaDiscovery lists servers that it did not list before, or no
// longer lists some. Each is a host:port.
type ReplicasChanged struct{ Found, Forgotten []string }

// DiscoveryFailed: Config.ReplicaDiscovery has returned an error. The replicas that it listed
// last stay in use.
type DiscoveryFailed struct{ Err error }

// ServerWarned: a statement caused a WARNING. It has the result that it has without. On
// Citus, a WARNING after a COMMIT says that a part of the transaction is stored, but stays
// invisible until Citus has repeated its COMMIT PREPARED.
type ServerWarned struct {
	Server  string // as in ConnectEnded
	Code    string // the SQLSTATE, which is 01000 for most warnings
	Message string
}

func (RouterStarted) event()    {}
func (Repeated) event()         {}
func (CallsCoalesced) event()   {}
func (CoalescingPaused) event() {}
func (DoubtEnded) event()       {}
func (ConnectEnded) event()     {}
func (ConnectionClosed) event() {}
func (PrimaryChanged) event()   {}
func (PrimaryBehind) event()    {}
func (TimelineRaised) event()   {}
func (HostRefused) event()      {}
func (ReplicasChanged) event()  {}
func (DiscoveryFailed) event()  {}
func (ServerWarned) event()     {}
