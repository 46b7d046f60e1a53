package postgres

import (
	"context"
	"log/slog"
	"time"
)

// SweepMarkers is for tests, which do not wait until a marker is old.
func (r *Router) SweepMarkers(ctx context.Context, before time.Time) error {
	return r.sweepMarkers(ctx, before)
}

// Learn is for tests without replicas: it is learning a position of the primary.
func (s *Session) Learn(timeline, started, position int64) {
	s.learn(knownRow{position, timeline, started}, route{}, s.blinds(), &histories{observer: &observer{logger: slog.Default()}})
}

type knownRow [3]int64

func (r knownRow) Scan(dest ...any) error {
	for i := range dest {
		*dest[i].(*int64) = r[i]
	}
	return nil
}

// Direct is how many calls of a statement run by themselves before others wait.
func (r *Router) Direct(statement string) int { return int(r.registry.named(statement).lane.direct) }

// Waiting is how many calls of a statement wait to leave with others.
func (r *Router) Waiting(statement string) int {
	l := r.registry.named(statement).lane
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// Inside is how many calls of a statement wait or are under way.
func (r *Router) Inside(statement string) int {
	return int(r.registry.named(statement).lane.inside.Load())
}

// HasLane reports whether calls of a statement may leave with others.
func (r *Router) HasLane(statement string) bool { return r.registry.named(statement).lane != nil }
