package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"quern/pgtest"
)

// sent collects the statements of a connection.
type sent struct {
	mu  sync.Mutex
	all []string
}

func (s *sent) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, data.SQL)
	return ctx
}

func (*sent) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// gooseStatements returns what goose itself sends when it applies the migrations.
func gooseStatements(t *testing.T, dir string) []string {
	t.Helper()
	cc, err := pgx.ParseConfig(pgtest.EmptyURL(t))
	if err != nil {
		t.Fatal(err)
	}
	trace := &sent{}
	cc.Tracer = trace
	db := stdlib.OpenDB(*cc)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS(dir), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(trace.all, func(sql string) bool {
		return strings.Contains(sql, "goose_db_version") || strings.Contains(sql, "pg_tables") || slices.Contains([]string{"begin", "commit", "rollback", "-- ping"}, sql)
	})
}
