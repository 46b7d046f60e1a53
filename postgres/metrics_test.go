package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quern/internal/storetest"
	"quern/postgres"
)

// gather returns every series of the registry by name and labels; of a
// histogram the number of observations.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			series[fmt.Sprintf("%s{%s}", f.GetName(), strings.Join(labels, ","))] = m.GetCounter().GetValue() +
				m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return series
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 3, MinConns: 1, Metrics: registry})
	u := d.CreateUser(t)
	for range 3 {
		if _, err := d.Queries.GetUser(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = d.Queries.GetUser(t.Context(), -1)
	_, _ = d.Router.Exec(t.Context(), "-- name: Broken :exec\nDO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
	err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		_, err := tx.Exec(t.Context(), "-- name: Broken :exec\nDO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")
		return err
	})
	if err == nil {
		t.Error("the transaction did not fail")
	}

	// All connections are in use, and a call waits for one in vain.
	for range 3 {
		conn, err := d.Router.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := d.Router.Ping(soon); !errors.Is(err, postgres.ErrPoolExhausted) {
		t.Errorf("err = %v, want ErrPoolExhausted", err)
	}

	got := gather(t, registry)
	for name, want := range map[string]float64{
		"quern_query_duration_seconds{query=GetUser,server=primary}":    4,
		"quern_query_duration_seconds{query=CreateUser,server=primary}": 1,
		"quern_query_rows_total{query=GetUser}":                         3,
		"quern_query_errors_total{class=serialization,query=Broken}":    6,
		"quern_retries_total{query=transaction,reason=deadlock}":        4,
		"quern_lost_commits_total{outcome=unknown}":                     0,
		"pgxpool_max_conns{server=primary}":                             3,
		"pgxpool_acquired_conns{server=primary}":                        3,
		"quern_connects_total{result=ok}":                               3,
		"quern_connects_total{result=failed}":                           0,
		"quern_class_connections_limit{class=bulk,server=primary}":      1,
		"quern_class_refused_total{class=default,server=primary}":       1,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (%v), want %v", name, value, ok, want)
		}
	}
}
