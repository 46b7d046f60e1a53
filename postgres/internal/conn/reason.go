package conn

// Why a connection was closed before its time, in metrics and logs.
const (
	destroyedDead     = "dead"           // found closed by the server, or with unread data, when it was asked for
	destroyedReadOnly = "read_only"      // its server takes no writes any more (25006)
	destroyedShutdown = "shutdown"       // its server is going down or coming up (57P01, 57P02, 57P03)
	destroyedFatal    = "fatal"          // the server ended it for another reason
	destroyedTimeout  = "timeout"        // neither an answer nor the end of a cancelled statement came in time
	destroyedBroken   = "broken"         // the network, or the ping after a long idle time
	destroyedTx       = "in_transaction" // given back inside a transaction or a statement

	// DestroyedIdle and DestroyedOther are reasons for Discard.
	DestroyedIdle  = "idle_in_transaction" // its transaction was idle for too long
	DestroyedOther = "other_server"        // it leads to another replica than the one that was looked at
)

// Why a connection was closed in its time.
const (
	closedAge   = "age"         // older than POOL_MAX_CONN_LIFETIME
	closedIdle  = "idle"        // unused for longer than POOL_MAX_CONN_IDLE
	closedReset = "reset"       // all connections were replaced: their server refuses to work
	closedPool  = "pool_closed" // the service ends
)
