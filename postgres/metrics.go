package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/IBM/pgxpoolprometheus"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// durationBuckets, in seconds, double from 50 µs, below which no statement
// over a socket is, to 26 s.
var durationBuckets = prometheus.ExponentialBuckets(50e-6, 2, 20)

// metrics are what Prometheus sees of a Router. Each name is explained in
// docs/operations.md.
type metrics struct {
	durations *prometheus.HistogramVec // by query and server
	batches   *prometheus.HistogramVec // by query
	rests     *prometheus.CounterVec   // by query
	rows      *prometheus.CounterVec   // by query
	errors    *prometheus.CounterVec   // by query and class
	fallbacks *prometheus.CounterVec   // by query and reason
	retries   *prometheus.CounterVec   // by query and reason
	settled   *prometheus.CounterVec   // by outcome
	connects  *prometheus.CounterVec   // by result
	destroyed *prometheus.CounterVec   // by reason
	histories prometheus.Counter
	hosts     *prometheus.CounterVec // by problem
	timelines prometheus.Counter

	// series are the durations and rows of each statement: finding them by
	// their labels would cost more than recording.
	series sync.Map // seriesKey → *series
}

type seriesKey struct {
	query  string
	server string
}

type series struct {
	duration prometheus.Observer
	rows     prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "quern", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "quern", Name: "query_duration_seconds", Buckets: durationBuckets,
			Help: "Time of a statement from sending it to its last row, by query and server (primary or replica).",
		}, []string{"query", "server"}),
		batches: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "quern", Name: "batch_calls", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
			Help: "Calls that left together as one statement, by the query they asked for. One that found a free slot left by itself and is not counted.",
		}, []string{"query"}),
		rests:     counter("batch_rests_total", "Times that a shared statement was not used for a minute, because it failed and its calls by themselves did not; by the shared statement.", "query"),
		rows:      counter("query_rows_total", "Rows returned or affected, by query.", "query"),
		errors:    counter("query_errors_total", "Statements that failed, by query and class of error.", "query", "class"),
		fallbacks: counter("replica_fallbacks_total", "Statements that may run on a replica and ran on the primary, by query and reason.", "query", "reason"),
		retries:   counter("retries_total", "Statements and transactions that were repeated, by query and reason.", "query", "reason"),
		settled:   counter("lost_commits_total", "Writes whose answer was lost, by what was found out: committed, aborted or unknown.", "outcome"),
		connects:  counter("connects_total", "Attempts to connect, by result: ok or failed.", "result"),
		destroyed: counter("connections_destroyed_total", "Connections that were ended before their time, by reason.", "reason"),
		hosts:     counter("host_problems_total", "Hosts of DATABASE_URL found to be unfit for writes, by problem: older_timeline, equal_timelines or other_cluster.", "problem"),
		timelines: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "quern", Name: "timeline_changes_total", Help: "Times that the connections moved to a server on a higher timeline.",
		}),
	}
	m.histories = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "quern", Name: "primary_histories_total",
		Help: "Times that the primary had another history than before: it was restarted, or is another server.",
	})
	r.MustRegister(m.durations, m.batches, m.histories, m.timelines)
	// From the start at zero, so that a first increase is seen as one.
	for _, outcome := range []string{"committed", "aborted", "unknown"} {
		m.settled.WithLabelValues(outcome)
	}
	for _, problem := range hostProblems {
		m.hosts.WithLabelValues(string(problem))
	}
	for _, result := range []string{"ok", "failed"} {
		m.connects.WithLabelValues(result)
	}
	return m
}

// statement records one that ended after took with err.
func (m *metrics) statement(name string, where route, took time.Duration, rows int64, err error) {
	key := seriesKey{name, primaryName}
	if where.replica != nil {
		key.server = "replica"
	}
	s, ok := m.series.Load(key)
	if !ok {
		s, _ = m.series.LoadOrStore(key, &series{
			m.durations.WithLabelValues(key.query, key.server), m.rows.WithLabelValues(key.query),
		})
	}
	s.(*series).duration.Observe(took.Seconds())
	s.(*series).rows.Add(float64(rows))
	if where.reason != reasonNone {
		m.fallbacks.WithLabelValues(name, where.reason).Inc()
	}
	if err != nil {
		m.errors.WithLabelValues(name, classOf(err)).Inc()
	}
}

