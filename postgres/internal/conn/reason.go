package conn

// Reasons for closing a connection before the end of its lifetime, in metrics
// and logs.
const (
	destroyedDead     = "dead"           // closed by the server, or with unread data, when it was about to be used
	destroyedReadOnly = "read_only"      // its server no longer accepts writes (25006)
	destroyedShutdown = "shutdown"       // its server is shutting down or starting up (57P01, 57P02, 57P03)
	destroyedFatal    = "fatal"          // the server ended it for another reason
	destroyedTimeout  = "timeout"        // neither an answer nor the end of a cancelled statement came in time
	destroyedBroken   = "broken"         // the network failed, or the ping after a long idle time
	destroyedTx       = "in_transaction" // released inside a transaction or a statement

	// DestroyedIdle and DestroyedOther are reasons for Discard.
	DestroyedIdle  = "idle_in_transaction" // its transaction was idle for too long
	DestroyedOther = "other_server"        // it leads to another replica than the one that was checked
)

// Reasons for closing a connection regularly.
const (
	closedAge   = "age"         // older than POOL_MAX_CONN_LIFETIME
	closedIdle  = "idle"        // unused for longer than POOL_MAX_CONN_IDLE
	closedReset = "reset"       // all connections were replaced, because their server is going away or no longer accepts writes
	closedPool  = "pool_closed" // the service is shutting down
)
