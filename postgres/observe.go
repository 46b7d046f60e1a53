package postgres

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// observer writes the log of a Router, counts the Stats of a request and notifies the
// Observers.
type observer struct {
	logger    *slog.Logger
	observers []Observer
	rows      []RowObserver // those among the observers
	all       bool          // log every statement
	arguments bool          // log arguments too
	slow      time.Duration // duration from which to warn; negative means never
	timeout   time.Duration // QUERY_TIMEOUT
}

func newObserver(cfg Config) *observer {
	o := &observer{
		logger: cfg.Logger, observers: cfg.Observers,
		all: cfg.LogQueries, arguments: cfg.LogArguments, slow: cfg.SlowQuery, timeout: cfg.QueryTimeout,
	}

	for _, to := range cfg.Observers {
		if rows, ok := to.(RowObserver); ok {
			o.rows = append(o.rows, rows)
		}
	}
	return o
}

// statement is called when a statement has ended.
func (o *observer) statement(
	ctx context.Context, s *statement, args []any, where route, start time.Time, tag pgconn.CommandTag, err error,
) {
	took := time.Since(start)
	if stats, ok := ctx.Value(statsKey{}).(*Stats); ok {
		stats.add(s.Name, took)
	}
	if len(o.observers) > 0 {
		end := StatementEnd{
			Statement: &s.Statement, Fallback: where.reason, Start: start, Duration: took, Rows: tag.RowsAffected(), Err: err,
		}
		if where.replica != nil {
			end.Replica = where.replica.name
		}
		for _, to := range o.observers {
			to.StatementEnded(ctx, end)
		}
	}
	level, message := slog.LevelDebug, "query"
	switch {
	case o.isSlow(s, took):
		level, message = slog.LevelWarn, "slow query"
	case !o.all:
		return
	}
	if !o.logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("query", s.Name), slog.Duration("took", took), slog.Int64("rows", tag.RowsAffected()),
	}
	if where.replica != nil {
		attrs = append(attrs, slog.String("replica", where.replica.name))
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		attrs = append(attrs, slog.Any("error", err))
	}
	if o.arguments {
		attrs = append(attrs, slog.Any("arguments", args))
	}
	o.logger.LogAttrs(ctx, level, message, attrs...)
}

// isSlow reports whether a statement is logged as slow. If its timeout is longer than the
// default, the limit is half of its timeout.
func (o *observer) isSlow(s *statement, took time.Duration) bool {
	limit := o.slow
	if s.Timeout > o.timeout {
		limit = max(limit, s.Timeout/2)
	}
	return o.slow >= 0 && took >= limit
}

// happened notifies the Observers. For a frequent event, the caller must first check
// whether there are any, because an Event is allocated.
func (o *observer) happened(e Event) {
	for _, to := range o.observers {
		to.Happened(e)
	}
}

// retry is called before a statement or transaction is repeated.
func (o *observer) retry(name, reason string) {
	o.happened(Repeated{Statement: name, Reason: reason})
	o.logger.Debug("repeated", "query", name, "reason", reason)
}

// coalesced is called when several calls are sent as one statement.
func (o *observer) coalesced(s *statement, calls int) {
	if len(o.observers) > 0 {
		o.happened(CallsCoalesced{Statement: s.Name, Calls: calls})
	}
}

// coalescingPaused is called when a shared statement is not used for a while, because it
// fails although each call succeeds individually.
func (o *observer) coalescingPaused(one, shared *statement, err error) {
	o.happened(CoalescingPaused{Statement: one.Name, Shared: shared.Name, Pause: pauseFor, Err: err})
	o.logger.Error("a shared statement fails every time: its calls run individually for a while: "+
		"fix the error, such as a missing GRANT", "query", shared.Name, "calls_of", one.Name, "for", pauseFor, "error", err)
}

