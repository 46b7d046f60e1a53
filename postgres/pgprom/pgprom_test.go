package pgprom_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/pgprom"
	"quern/postgres/testdata"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// gather returns every series of the registry by name and labels. For a histogram
// it is the number of observations.
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
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 3, MinConns: 1, Observers: []postgres.Observer{pgprom.New(registry, pgprom.Options{})}})
	u := d.CreateAccount(t)
	for range 3 {
		if _, err := d.Queries.GetAccount(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = d.Queries.GetAccount(t.Context(), -1)
	_, _ = d.Router.Exec(t.Context(), "-- name: Broken :exec\nDO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
	err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		_, err := tx.Exec(t.Context(), "-- name: Broken :exec\nDO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")
		return err
	})
	if err == nil {
		t.Error("the transaction did not fail")
	}

	// All connections are in use, so a call waits until it times out.
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
		"quern_query_duration_seconds{query=GetAccount,server=primary}":    4,
		"quern_query_duration_seconds{query=CreateAccount,server=primary}": 1,
		"quern_query_rows_total{query=GetAccount}":                         3,
		"quern_query_errors_total{class=serialization,query=Broken}":       6,
		"quern_retries_total{query=transaction,reason=deadlock}":           4,
		"quern_lost_commits_total{outcome=unknown}":                        0,
		"pgxpool_max_conns{server=primary}":                                3,
		"pgxpool_acquired_conns{server=primary}":                           3,
		"quern_connects_total{result=ok}":                                  3,
		"quern_connects_total{result=failed}":                              0,
		"quern_class_connections_limit{class=bulk,server=primary}":         1,
		"quern_class_refused_total{class=default,server=primary}":          1,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (%v), want %v", name, value, ok, want)
		}
	}
}

// A renamed metric is counted under both names.
func TestOldNames(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	observer := pgprom.New(registry, pgprom.Options{})
	observer.Happened(postgres.CallsCoalesced{Statement: "GetAccount", Calls: 3})
	observer.Happened(postgres.CoalescingPaused{Statement: "GetAccount", Shared: "GetAccountBatch"})
	observer.StatementEnded(t.Context(), postgres.StatementEnd{Statement: &postgres.Statement{Name: "GetAccount"}, Fallback: "position_unknown"})
	got := gather(t, registry)
	for _, name := range []string{
		"quern_coalesced_calls{query=GetAccount}", "quern_batch_calls{query=GetAccount}",
		"quern_coalesce_pauses_total{query=GetAccountBatch}", "quern_batch_rests_total{query=GetAccountBatch}",
		"quern_replica_fallbacks_total{query=GetAccount,reason=position_unknown}", "quern_replica_fallbacks_total{query=GetAccount,reason=unsure_seen}",
	} {
		if got[name] != 1 {
			t.Errorf("%s is %v, want 1", name, got[name])
		}
	}
}

// TestNames compares the names, types, labels, buckets and help texts of all
// metrics with a file, because dashboards and alerts depend on them.
func TestNames(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, namespace := range []string{"", "shop"} {
		registry := prometheus.NewPedanticRegistry()
		observer := pgprom.New(registry, pgprom.Options{Namespace: namespace})
		server := testdata.NewURL(t)
		testdata.Open(t, postgres.Config{URL: hostTwice(t, server), ReplicaURLs: []string{server}, Observers: []postgres.Observer{observer}})
		observer.StatementEnded(t.Context(), postgres.StatementEnd{
			Statement: &postgres.Statement{Name: "GetAccount"}, Fallback: "lag", Err: postgres.ErrTimeout,
		})
		for _, event := range []postgres.Event{
			postgres.Repeated{Statement: "GetAccount", Reason: "connection"},
			postgres.CallsCoalesced{Statement: "GetAccount", Calls: 3},
			postgres.CoalescingPaused{Statement: "GetAccount", Shared: "GetAccountBatch"},
			postgres.ConnectionClosed{Reason: "dead", Early: true},
			postgres.ServerWarned{Code: "01000"},
		} {
			observer.Happened(event)
		}
		expected := slices.Clone(want)
		if namespace != "" {
			for i, line := range expected {
				expected[i] = strings.ReplaceAll(line, "quern_", namespace+"_") // in help texts, too
			}
			slices.Sort(expected)
		}
		if diff := cmp.Diff(expected, families(t, registry)); diff != "" {
			t.Errorf("the metrics of namespace %q (-want +got):\n%s", namespace, diff)
		}
	}
}

// hostTwice names the server of a URL by two host names, so that the Router
// watches its hosts.
func hostTwice(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host += ",localhost:" + u.Port()
	return u.String()
}

// families describes each metric in one line.
func families(t *testing.T, registry *prometheus.Registry) (lines []string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		m := f.GetMetric()[0]
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetName())
		}
		line := fmt.Sprintf("%s %s(%s) %s", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
		if buckets := m.GetHistogram().GetBucket(); len(buckets) > 0 {
			line += fmt.Sprintf(" [%g to %g, %d buckets]", buckets[0].GetUpperBound(), buckets[len(buckets)-1].GetUpperBound(), len(buckets))
		}
		lines = append(lines, line)
	}
	return lines
}

// If a program connects again, its counters continue and the pools are those of
// the new Router.
func TestAgain(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	observer := pgprom.New(registry, pgprom.Options{})
	server := testdata.NewURL(t)
	for i := range 2 {
		d := testdata.Open(t, postgres.Config{URL: server, MaxConns: int32(3 + i), Observers: []postgres.Observer{observer}})
		_, _ = d.Queries.GetAccount(t.Context(), -1)
	}
	got := gather(t, registry)
	if n := got["quern_query_duration_seconds{query=GetAccount,server=primary}"]; n != 2 {
		t.Errorf("%v calls of both Routers are counted, want 2", n)
	}
	if n, limit := got["pgxpool_max_conns{server=primary}"], got["quern_class_connections_limit{class=default,server=primary}"]; n != 4 || limit != 4 {
		t.Errorf("the pool has %v connections and a limit of %v, want the second Router's 4", n, limit)
	}
}

// A statement whose series exist is recorded without an allocation.
func TestAllocations(t *testing.T) {
	observer := pgprom.New(prometheus.NewRegistry(), pgprom.Options{})
	end := postgres.StatementEnd{Statement: &postgres.Statement{Name: "GetAccount"}, Duration: time.Millisecond, Rows: 1}
	if n := testing.AllocsPerRun(1000, func() { observer.StatementEnded(t.Context(), end) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
