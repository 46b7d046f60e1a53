package store

import (
	"context"
	"log/slog"
	"time"
)

// Deaf returns the store with a notifier that polls only once an hour, so a claim that waits
// gets a task only if it is woken.
func (s *Store) Deaf() *Store {
	s.notifier.poll = time.Hour
	return s
}

// Restless returns the store with a notifier that polls at the given interval.
func (s *Store) Restless(poll time.Duration) *Store {
	s.notifier.poll = poll
	return s
}

// SweepNow sweeps once, as Run does at intervals.
func (s *Store) SweepNow(ctx context.Context, b Background) {
	b.Logger = slog.Default()
	s.sweepOnce(ctx, b)
}

// QueuedClaims returns how many claims of the names are queued for a shared statement.
func (s *Store) QueuedClaims(names []string) int {
	q, leave := s.notifier.join(names)
	defer leave()
	q.claims.mu.Lock()
	defer q.claims.mu.Unlock()
	return len(q.claims.queue)
}
