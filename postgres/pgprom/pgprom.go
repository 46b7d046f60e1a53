// Package pgprom exports metrics of a Router to Prometheus: the duration, rows and
// errors of each statement by name, retries, coalesced calls, connections, and the
// state of its pools, replicas and hosts.
//
//	cfg.Observers = append(cfg.Observers, pgprom.New(registry, pgprom.Options{}))
//
// docs/operations.md explains each metric.
package pgprom

import (
	"cmp"
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"quern/postgres"
)

// Options sets the names of the metrics. The zero value is ready for use.
type Options struct {
	// Namespace is the first part of each name, except for the pool metrics, which
	// begin with pgxpool_. Defaults to "quern".
	Namespace string
}

// durationBuckets, in seconds, double from 50 µs to 26 s. No statement over a
// socket takes less than 50 µs.
var durationBuckets = prometheus.ExponentialBuckets(50e-6, 2, 20)

// Observer is a postgres.Observer that keeps metrics of one Router. If a program
// connects again with the same Observer, its counters continue, and the state of
// pools, replicas and hosts is that of the Router that started last.
type Observer struct {
	registerer prometheus.Registerer
	namespace  string

	durations *prometheus.HistogramVec // by query and server
	coalesced *prometheus.HistogramVec // by query
	pauses    *prometheus.CounterVec   // by query
	rows      *prometheus.CounterVec   // by query
	errors    *prometheus.CounterVec   // by query and class
	fallbacks *prometheus.CounterVec   // by query and reason
	retries   *prometheus.CounterVec   // by query and reason
	doubts    *prometheus.CounterVec   // by outcome
	connects  *prometheus.CounterVec   // by result
	destroyed *prometheus.CounterVec   // by reason
	histories prometheus.Counter
	hosts     *prometheus.CounterVec // by problem
	warnings  *prometheus.CounterVec // by code
	timelines prometheus.Counter
	discovery prometheus.Counter

	// The old names of coalesced and pauses, which are still exported.
	oldCoalesced *prometheus.HistogramVec
	oldPauses    *prometheus.CounterVec

	// series are the durations and rows of each statement. Finding them by their
	// labels would cost more than recording.
	series sync.Map // seriesKey → *series

	mu    sync.Mutex
	state prometheus.Collector // of the Router that started last
}

type seriesKey struct {
	query  string
	server string
}

type series struct {
	duration prometheus.Observer
	rows     prometheus.Counter
}

// New returns an Observer whose metrics are registered with r. It panics if r
// already has metrics with these names, like MustRegister of
// prometheus.Registerer.
func New(r prometheus.Registerer, opts Options) *Observer {
	o := &Observer{registerer: r, namespace: cmp.Or(opts.Namespace, "quern")}
	o.durations = o.histogram("query_duration_seconds", durationBuckets,
		"Time of a statement from sending it to its last row, by query and server (primary or replica).", "query", "server")
	o.coalesced = o.histogram("coalesced_calls", prometheus.ExponentialBuckets(1, 2, 11),
		"Calls that were coalesced into one statement, by their query. A call that ran individually is not counted.", "query")
	o.pauses = o.counter("coalesce_pauses_total", "Times that a coalesced statement was not used for a minute because it failed although its calls succeeded individually, by the coalesced statement.", "query")
	o.oldCoalesced = o.histogram("batch_calls", prometheus.ExponentialBuckets(1, 2, 11), "Deprecated: use "+o.namespace+"_coalesced_calls.", "query")
	o.oldPauses = o.counter("batch_rests_total", "Deprecated: use "+o.namespace+"_coalesce_pauses_total.", "query")
	o.rows = o.counter("query_rows_total", "Rows returned or affected, by query.", "query")
	o.errors = o.counter("query_errors_total", "Statements that failed, by query and class of error.", "query", "class")
	o.fallbacks = o.counter("replica_fallbacks_total", "Statements that may run on a replica and ran on the primary, by query and reason. Reason unsure_seen is deprecated and counts the same statements as position_unknown.", "query", "reason")
	o.retries = o.counter("retries_total", "Statements and transactions that were repeated, by query and reason.", "query", "reason")
	o.doubts = o.counter("lost_commits_total", "Writes whose result was lost, by outcome: committed, aborted or unknown.", "outcome")
	o.connects = o.counter("connects_total", "Attempts to connect, by result: ok or failed.", "result")
	o.destroyed = o.counter("connections_destroyed_total", "Connections that were closed before the end of their lifetime, by reason.", "reason")
	o.hosts = o.counter("host_problems_total", "Hosts of DATABASE_URL found unsuitable for writes, by problem: older_timeline, equal_timelines or other_cluster.", "problem")
	o.warnings = o.counter("server_warnings_total", "Warnings of the server, by SQLSTATE.", "code")
	o.timelines = o.counter("timeline_changes_total", "Times that the connections moved to a server on a higher timeline.").WithLabelValues()
	o.discovery = o.counter("replica_discovery_errors_total", "Times that the replicas could not be discovered.").WithLabelValues()
	o.histories = o.counter("primary_histories_total", "Times that the primary's history changed because it was restarted or is another server.").WithLabelValues()
	// They start at zero, so that the first increase is visible as one.
	for _, outcome := range []string{"committed", "aborted", "unknown"} {
		o.doubts.WithLabelValues(outcome)
	}
	for _, problem := range []string{"older_timeline", "equal_timelines", "other_cluster"} {
		o.hosts.WithLabelValues(problem)
	}
	for _, result := range []string{"ok", "failed"} {
		o.connects.WithLabelValues(result)
	}
	return o
}

