// Package pgotel writes an OpenTelemetry span for each statement of a Router, as a
// child of the span in the caller's context. The span has the statement's name. It
// does not contain its arguments.
//
//	cfg.Observers = append(cfg.Observers, pgotel.New(provider))
package pgotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"quern/postgres"
)

// Observer is a postgres.Observer that writes spans.
type Observer struct{ tracer trace.Tracer }

// New returns an Observer that writes to a Tracer of the provider.
func New(provider trace.TracerProvider) *Observer {
	return &Observer{provider.Tracer("quern/postgres")}
}

// StatementEnded implements postgres.Observer. It writes the span of a statement
// that has ended (OpenTelemetry semantic conventions for PostgreSQL client spans).
func (o *Observer) StatementEnded(ctx context.Context, end postgres.StatementEnd) {
	attrs := []attribute.KeyValue{
		attribute.String("db.system.name", "postgresql"),
		attribute.String("db.query.summary", end.Statement.Name),
		attribute.Int64("db.response.returned_rows", end.Rows),
	}
	if end.Replica != "" {
		attrs = append(attrs, attribute.String("quern.replica", end.Replica))
	}
	_, span := o.tracer.Start(ctx, end.Statement.Name,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(end.Start), trace.WithAttributes(attrs...))
	if end.Err != nil && !errors.Is(end.Err, postgres.ErrNotFound) {
		span.SetStatus(codes.Error, postgres.ErrorClass(end.Err))
		if e := (*postgres.Error)(nil); errors.As(end.Err, &e) && e.Code != "" {
			span.SetAttributes(attribute.String("db.response.status_code", e.Code))
		}
	}
	span.End(trace.WithTimestamp(end.Start.Add(end.Duration)))
}

// Happened implements postgres.Observer. Only statements have spans.
func (o *Observer) Happened(postgres.Event) {}
