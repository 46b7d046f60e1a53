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
func (o *observer) statement(r *run, tag pgconn.CommandTag, err error) {
	took := time.Since(r.start)
	if stats, ok := r.ctx.Value(statsKey{}).(*Stats); ok {
		stats.add(r.statement.Name, took)
	}
	if o.metrics != nil {
		o.metrics.statement(r.statement.Name, r.where, took, tag.RowsAffected(), err)
	}
	if o.tracer != nil {
		o.span(r, took, tag, err)
	}
	level, message := slog.LevelDebug, "query"
	switch {
	case o.isSlow(r.statement, took):
		level, message = slog.LevelWarn, "slow query"
	case !o.all:
		return
	}
	if !o.logger.Enabled(r.ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("query", r.statement.Name), slog.Duration("took", took), slog.Int64("rows", tag.RowsAffected()),
	}
	if r.where.replica != nil {
		attrs = append(attrs, slog.String("replica", r.where.replica.name))
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		attrs = append(attrs, slog.Any("error", err))
	}
	if o.arguments {
		attrs = append(attrs, slog.Any("arguments", r.args))
	}
	o.logger.LogAttrs(r.ctx, level, message, attrs...)
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
func (o *observer) span(r *run, took time.Duration, tag pgconn.CommandTag, err error) {
	attrs := []attribute.KeyValue{
		attribute.String("db.system.name", "postgresql"),
		attribute.String("db.query.summary", r.statement.Name),
		attribute.Int64("db.response.returned_rows", tag.RowsAffected()),
	}
	if r.where.replica != nil {
		attrs = append(attrs, attribute.String("quern.replica", r.where.replica.name))
	}
	_, span := o.tracer.Start(r.ctx, r.statement.Name,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(r.start), trace.WithAttributes(attrs...))
	if err != nil && !errors.Is(err, ErrNotFound) {
		span.SetStatus(codes.Error, classOf(err))
		if e := (*Error)(nil); errors.As(err, &e) && e.Code != "" {
			span.SetAttributes(attribute.String("db.response.status_code", e.Code))
		}
	}
	span.End(trace.WithTimestamp(r.start.Add(took)))
}

// retry is called before a statement or transaction is repeated.
func (o *observer) retry(name, reason string) {
	if o.metrics != nil {
		o.metrics.retries.WithLabelValues(name, reason).Inc()
	}
	o.logger.Debug("repeated", "query", name, "reason", reason)
}

// settled is called when a COMMIT got no answer and it was found out that it
// had committed or aborted, or that this is unknown.
func (o *observer) settled(outcome string) {
	if o.metrics != nil {
		o.metrics.settled.WithLabelValues(outcome).Inc()
	}
	level := slog.LevelWarn
	if outcome == "unknown" {
		level = slog.LevelError
	}
	o.logger.Log(context.Background(), level, "a COMMIT got no answer", "outcome", outcome)
}

// connected is called after an attempt to connect.
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

// destroyed is called when a connection is ended before its time.
func (o *observer) destroyed(reason string) {
	if o.metrics != nil {
		o.metrics.destroyed.WithLabelValues(reason).Inc()
	}
	o.logger.Debug("connection destroyed", "reason", reason)
}
