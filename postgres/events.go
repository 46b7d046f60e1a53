package postgres

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// The events of a pooled connection, at debug level: opened, acquired, released
// and closed. Each names the server and the backend's process id, which
// pg_stat_activity has too. With another level an event costs one call of
// Enabled.

// primaryName is the primary's in metrics and logs.
const primaryName = "primary"

// connected is called when an attempt to connect, begun at start, has ended. It does
// not log a connection beside the pool, such as that of Listen.
func (o *observer) connected(ctx context.Context, server string, start time.Time, pid uint32, pooled bool, err error) {
	end := ConnectEnded{Server: server, PID: pid, Duration: time.Since(start), Err: withoutConfig(err)}
	o.happened(end)
	if !pooled || !o.logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{slog.String("server", server), slog.Duration("took", end.Duration)}
	if err != nil {
		o.logger.LogAttrs(ctx, slog.LevelDebug, "connection failed", append(attrs, slog.String("error", oneLine(err)))...)
		return
	}
	o.logger.LogAttrs(ctx, slog.LevelDebug, "connection opened", append(attrs, slog.Uint64("pid", uint64(end.PID)))...)
}

// closed is called when the pool closes a connection. early is set if it has a fault.
func (o *observer) closed(server string, pid uint32, age time.Duration, reason string, early bool) {
	o.happened(ConnectionClosed{Server: server, PID: pid, Age: age, Reason: reason, Early: early})
	o.logger.LogAttrs(context.Background(), slog.LevelDebug, "connection closed", slog.String("server", server),
		slog.Uint64("pid", uint64(pid)), slog.String("reason", reason), slog.Duration("age", age))
}

// checkout is a connection's time out of the pool. It is nil unless the log has
// debug level.
type checkout struct {
	logger *slog.Logger
	attrs  []slog.Attr
	at     time.Time
}

// acquired logs that a statement got a connection, for which it has waited since
// start. It is called if the log has debug level.
func (o *observer) acquired(ctx context.Context, where route, statement, class string, start time.Time, conn *pgx.Conn) *checkout {
	c := &checkout{logger: o.logger, at: time.Now()}
	c.attrs = []slog.Attr{
		slog.String("server", where.name()), slog.Uint64("pid", uint64(conn.PgConn().PID())), slog.String("statement", statement),
	}
	c.logger.LogAttrs(ctx, slog.LevelDebug, "connection acquired",
		append(c.attrs[:len(c.attrs):len(c.attrs)], slog.String("class", class), slog.Duration("waited", c.at.Sub(start)))...)
	return c
}

// released logs that the connection goes back to the pool, which may close it.
func (c *checkout) released() {
	if c == nil {
		return
	}
	c.logger.LogAttrs(context.Background(), slog.LevelDebug, "connection released",
		append(c.attrs, slog.Duration("held", time.Since(c.at)))...)
}
