package postgres

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Stats counts the statements that ran under one context: those of a request.
// It is safe for concurrent use.
type Stats struct {
	mu     sync.Mutex
	time   time.Duration
	total  int
	counts map[string]int
}

type statsKey struct{}

// WithStats returns a context whose statements are counted, and the counts.
func WithStats(ctx context.Context) (context.Context, *Stats) {
	s := &Stats{counts: make(map[string]int)}
	return context.WithValue(ctx, statsKey{}, s), s
}

// Total returns how many statements ran and how long they took together.
func (s *Stats) Total() (int, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total, s.time
}

// Most returns the statement that ran most often, and how often: in a request
// that asks once for each row of a list, the N+1.
func (s *Stats) Most() (statement string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, n := range s.counts {
		if n > times || n == times && name < statement {
			statement, times = name, n
		}
	}
	return statement, times
}

func (s *Stats) add(statement string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
	s.time += d
	s.counts[statement]++
}

// tracer observes every statement by its name.
type tracer struct {
	registry  *registry
	logger    *slog.Logger
	all       bool          // log every statement
	arguments bool          // and what it was given
	slow      time.Duration // warn from here on; negative: never
}

type traceKey struct{}

type trace struct {
	name  string
	start time.Time
	args  []any
}

// TraceQueryStart implements pgx.QueryTracer.
func (t *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	q := &trace{name: t.registry.find(data.SQL).Name, start: time.Now()}
	if t.arguments {
		q.args = data.Args
	}
	return context.WithValue(ctx, traceKey{}, q)
}

// TraceQueryEnd implements pgx.QueryTracer.
func (t *tracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	q, ok := ctx.Value(traceKey{}).(*trace)
	if !ok {
		return
	}
	took := time.Since(q.start)
	if s, ok := ctx.Value(statsKey{}).(*Stats); ok {
		s.add(q.name, took)
	}
	level, message := slog.LevelDebug, "query"
	switch {
	case t.slow >= 0 && took >= t.slow:
		level, message = slog.LevelWarn, "slow query"
	case !t.all:
		return
	}
	if !t.logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("query", q.name), slog.Duration("took", took), slog.Int64("rows", data.CommandTag.RowsAffected()),
	}
	if err := data.Err; err != nil && !errors.Is(err, pgx.ErrNoRows) {
		attrs = append(attrs, slog.Any("error", err))
	}
	if t.arguments {
		attrs = append(attrs, slog.Any("arguments", q.args))
	}
	t.logger.LogAttrs(ctx, level, message, attrs...)
}
