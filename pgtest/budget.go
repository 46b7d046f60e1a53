package pgtest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"quern/postgres"
)

// Budget calls do with a context that counts statements. It fails the test if do executes more
// statements than the limit, which is the argument most. A COMMIT does not count. The failure names
// each statement with the number of times it ran, so that an N+1 query is found:
//
//	pgtest.Budget(t, 2, func(ctx context.Context) {
//		orders, err = listOrdersWithLines(ctx, queries)
//	})
//
// Test the same code once with few rows and once with many, with the same budget.
func Budget(t testing.TB, most int, do func(ctx context.Context)) {
	t.Helper()
	ctx, stats := postgres.WithStats(t.Context())
	do(ctx)
	total := 0
	var ran []string
	for _, c := range stats.Counts() {
		if c.Statement == "commit" || c.Statement == "begin" {
			continue
		}
		total += c.Times
		ran = append(ran, fmt.Sprintf("%s %d", c.Statement, c.Times))
	}
	if total > most {
		t.Errorf("%d statements were executed, and the budget is %d: %s", total, most, strings.Join(ran, ", "))
	}
}
