package conn

import (
	"context"
	"time"
)

// warmTimeout bounds how long the first connections are kept from the callers that
// want to use them.
const warmTimeout = time.Second

// firstKey marks the context of Enter's attempt to connect.
type firstKey struct{}

// Enter makes the first connection, and looks with it for faults of the server or a
// pooler that would only show under load. Without Begin, the pool makes no connection
// before.
func (p *Pool) Enter(ctx context.Context) error {
	ctx = context.WithValue(ctx, firstKey{}, true)
	// The timeout is that of one address. Each host of the connection string is tried,
	// and this bound is longer, so that the error is that of the hosts.
	hosts := 1 + len(p.config.ConnConfig.Fallbacks)
	bounded, cancel := context.WithTimeout(ctx, time.Duration(hosts)*p.config.ConnConfig.ConnectTimeout+time.Second)
	defer cancel()
	conn, err := p.Acquire(bounded)
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := p.lookAround(bounded, conn.Conn()); err != nil {
		return err
	}
	if p.config.MinConns > 1 {
		go p.warm(ctx)
	}
	return nil
}

// warm makes the connections that MinConns asks for, which the pool did not get
// before the server had answered and would not make until its next look.
func (p *Pool) warm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), warmTimeout)
	defer cancel()
	// Only while there are too few: requests may have made them meanwhile, and this
	// would hold the last ones.
	for p.Stat().TotalConns() < p.config.MinConns {
		conn, err := p.Acquire(ctx)
		if err != nil {
			return // the next call that needs a connection reports why there is none
		}
		// Held to the end, so that each is another one.
		defer conn.Release()
	}
}
