package conn

import (
	"context"
	"net"
	"time"
)

// deadAfter is how long a peer may leave what was sent to it unacknowledged.
// The kernel's own bound is some 15 minutes; a shorter one would take a network
// that only stutters for dead.
const deadAfter = 10 * time.Second

// dialer dials every connection of the pools.
var dialer = &net.Dialer{
	Control: boundUnacknowledged,
	// An idle connection whose server went away without a word is found out
	// after deadAfter, too: 5 s of silence, then a question each second.
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 5},
}

// lookup resolves a host's name within a timeout: pgconn's connect timeout
// begins when the name is resolved.
func lookup(timeout time.Duration) func(ctx context.Context, host string) ([]string, error) {
	return func(ctx context.Context, host string) ([]string, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return net.DefaultResolver.LookupHost(ctx, host)
	}
}
