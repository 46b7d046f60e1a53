package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"quern/internal/api"
	"quern/internal/store"
	"quern/postgres"
	"quern/postgres/pgotel"
)

// newMetrics returns a new registry with the metrics of Go and the process, and the
// handler of /metrics.
func newMetrics() (*prometheus.Registry, http.Handler) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry, promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// newRefusedMetric registers the metric of refused requests, and returns the function that counts
// one. Each reason is exported from the start, so that a rate over its first refusal is known.
func newRefusedMetric(registry prometheus.Registerer) func(status int, reason string) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "quern", Name: "refused_requests_total", Help: "Requests that were refused because of their API token, origin, host or number.",
	}, []string{"status", "reason"})
	registry.MustRegister(refused)
	for reason, status := range api.Refusals {
		refused.WithLabelValues(strconv.Itoa(status), reason)
	}
	return func(status int, reason string) { refused.WithLabelValues(strconv.Itoa(status), reason).Inc() }
}

// newFoldMetrics registers the metrics of kept counts, and returns the function that sets them.
func newFoldMetrics(registry prometheus.Registerer) func(store.Folded) {
	unfolded := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "quern", Name: "unfolded_deltas", Help: "Deltas of kept counts that were not folded into the totals at the last look. Reads add them.",
	})
	took := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "quern", Name: "fold_duration_seconds", Help: "How long a fold of kept counts took.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
	})
	registry.MustRegister(unfolded, took)
	return func(f store.Folded) {
		unfolded.Set(float64(f.Unfolded))
		if f.Took > 0 {
			took.Observe(f.Took.Seconds())
		}
	}
}

// tracing sends spans to the collector that OpenTelemetry's environment variables
// name.
type tracing struct{ provider *sdktrace.TracerProvider }

// newTracing returns nil if the environment names no collector.
func newTracing(ctx context.Context) (*tracing, error) {
	endpoint := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") + os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
	if endpoint == "" || os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w: set it to a collector that accepts OTLP over HTTP, like http://localhost:4318", err)
	}
	// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence over the default name.
	described, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "quern")), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return &tracing{sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))}, nil
}

// observe returns others with an Observer that writes spans, if there is a
// collector.
func (t *tracing) observe(others ...postgres.Observer) []postgres.Observer {
	if t == nil {
		return others
	}
	return append(others, pgotel.New(t.provider))
}

// around wraps h so that each request has a span, a child of the client's.
func (t *tracing) around(h http.Handler) http.Handler {
	if t == nil {
		return h
	}
	return otelhttp.NewHandler(h, "request",
		otelhttp.WithTracerProvider(t.provider),
		otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method }))
}

// close sends the remaining spans.
func (t *tracing) close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}
