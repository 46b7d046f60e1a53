package postgres_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"quern/internal/db"
	"quern/internal/storetest"
	"quern/postgres"
)

func TestQueryLog(t *testing.T) {
	t.Parallel()
	url := storetest.NewURL(t)
	const secret = "hunter2"
	tests := []struct {
		name      string
		cfg       postgres.Config
		want, not []string
	}{
		{"All", postgres.Config{LogQueries: true, SlowQuery: -1}, []string{"level=DEBUG", "query=CreateUser", "took=", "rows=1", "query=commit"}, []string{secret, "level=WARN"}},
		{"Slow", postgres.Config{SlowQuery: time.Nanosecond}, []string{"level=WARN", `msg="slow query"`, "query=CreateUser"}, []string{secret}},
		{"Off", postgres.Config{SlowQuery: time.Hour}, nil, []string{"query"}},
		{"Arguments", postgres.Config{LogQueries: true, LogArguments: true}, []string{secret}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log syncBuffer
			tt.cfg.URL, tt.cfg.MinConns = url, 1
			tt.cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			d := storetest.Open(t, tt.cfg)
			err := d.Queries.InTx(t.Context(), func(q *db.Queries) error {
				_, err := q.CreateUser(t.Context(), db.CreateUserParams{Username: secret + tt.name, Email: "x", Tags: []string{}})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range tt.want {
				if !strings.Contains(log.String(), s) {
					t.Errorf("no %q in the log:\n%s", s, log.String())
				}
			}
			for _, s := range tt.not {
				if strings.Contains(log.String(), s) {
					t.Errorf("%q in the log:\n%s", s, log.String())
				}
			}
		})
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u := d.CreateUser(t)
	ctx, stats := postgres.WithStats(t.Context())
	for range 3 {
		if _, err := d.Queries.GetUser(ctx, u.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Queries.GetOverview(ctx); err != nil {
		t.Fatal(err)
	}
	n, took := stats.Total()
	if name, times := stats.Most(); n != 4 || took <= 0 || name != "GetUser" || times != 3 {
		t.Errorf("%d statements in %v, most often %s, %d times; want 4, GetUser, 3", n, took, name, times)
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), Traces: provider})
	ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
	u := d.CreateUser(t)
	if _, err := d.Queries.GetUser(ctx, u.ID); err != nil {
		t.Fatal(err)
	}
	_, err := d.Queries.CreateUser(ctx, db.CreateUserParams{Username: u.Username, Email: "x", Tags: []string{}})
	if err == nil {
		t.Fatal("a taken username was taken again")
	}
	parent.End()
	var got []string
	for _, s := range spans.Ended() {
		if s.Parent().SpanID() == parent.SpanContext().SpanID() {
			got = append(got, s.Name()+" "+s.Status().Description)
			if s.EndTime().Before(s.StartTime()) || s.SpanKind().String() != "client" {
				t.Errorf("span %+v", s)
			}
			for _, a := range s.Attributes() {
				if strings.Contains(a.Value.String(), u.Username) {
					t.Errorf("the span %s holds an argument: %v", s.Name(), a)
				}
			}
		}
	}
	if diff := cmp.Diff([]string{"GetUser ", "CreateUser unique"}, got); diff != "" {
		t.Errorf("spans below the request (-want +got):\n%s", diff)
	}
}
