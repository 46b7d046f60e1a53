package postgres

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// listenPing is how long nothing may be heard before the server is asked
	// whether it is still there: a connection that silence has ended looks like
	// one on which nobody speaks.
	listenPing = 30 * time.Second

	// listenBackOff is the pause between two attempts to connect, give or take
	// half: every process of a service loses its connection in the same moment.
	// The first attempt comes sooner, for most often the server is still there.
	listenBackOff = time.Second
	listenAgain   = 200 * time.Millisecond
)

// Listen hears what NOTIFY says on a channel (PostgreSQL manual, LISTEN), until
// ctx ends. It calls heard with the payload of each notification, and with
// connected set each time it has begun to listen: what was said before went
// unheard, so whoever waits has to look for himself. heard must not block.
//
// It has a connection of its own beside the pool, on the primary, and makes
// another whenever that one breaks. Notifications are hints: some are lost, and
// whoever waits for one needs a poll besides. A pooler in transaction mode
// takes the LISTEN and delivers nothing.
func (r *Router) Listen(ctx context.Context, channel string, heard func(payload string, connected bool)) {
	for told := false; ; {
		err := r.listen(ctx, channel, func(payload string, connected bool) {
			told = false
			heard(payload, connected)
		})
		if ctx.Err() != nil {
			return
		}
		wait := listenBackOff/2 + rand.N(listenBackOff)
		if !told {
			wait = rand.N(listenAgain)
			// Once for each time that it breaks, not for each attempt.
			r.cfg.Logger.WarnContext(ctx, "notifications are not heard until there is a connection again",
				"channel", channel, "error", wrap("listen", err))
			told = true
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// listen is Listen on one connection, until that breaks.
func (r *Router) listen(ctx context.Context, channel string, heard func(string, bool)) error {
	// A primary that was replaced and lives on notifies of nothing any more.
	ctx, release := r.hosts.untilRaised(ctx)
	defer release()
	cfg := r.primary.Config().ConnConfig
	cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { heard(n.Payload, false) }
	connecting, cancel := context.WithTimeout(ctx, r.cfg.ConnectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, cfg)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(connecting, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return err
	}
	heard("", true)
	for {
		silence, cancel := context.WithTimeout(ctx, listenPing)
		// It returns after each notification, which OnNotification has had.
		err := conn.PgConn().WaitForNotification(silence)
		cancel()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case silence.Err() == nil || conn.IsClosed():
			return err
		default:
			asking, cancel := context.WithTimeout(ctx, r.cfg.ConnectTimeout)
			err := conn.Ping(asking)
			cancel()
			if err != nil {
				return err
			}
		}
	}
}
