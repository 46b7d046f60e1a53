package postgres_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

func TestQueryLog(t *testing.T) {
	t.Parallel()
	url := testdata.NewURL(t)
	const secret = "hunter2"
	tests := []struct {
		name      string
		cfg       postgres.Config
		want, not []string
	}{
		{"All", postgres.Config{LogQueries: true, SlowQuery: -1}, []string{"level=DEBUG", "query=CreateAccount", "took=", "rows=1", "query=commit"}, []string{secret, "level=WARN"}},
		{"Slow", postgres.Config{SlowQuery: time.Nanosecond}, []string{"level=WARN", `msg="slow query"`, "query=CreateAccount"}, []string{secret}},
		{"Off", postgres.Config{SlowQuery: time.Hour}, nil, []string{"query"}},
		{"Arguments", postgres.Config{LogQueries: true, LogArguments: true}, []string{secret}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log syncBuffer
			tt.cfg.URL, tt.cfg.MinConns = url, 1
			tt.cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			d := testdata.Open(t, tt.cfg)
			err := d.Queries.InTx(t.Context(), func(q *db.Queries) error {
				_, err := q.CreateAccount(t.Context(), db.CreateAccountParams{Username: secret + tt.name, Email: "x", Tags: []string{}})
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
	d := testdata.New(t)
	u := d.CreateAccount(t)
	ctx, stats := postgres.WithStats(t.Context())
	for range 3 {
		if _, err := d.Queries.GetAccount(ctx, u.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Queries.GetOverview(ctx); err != nil {
		t.Fatal(err)
	}
	n, took := stats.Total()
	if name, times := stats.Most(); n != 4 || took <= 0 || name != "GetAccount" || times != 3 {
		t.Errorf("%d statements in %v, most often %s, %d times; want 4, GetAccount, 3", n, took, name, times)
	}
}
