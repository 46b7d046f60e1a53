package conn

import (
	"context"
	"time"
)

// warmTimeout bounds how long the first connections are withheld from callers.
const warmTimeout = time.Second

// firstKey marks the context of Enter's connection attempt.
type firstKey struct{}

// Enter makes the first connection and uses it to check for faults of the server or a pooler
// that would only appear under load. Until then the pool makes no connection, unless Begin was
// called.
func (p *Pool) Enter(ctx context.Context) error {
	ctx = context.WithValue(ctx, firstKey{}, true)
	// The connect timeout applies to each address, and each host of the connection string is
	// tried. This bound is longer than all of these together, so that the error comes from the
	// hosts.
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

// warm makes the connections required by MinConns. The pool could not make them
// before the server had answered, and would otherwise make them only at its next
// health check.
func (p *Pool) warm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), warmTimeout)
	defer cancel()
	// Only while there are too few connections, because requests may have made them in the
	// meantime, and warm would hold the last free ones.
	for p.Stat().TotalConns() < p.config.MinConns {
		conn, err := p.Acquire(ctx)
		if err != nil {
			return // the next call that needs a connection returns the reason
		}
		// Held until the end, so that each Acquire makes another connection.
		defer conn.Release()
	}
}
