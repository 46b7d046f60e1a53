package postgres

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// observer sees every statement by name when it ends.
type observer struct {
	logger    *slog.Logger
	metrics   *metrics      // may be nil
	tracer    trace.Tracer  // may be nil
	all       bool          // log every statement
	arguments bool          // and what it was given
	slow      time.Duration // warn from here on; negative: never
	timeout   time.Duration // QUERY_TIMEOUT
}

// statement is called when a statement has ended.
func (o *observer) statement(
	ctx context.Context, s *Statement, args []any, where route, start time.Time, tag pgconn.CommandTag, err error,
) {
	took := time.Since(start)
	if stats, ok := ctx.Value(statsKey{}).(*Stats); ok {
		stats.add(s.Name, took)
	}
	if o.metrics != nil {
		o.metrics.statement(s.Name, where, took, tag.RowsAffected(), err)
	}
	if o.tracer != nil {
		o.span(ctx, s, where, start, took, tag, err)
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

// isSlow reports whether a statement took so long that an operator should know.
// One that asks for more time than others is given half of what it asks for.
func (o *observer) isSlow(s *Statement, took time.Duration) bool {
	limit := o.slow
	if s.Timeout > o.timeout {
		limit = max(limit, s.Timeout/2)
	}
	return o.slow >= 0 && took >= limit
}

// span records a statement that has ended (OpenTelemetry semantic conventions
// for PostgreSQL client spans).
func (o *observer) span(
	ctx context.Context, s *Statement, where route, start time.Time, took time.Duration, tag pgconn.CommandTag, err error,
) {
	attrs := []attribute.KeyValue{
		attribute.String("db.system.name", "postgresql"),
		attribute.String("db.query.summary", s.Name),
		attribute.Int64("db.response.returned_rows", tag.RowsAffected()),
	}
	if where.replica != nil {
		attrs = append(attrs, attribute.String("quern.replica", where.replica.name))
	}
	_, span := o.tracer.Start(ctx, s.Name,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(start), trace.WithAttributes(attrs...))
	if err != nil && !errors.Is(err, ErrNotFound) {
		span.SetStatus(codes.Error, classOf(err))
		if e := (*Error)(nil); errors.As(err, &e) && e.Code != "" {
			span.SetAttributes(attribute.String("db.response.status_code", e.Code))
		}
	}
	span.End(trace.WithTimestamp(start.Add(took)))
}

// retry is called before a statement or transaction is repeated.
func (o *observer) retry(name, reason string) {
	if o.metrics != nil {
		o.metrics.retries.WithLabelValues(name, reason).Inc()
	}
	o.logger.Debug("repeated", "query", name, "reason", reason)
}

// rests is called when the shared statement of several calls is not used for a
// while, because it fails and each call by itself does not.
func (o *observer) rests(one, shared *Statement, err error) {
	if o.metrics != nil {
		o.metrics.rests.WithLabelValues(shared.Name).Inc()
	}
	o.logger.Error("a shared statement fails every time: its calls run by themselves for a while: "+
		"look at the error, such as a missing grant", "query", shared.Name, "calls_of", one.Name, "for", restFor, "error", err)
}

// settled is called when the outcome of a write was in doubt, and it was found
// out that it had committed or aborted, or that this stays unknown.
func (o *observer) settled(outcome string) {
	if o.metrics != nil {
		o.metrics.settled.WithLabelValues(outcome).Inc()
	}
	level := slog.LevelWarn
	if outcome == "unknown" {
		level = slog.LevelError
	}
	o.logger.Log(context.Background(), level, "the outcome of a write was in doubt", "outcome", outcome)
}

// turned is called when the primary has another history than before.
func (o *observer) turned(old, now history) {
	if o.metrics != nil {
		o.metrics.histories.Inc()
	}
	o.logger.Warn("the primary was restarted or is another server: each replica is unused until it shows that it follows it",
		"timeline", now.timeline, "started", now.startedAt(), "timeline_before", old.timeline, "started_before", old.startedAt())
}

// behind is called when the primary that answers is on a lower timeline than
// another one was.
func (o *observer) behind(highest, now history) {
	o.logger.Error("the server that the primary's address leads to is on a lower timeline than the last primary, "+
		"so its writes may be lost and replicas are not used: remove it from DATABASE_URL",
		"timeline", now.timeline, "started", now.startedAt(), "highest_timeline", highest.timeline)
}

// timelineRaised counts a move of the connections to a server on a higher timeline.
func (o *observer) timelineRaised() {
	if o.metrics != nil {
		o.metrics.timelines.Inc()
	}
}

// hostProblem counts a host that was found to be one that must not be written to.
func (o *observer) hostProblem(p hostProblem) {
	if o.metrics != nil {
		o.metrics.hosts.WithLabelValues(string(p)).Inc()
	}
}

// connected counts an attempt to connect.
func (o *observer) connected(err error) {
	if o.metrics == nil {
		return
	}
	if err != nil {
		o.metrics.connects.WithLabelValues("failed").Inc()
		return
	}
	o.metrics.connects.WithLabelValues("ok").Inc()
}