// classOf names the kind of an error in metrics.
func classOf(err error) string {
	for _, class := range []struct {
		kind error
		name string
	}{
		{ErrCommitUnknown, "commit_unknown"},
		{ErrNotFound, "not_found"},
		{ErrUnique, "unique"},
		{ErrForeignKey, "foreign_key"},
		{ErrExclusion, "exclusion"},
		{ErrCheck, "check"},
		{ErrInvalidValue, "invalid_value"},
		{ErrSerialization, "serialization"},
		{ErrTimeout, "timeout"},
		{ErrPoolExhausted, "pool_exhausted"},
		{ErrUnavailable, "unavailable"},
		{context.Canceled, "canceled"},
	} {
		if errors.Is(err, class.kind) {
			return class.name
		}
	}
	return "other"
}

// watchPool shows a pool's state; server is primary or the replica's name.
func watchPool(r prometheus.Registerer, pool *pgxpool.Pool, server string) {
	r.MustRegister(pgxpoolprometheus.NewCollector(pool, map[string]string{"server": server}))
}

// watchClasses shows how the classes of work use a pool; server is as in watchPool.
func watchClasses(r prometheus.Registerer, b *bulkhead, server string) {
	describe := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("quern_class_"+name, help, []string{"class"}, prometheus.Labels{"server": server})
	}
	r.MustRegister(&classCollector{
		bulkhead: b,
		limit:    describe("connections_limit", "Connections that statements of the class may use at a time."),
		used:     describe("connections", "Connections that statements of the class use."),
		waiting:  describe("waiting", "Calls that wait for the share of their class."),
		refused:  describe("refused_total", "Calls that got no connection, because the share of their class or the pool was in use."),
	})
}

type classCollector struct {
	bulkhead                      *bulkhead
	limit, used, waiting, refused *prometheus.Desc
}

func (c *classCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c *classCollector) Collect(ch chan<- prometheus.Metric) {
	for _, class := range c.bulkhead.snapshot() {
		gauge := func(d *prometheus.Desc, value int) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), class.name)
		}
		gauge(c.limit, class.limit)
		gauge(c.used, class.used)
		gauge(c.waiting, class.waiting)
		ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(class.refused), class.name)
	}
}

// watchHung shows how many COMMITs wait for a synchronous standby.
func watchHung(r prometheus.Registerer, h *hungCommits) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "quern", Name: "commits_waiting_for_standby",
		Help: "COMMITs whose callers have given up and that still wait for a synchronous standby.",
	}, func() float64 { return float64(h.standby.Load()) }))
}

// watchHosts shows the timeline of each host.
func watchHosts(r prometheus.Registerer, h *hosts) {
	if h == nil {
		return
	}
	for _, x := range h.all {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "quern", Name: "host_timeline", ConstLabels: prometheus.Labels{"host": x.name},
			Help: "Timeline of a host of DATABASE_URL that accepts writes; 0 for a standby, -1 without an answer.",
		}, func() float64 {
			h.mu.Lock()
			defer h.mu.Unlock()
			if x.state.system == 0 {
				return -1
			}
			return float64(x.state.timeline)
		}))
	}
}

// watchReplicas shows the state of each replica.
func watchReplicas(r prometheus.Registerer, rs *replicas) {
	for _, replica := range rs.all {
		gauge := func(name, help string, value func() float64) {
			r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Namespace: "quern", Name: name, Help: help, ConstLabels: prometheus.Labels{"replica": replica.name},
			}, value))
		}
		gauge("replica_up", "1 while the replica answers and has the primary's history, or is the primary itself.", func() float64 {
			if rs.up(replica) {
				return 1
			}
			return 0
		})
		gauge("replica_lag_seconds", "How far the replica is behind the primary.", func() float64 {
			return rs.lag(replica).Seconds()
		})
	}
}