// resolved is called when a write in doubt was found to have committed or aborted, or when
// its outcome stays unknown.
func (o *observer) resolved(outcome string) {
	o.happened(DoubtEnded{Outcome: outcome})
	level := slog.LevelWarn
	if outcome == "unknown" {
		level = slog.LevelError
	}
	o.logger.Log(context.Background(), level, "the outcome of a write was in doubt", "outcome", outcome)
}

// primaryChanged is called when the primary has a different history than before.
func (o *observer) primaryChanged(old, now history) {
	o.happened(PrimaryChanged{
		Timeline: int64(now.timeline), Started: now.startedAt(), TimelineBefore: int64(old.timeline), StartedBefore: old.startedAt(),
	})
	o.logger.Warn("the primary was restarted or is another server: each replica is unused until it shows that it follows it",
		"timeline", now.timeline, "started", now.startedAt(), "timeline_before", old.timeline, "started_before", old.startedAt())
}

// primaryBehind is called when the primary that answers is on a lower timeline than an
// earlier one.
func (o *observer) primaryBehind(highest, now history) {
	o.happened(PrimaryBehind{Timeline: int64(now.timeline), Started: now.startedAt(), Highest: int64(highest.timeline)})
	o.logger.Error("the server that the primary's address leads to is on a lower timeline than the last primary, "+
		"so its writes may be lost and replicas are not used: remove it from DATABASE_URL",
		"timeline", now.timeline, "started", now.startedAt(), "highest_timeline", highest.timeline)
}

// The events of a pooled connection are logged at debug level: opened, acquired, released
// and closed. Each contains the server and the backend's process ID, as in
// pg_stat_activity. At other levels, an event costs one call of Enabled.

// primaryName is the name of the primary in metrics and logs.
const primaryName = "primary"

// connected is called when an attempt to connect that began at start has ended. A
// connection outside the pool, such as that of Listen, is not logged.
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

// closed is called when the pool closes a connection. early is set if the connection has a
// fault.
func (o *observer) closed(server string, pid uint32, age time.Duration, reason string, early bool) {
	o.happened(ConnectionClosed{Server: server, PID: pid, Age: age, Reason: reason, Early: early})
	o.logger.LogAttrs(context.Background(), slog.LevelDebug, "connection closed", slog.String("server", server),
		slog.Uint64("pid", uint64(pid)), slog.String("reason", reason), slog.Duration("age", age))
}

// warned is called with a WARNING of a server.
func (o *observer) warned(server string, n *pgconn.Notice) {
	o.happened(ServerWarned{Server: server, Code: n.Code, Message: n.Message})
	o.logger.LogAttrs(context.Background(), slog.LevelDebug, "the server warns", slog.String("server", server),
		slog.String("code", n.Code), slog.String("warning", n.Message))
}

// checkout is the time that a connection is out of the pool. It is nil unless the log level
// is debug.
type checkout struct {
	logger *slog.Logger
	attrs  []slog.Attr
	at     time.Time
}

// acquired logs that a statement has acquired a connection, after waiting since start. It
// must be called only if the log level is debug.
func (o *observer) acquired(ctx context.Context, where route, statement, class string, start time.Time, conn *pgx.Conn) *checkout {
	c := &checkout{logger: o.logger, at: time.Now()}
	c.attrs = []slog.Attr{
		slog.String("server", where.name()), slog.Uint64("pid", uint64(conn.PgConn().PID())), slog.String("statement", statement),
	}
	c.logger.LogAttrs(ctx, slog.LevelDebug, "connection acquired",
		append(c.attrs[:len(c.attrs):len(c.attrs)], slog.String("class", class), slog.Duration("waited", c.at.Sub(start)))...)
	return c
}

// released logs that the connection is returned to the pool, which may close it.
func (c *checkout) released() {
	if c == nil {
		return
	}
	c.logger.LogAttrs(context.Background(), slog.LevelDebug, "connection released",
		append(c.attrs, slog.Duration("held", time.Since(c.at)))...)
}