func (o *Observer) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: o.namespace, Name: name, Help: help}, labels)
	o.registerer.MustRegister(c)
	return c
}

func (o *Observer) histogram(name string, buckets []float64, help string, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: o.namespace, Name: name, Help: help, Buckets: buckets}, labels)
	o.registerer.MustRegister(h)
	return h
}

// StatementEnded implements postgres.Observer.
func (o *Observer) StatementEnded(_ context.Context, end postgres.StatementEnd) {
	key := seriesKey{end.Statement.Name, "primary"}
	if end.Replica != "" {
		key.server = "replica"
	}
	s, ok := o.series.Load(key)
	if !ok {
		s, _ = o.series.LoadOrStore(key, &series{
			o.durations.WithLabelValues(key.query, key.server), o.rows.WithLabelValues(key.query),
		})
	}
	s.(*series).duration.Observe(end.Duration.Seconds())
	s.(*series).rows.Add(float64(end.Rows))
	if end.Fallback != "" {
		o.fallbacks.WithLabelValues(key.query, end.Fallback).Inc()
		if end.Fallback == "position_unknown" {
			o.fallbacks.WithLabelValues(key.query, "unsure_seen").Inc() // the reason's old name
		}
	}
	if end.Err != nil {
		o.errors.WithLabelValues(key.query, postgres.ErrorClass(end.Err)).Inc()
	}
}

// Happened implements postgres.Observer.
func (o *Observer) Happened(event postgres.Event) {
	switch e := event.(type) {
	case postgres.RouterStarted:
		o.watch(e.Router)
	case postgres.Repeated:
		o.retries.WithLabelValues(e.Statement, e.Reason).Inc()
	case postgres.CallsCoalesced:
		o.coalesced.WithLabelValues(e.Statement).Observe(float64(e.Calls))
		o.oldCoalesced.WithLabelValues(e.Statement).Observe(float64(e.Calls))
	case postgres.CoalescingPaused:
		o.pauses.WithLabelValues(e.Shared).Inc()
		o.oldPauses.WithLabelValues(e.Shared).Inc()
	case postgres.DoubtEnded:
		o.doubts.WithLabelValues(e.Outcome).Inc()
	case postgres.ConnectEnded:
		result := "ok"
		if e.Err != nil {
			result = "failed"
		}
		o.connects.WithLabelValues(result).Inc()
	case postgres.ConnectionClosed:
		if e.Early {
			o.destroyed.WithLabelValues(e.Reason).Inc()
		}
	case postgres.PrimaryChanged:
		o.histories.Inc()
	case postgres.TimelineRaised:
		o.timelines.Inc()
	case postgres.HostRefused:
		o.hosts.WithLabelValues(e.Problem).Inc()
	case postgres.DiscoveryFailed:
		o.discovery.Inc()
	case postgres.ServerWarned:
		o.warnings.WithLabelValues(e.Code).Inc()
	}
}
