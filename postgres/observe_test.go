package postgres_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

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
