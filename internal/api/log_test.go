package api

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"quern/internal/storetest"
	"quern/postgres"
)

func TestLogHandler(t *testing.T) {
	t.Parallel()
	log := &logged{}
	logger := slog.New(LogHandler(slog.NewTextHandler(log, nil)))
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), Logger: logger, SlowQuery: time.Nanosecond})
	c := &client{t: t, db: d, log: log, url: serve(t, New(Config{Queries: d.Queries, Store: d.Store, Logger: logger}))}
	c.do("GET", "/v1/users", "", "X-Request-Id", "find-me").want(http.StatusOK)
	found := false
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "slow query") && strings.Contains(line, "query=ListUsersAfter") {
			found = strings.Count(line, "request_id=find-me") == 1 && strings.Contains(line, "rows=0") && strings.Contains(line, "took=")
		}
	}
	if !found {
		t.Errorf("no slow query of the request in the log:\n%s", log.String())
	}
	// Outside a request there is no id, and an id that the record already has is not added
	// again.
	logger.With("a", 1).WithGroup("g").Info("alone")
	if strings.Contains(strings.Split(log.String(), "alone")[1], "request_id") {
		t.Errorf("a line of no request has a request's id:\n%s", log.String())
	}
}
