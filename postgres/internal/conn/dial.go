package conn

import (
	"context"
	"net"
	"time"
)

// deadAfter is how long sent data may remain unacknowledged by the peer. The
// kernel's own bound is about 15 minutes. With a shorter bound, a network with
// short interruptions would count as dead.
const deadAfter = 10 * time.Second

// dialer dials every connection of the pools.
var dialer = &net.Dialer{
	Control: boundUnacknowledged,
	// An idle connection whose server disappeared is also detected after
	// deadAfter: after 5 s of silence the kernel sends one probe per second.
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 5},
}

// lookup resolves a host's name within a timeout, because pgconn's connect
// timeout starts only after the name is resolved.
func lookup(timeout time.Duration) func(ctx context.Context, host string) ([]string, error) {
	return func(ctx context.Context, host string) ([]string, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return net.DefaultResolver.LookupHost(ctx, host)
	}
}
