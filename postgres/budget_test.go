package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// TestStats_Refuse runs one statement more often than the Stats of its context allow:
// individually, coalesced with others, in a transaction and queued.
func TestStats_Refuse(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	u := d.CreateAccount(t)
	begin := func() (context.Context, *postgres.Stats) {
		ctx, stats := postgres.WithStats(t.Context())
		stats.Refuse(2)
		return ctx, stats
	}
	get := func(ctx context.Context, q *db.Queries) error {
		_, err := q.GetAccount(ctx, u.ID)
		return err
	}
	thrice := func(ctx context.Context, q *db.Queries) error {
		for n := range 2 {
			if err := get(ctx, q); err != nil {
				t.Fatalf("call %d: %v", n+1, err)
			}
		}
		return get(ctx, q)
	}
	ctx, stats := begin()
	err := thrice(ctx, d.Queries)
	if !errors.Is(err, postgres.ErrQueryBudget) || !strings.Contains(err.Error(), "GetAccount") || !strings.Contains(err.Error(), "@batch") {
		t.Errorf("the third call: %v, want ErrQueryBudget with the statement and the hint", err)
	}
	if got := postgres.ErrorClass(err); got != "query_budget" {
		t.Errorf("class %s", got)
	}
	if _, err := d.Queries.GetOverview(ctx); err != nil {
		t.Errorf("another statement: %v", err)
	}
	if err := get(t.Context(), d.Queries); err != nil {
		t.Errorf("another request: %v", err)
	}
	if counts := stats.Counts(); len(counts) != 2 || counts[0].Statement != "GetAccount" || counts[1] != (postgres.Count{Statement: "GetOverview", Times: 1}) {
		t.Errorf("counts %v", counts)
	}

	ctx, _ = begin()
	err = d.Queries.InTx(ctx, func(q *db.Queries) error { return thrice(ctx, q) })
	if !errors.Is(err, postgres.ErrQueryBudget) {
		t.Errorf("in a transaction: %v", err)
	}

	ctx, stats = begin()
	err = d.Queries.Pipeline(ctx, postgres.TxOptions{}, func(b *postgres.Batch) error {
		for range 3 {
			d.Queries.QueueGetAccount(b, u.ID)
		}
		return nil
	})
	if counts := stats.Counts(); err != nil || counts[0].Times != 3 {
		t.Errorf("queued: %v, counts %v", err, counts)
	}
}

// The Stats of a context and those of the context it is derived from both count, and both may
// refuse.
func TestStats_Nested(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	outer, all := postgres.WithStats(t.Context())
	all.Refuse(3)
	for range 2 {
		inner, stats := postgres.WithStats(outer)
		for range 2 {
			_, _ = d.Queries.GetOverview(inner)
		}
		if n, _ := stats.Total(); n != 2 {
			t.Errorf("%d statements within, want 2", n)
		}
	}
	if n, _ := all.Total(); n != 4 {
		t.Errorf("%d statements in all, want 4", n)
	}
	if _, err := d.Queries.GetOverview(outer); !errors.Is(err, postgres.ErrQueryBudget) {
		t.Errorf("over the outer budget: %v", err)
	}
}

func TestInstead(t *testing.T) {
	t.Parallel()
	id := []postgres.Param{{Name: "id", Type: "bigint"}}
	ids := []postgres.Param{{Name: "ids", Type: "bigint[]"}}
	columns := []postgres.Column{{Name: "id"}, {Name: "name"}}
	get := postgres.Statement{Name: "GetUser", Kind: postgres.One, SQL: "-- name: GetUser :one\nSELECT id, name FROM users WHERE id = $1", Params: id, Columns: columns, Reads: true}
	list := postgres.Statement{Name: "ListUsers", Kind: postgres.Many, SQL: "SELECT id, name\nFROM users WHERE id = ANY($1)", Params: ids, Columns: columns, Reads: true}
	with := func(s postgres.Statement, change func(*postgres.Statement)) postgres.Statement {
		s.Name = "Other"
		change(&s)
		return s
	}
	insert := postgres.Statement{Name: "GetUser", Kind: postgres.One, SQL: "INSERT INTO users (name) VALUES ($1)", Params: []postgres.Param{{Name: "name", Type: "text"}}}
	update := postgres.Statement{Name: "GetUser", Kind: postgres.Exec, SQL: "UPDATE users SET name = $2 WHERE id = $1", Params: id}
	const none = "write a statement that takes an array, such as WHERE key = ANY(@keys)"
	for name, tt := range map[string]struct {
		one, other postgres.Statement
		want       string
	}{
		"the same for many keys":     {get, list, "call ListUsers once"},
		"it locks":                   {get, with(list, func(s *postgres.Statement) { s.Reads = false }), none},
		"it returns less":            {get, with(list, func(s *postgres.Statement) { s.Columns = columns[:1] }), none},
		"another key":                {get, with(list, func(s *postgres.Statement) { s.Params = []postgres.Param{{Name: "ages", Type: "bigint[]"}} }), none},
		"another table":              {get, with(list, func(s *postgres.Statement) { s.SQL = "SELECT id, name FROM posts WHERE id = ANY($1)" }), none},
		"the calls are coalesced":    {with(get, func(s *postgres.Statement) { s.Name, s.Batch = "GetUser", "GetUserBatch" }), with(list, func(s *postgres.Statement) { s.Name = "GetUserBatch" }), "make the calls at the same time"},
		"COPY":                       {insert, postgres.Statement{Name: "CopyUsers", Kind: postgres.CopyFrom, SQL: `copy "users" ( "name" ) from stdin binary;`}, "call CopyUsers once"},
		"one array for each column":  {insert, with(insert, func(s *postgres.Statement) { s.Params = []postgres.Param{{Name: "names", Type: "text[]"}} }), "call Other once"},
		"an update of many":          {update, with(update, func(s *postgres.Statement) { s.Params = ids }), "call Other once"},
		"a statement of no registry": {postgres.Statement{Name: "Else"}, list, "read or write all rows with one statement"},
	} {
		if got := postgres.Instead([]postgres.Statement{tt.one, tt.other}, "GetUser"); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// BenchmarkStats measures the cost of counting a statement.
func BenchmarkStats(b *testing.B) {
	d := testdata.New(b)
	ctx, stats := postgres.WithStats(b.Context())
	stats.Refuse(1 << 60)
	for b.Loop() {
		postgres.CountStatement(ctx, d.Router)
	}
}
