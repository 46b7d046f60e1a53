package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres"
	"quern/postgres/testdata"
)

// TestAllocations checks that a call that returns rows allocates no more often than pgx's,
// although it has a deadline and is cancelled on the server, and that a transaction in one
// round trip, with its marker, allocates no more often than one of four round trips. It is
// not parallel, because other tests would be counted.
func TestAllocations(t *testing.T) {
	const (
		read   = "-- name: AllocRead :one\nSELECT id, name, at FROM allocs WHERE id = $1"
		insert = "-- name: AllocInsert :one\nINSERT INTO allocs (name) VALUES ($1) RETURNING id, name, at"
		exec   = "-- name: AllocExec :exec\nUPDATE allocs SET name = $2 WHERE id = $1"
		list   = "-- name: AllocList :many\nSELECT id, name, at FROM allocs WHERE id > $1 ORDER BY id LIMIT 20"
	)
	url := testdata.NewURL(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for _, sql := range []string{
		"CREATE TABLE allocs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT now())",
		"INSERT INTO allocs (name) SELECT 'name ' || n FROM generate_series(1, 100) n",
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	router, err := postgres.Connect(t.Context(), postgres.Config{
		URL: url, MaxConns: 2, MinConns: 1, SlowQuery: -1,
		Statements: []postgres.Statement{
			{Name: "AllocRead", Kind: postgres.One, SQL: read, Reads: true},
			{Name: "AllocInsert", Kind: postgres.One, SQL: insert},
			{Name: "AllocExec", Kind: postgres.Exec, SQL: exec},
			{Name: "AllocList", Kind: postgres.Many, SQL: list, Reads: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(router.Close)

	type row struct {
		id   int64
		name string
		at   time.Time
	}
	one := func(sql string, arg any) func(context.Context, postgres.DBTX) error {
		return func(ctx context.Context, db postgres.DBTX) error {
			var r row
			return db.QueryRow(ctx, sql, arg).Scan(&r.id, &r.name, &r.at)
		}
	}
	// As in a service, whose requests can end.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	compare := func(name string, got, want func() error) {
		t.Helper()
		allocs := func(call func() error) float64 {
			return testing.AllocsPerRun(200, func() {
				if err := call(); err != nil {
					t.Fatal(err)
				}
			})
		}
		quern, pgx := allocs(got), allocs(want)
		t.Logf("%s: %v allocations, pgx %v", name, quern, pgx)
		if quern > pgx {
			t.Errorf("%s: %v allocations, pgx has %v", name, quern, pgx)
		}
	}
	for name, call := range map[string]func(context.Context, postgres.DBTX) error{
		"read": one(read, int64(7)), "insert": one(insert, "a name"),
		"exec": func(ctx context.Context, db postgres.DBTX) error {
			_, err := db.Exec(ctx, exec, int64(7), "another name")
			return err
		},
		"list": func(ctx context.Context, db postgres.DBTX) error {
			rows, err := db.Query(ctx, list, int64(0))
			if err != nil {
				return err
			}
			_, err = pgx.CollectRows(rows, func(from pgx.CollectableRow) (r row, err error) {
				err = from.Scan(&r.id, &r.name, &r.at)
				return r, err
			})
			return err
		},
	} {
		compare(name, func() error { return call(ctx, router) }, func() error { return call(ctx, pool) })
	}

	fields := func(r *row) []any { return []any{&r.id, &r.name, &r.at} }
	compare("transaction", func() error {
		var first, second *postgres.Queued[*row]
		err := postgres.Pipeline(ctx, router, readsBack(t), func(b *postgres.Batch) error {
			first = postgres.QueueOnePointer(b, fields, insert, "a name")
			second = postgres.QueueOnePointer(b, fields, insert, "a name")
			return nil
		})
		_, one := first.Get()
		_, two := second.Get()
		return errors.Join(err, one, two)
	}, func() error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			for range 2 {
				r := &row{}
				if err := tx.QueryRow(ctx, insert, "a name").Scan(fields(r)...); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
