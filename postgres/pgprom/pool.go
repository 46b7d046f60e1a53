package pgprom

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"quern/postgres"
)

// poolMetric is one metric of a pool. Its name is the one that existing dashboards for pgxpool
// use.
type poolMetric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*pgxpool.Stat) float64
}

var poolMetrics = []poolMetric{
	{"acquire_count", "Connections that were acquired.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.AcquireCount()) }},
	{"acquire_duration_ns", "Total time of acquiring connections, in nanoseconds.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.AcquireDuration()) }},
	{"canceled_acquire_count", "Acquires that were cancelled because their context ended.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.CanceledAcquireCount()) }},
	{"empty_acquire", "Acquires that had to wait because no connection was idle.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) }},
	{"empty_acquire_wait_time_ns", "Total time that acquires waited for a connection, in nanoseconds.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireWaitTime()) }},
	{"new_conns_count", "Attempts to open a connection.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.NewConnsCount()) }},
	{"max_lifetime_destroy_count", "Connections that were closed because they had reached POOL_MAX_CONN_LIFETIME.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.MaxLifetimeDestroyCount()) }},
	{"max_idle_destroy_count", "Connections that were closed because they were idle for POOL_MAX_CONN_IDLE.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.MaxIdleDestroyCount()) }},
	{"acquired_conns", "Connections in use.", prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }},
	{"constructing_conns", "Connections that are being opened.", prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.ConstructingConns()) }},
	{"idle_conns", "Connections that are idle.", prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.IdleConns()) }},
	{"total_conns", "Connections in use, idle and being opened.", prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) }},
	{"max_conns", "The most connections that the pool may have.", prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }},
}

// poolDescs are the descriptions of poolMetrics, in their order.
var poolDescs = func() []*prometheus.Desc {
	descs := make([]*prometheus.Desc, len(poolMetrics))
	for i, m := range poolMetrics {
		descs[i] = prometheus.NewDesc("pgxpool_"+m.name, m.help, []string{"server"}, nil)
	}
	return descs
}()

// collectPool sends the metrics of a server's pool.
func collectPool(ch chan<- prometheus.Metric, server postgres.ServerState) {
	for i, m := range poolMetrics {
		ch <- prometheus.MustNewConstMetric(poolDescs[i], m.kind, m.value(server.Pool), server.Name)
	}
}
