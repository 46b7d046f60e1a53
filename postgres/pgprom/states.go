package pgprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"quern/postgres"
)

// watch replaces the state of an earlier Router with that of a Router that has
// started.
func (o *Observer) watch(r *postgres.Router) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != nil {
		o.registerer.Unregister(o.state)
	}
	o.state = o.newStates(r)
	o.registerer.MustRegister(o.state)
}

// states collects the values of a Snapshot.
type states struct {
	router *postgres.Router

	limit, used, waiting, refused *prometheus.Desc // by class and server
	up, lag                       *prometheus.Desc // by replica
	timeline                      *prometheus.Desc // by host
	commits                       *prometheus.Desc
}

func (o *Observer) newStates(r *postgres.Router) *states {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(o.namespace, "", name), help, labels, nil)
	}
	return &states{
		router:   r,
		limit:    describe("class_connections_limit", "Connections that statements of the class may use at a time.", "class", "server"),
		used:     describe("class_connections", "Connections that statements of the class use.", "class", "server"),
		waiting:  describe("class_waiting", "Calls that are waiting for the share of their class.", "class", "server"),
		refused:  describe("class_refused_total", "Calls that got no connection because the share of their class or the pool was exhausted.", "class", "server"),
		up:       describe("replica_up", "1 while the replica answers and has the primary's history, or is the primary itself.", "replica"),
		lag:      describe("replica_lag_seconds", "How far the replica is behind the primary.", "replica"),
		timeline: describe("host_timeline", "Timeline of a host of DATABASE_URL that accepts writes; 0 for a standby, -1 without an answer.", "host"),
		commits:  describe("commits_waiting_for_standby", "COMMITs that still wait for a synchronous standby although their callers have given up."),
	}
}

// Describe implements prometheus.Collector.
func (s *states) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range append([]*prometheus.Desc{s.limit, s.used, s.waiting, s.refused, s.up, s.lag, s.timeline, s.commits}, poolDescs...) {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *states) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	now := s.router.Snapshot()
	for _, server := range now.Servers {
		collectPool(ch, server)
		for _, c := range server.Classes {
			gauge(s.limit, float64(c.Limit), c.Name, server.Name)
			gauge(s.used, float64(c.Used), c.Name, server.Name)
			gauge(s.waiting, float64(c.Waiting), c.Name, server.Name)
			ch <- prometheus.MustNewConstMetric(s.refused, prometheus.CounterValue, float64(c.Refused), c.Name, server.Name)
		}
		if server.Replica {
			up := 0.0
			if server.Up {
				up = 1
			}
			gauge(s.up, up, server.Name)
			gauge(s.lag, server.Lag.Seconds(), server.Name)
		}
	}
	for _, host := range now.Hosts {
		timeline := float64(host.Timeline)
		if !host.Answers {
			timeline = -1
		}
		gauge(s.timeline, timeline, host.Name)
	}
	gauge(s.commits, float64(now.CommitsWaiting))
}
