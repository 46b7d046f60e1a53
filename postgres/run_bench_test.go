package postgres_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quern/pgtest"
	"quern/postgres"
)

// BenchmarkStatement measures a single read and a single insert, with one caller and with
// four concurrent ones.
func BenchmarkStatement(b *testing.B) {
	const (
		read   = "-- name: BenchRead :one\nSELECT id, name FROM bench WHERE id = $1"
		insert = "-- name: BenchInsert :one\nINSERT INTO bench (name) VALUES ($1) RETURNING id"
	)
	router, err := postgres.Connect(b.Context(), postgres.Config{
		URL: pgtest.EmptyURL(b), MaxConns: 4, MinConns: 4,
		Statements: []postgres.Statement{
			{Name: "BenchRead", Kind: postgres.One, SQL: read, Reads: true},
			{Name: "BenchInsert", Kind: postgres.One, SQL: insert},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(router.Close)
	for _, sql := range []string{
		"CREATE TABLE bench (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL)",
		"INSERT INTO bench (name) SELECT 'name ' || n FROM generate_series(1, 1000) n",
	} {
		if _, err := router.Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}
	kinds := map[string]func(n int64) error{
		"Read": func(n int64) error {
			var id int64
			var name string
			return router.QueryRow(b.Context(), read, 1+n%1000).Scan(&id, &name)
		},
		"Insert": func(n int64) error {
			var id int64
			return router.QueryRow(b.Context(), insert, "a name").Scan(&id)
		},
	}
	for _, kind := range []string{"Read", "Insert"} {
		for _, callers := range []int{1, 4} {
			b.Run(kind+"/callers="+strconv.Itoa(callers), func(b *testing.B) {
				b.ReportAllocs()
				benchCallers(b, callers, kinds[kind])
			})
		}
	}
}

// benchCallers distributes b.N calls among the callers, and reports the CPU time of this
// process per call.
func benchCallers(b *testing.B, callers int, call func(n int64) error) {
	var n atomic.Int64
	var done sync.WaitGroup
	before := processTime(b)
	for range callers {
		done.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				if err := call(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	b.ReportMetric(float64((processTime(b)-before)/time.Duration(b.N)), "cpu-ns/op")
}

// processTime returns the CPU time that this process has used.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
