package postgres

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// listenPing is how long a connection may be silent before the server is pinged,
	// because a dead connection looks like one without notifications.
	listenPing = 30 * time.Second

	// listenPingLeast is the shortest interval of pings. A load balancer closes connections
	// that are idle, some after seconds, and knows nothing of TCP's own keepalives.
	listenPingLeast = 500 * time.Millisecond

	// listenBackOff is the pause between two attempts to connect, plus or minus half,
	// because all processes of a service lose their connections at the same time. The first
	// attempt comes sooner, because the server is usually still there.
	listenBackOff = time.Second
	listenAgain   = 200 * time.Millisecond
)

// Listen listens on a channel (PostgreSQL manual, LISTEN) until ctx ends. It calls heard
// with the payload of each notification. It calls heard with connected set each time it has
// begun to listen, because earlier notifications were missed, so a waiting caller must
// check its condition again. heard must not block.
//
// Listen uses a separate connection to the primary, outside the pool, and replaces it if it
// breaks. If it breaks while silent, the server is pinged twice as often as that from then on,
// so that a load balancer that closes idle connections does so only once. Notifications are
// only hints. Some are lost, so a waiting caller must also poll.
// A pooler in transaction mode accepts LISTEN but does not deliver anything.
func (r *Router) Listen(ctx context.Context, channel string, heard func(payload string, connected bool)) {
	ping := listenPing
	for told := false; ; {
		silent, err := r.listen(ctx, channel, ping, func(payload string, connected bool) {
			told = false
			heard(payload, connected)
		})
		if ctx.Err() != nil {
			return
		}
		if silent > 0 {
			ping = min(ping, max(silent/2, listenPingLeast))
		}
		wait := listenBackOff/2 + rand.N(listenBackOff)
		if !told {
			wait = rand.N(listenAgain)
			// Once per broken connection, not once per attempt.
			r.cfg.Logger.WarnContext(ctx, "notifications are lost until the connection is restored",
				"channel", channel, "error", wrap("listen", err))
			told = true
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// listen is Listen on one connection, until that breaks. It returns how long the connection
// was silent before it broke, or 0 if it broke at another moment.
func (r *Router) listen(ctx context.Context, channel string, ping time.Duration, heard func(string, bool)) (silent time.Duration, err error) {
	// A replaced primary that is still alive sends no more notifications.
	ctx, release := r.hosts.untilRaised(ctx)
	defer release()
	cfg := r.primary.Config().ConnConfig
	cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { heard(n.Payload, false) }
	connecting, cancel := context.WithTimeout(ctx, r.cfg.ConnectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, cfg)
	if err != nil {
		return 0, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(connecting, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return 0, err
	}
	heard("", true)
	for {
		since := time.Now()
		silence, cancel := context.WithTimeout(ctx, ping)
		// It returns after each notification, which OnNotification has already handled.
		err := conn.PgConn().WaitForNotification(silence)
		cancel()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case silence.Err() == nil || conn.IsClosed():
			return time.Since(since), err
		default:
			asking, cancel := context.WithTimeout(ctx, r.cfg.ConnectTimeout)
			err := conn.Ping(asking)
			cancel()
			if err != nil {
				return 0, err
			}
		}
	}
}
