package store

import (
	"context"
	"log/slog"
	"time"
)

// Deaf returns the store with a notifier that is polled once an hour: who waits is
// woken or waits in vain.
func (s *Store) Deaf() *Store {
	s.notifier.poll = time.Hour
	return s
}

// Restless returns the store with a notifier that is polled that often.
func (s *Store) Restless(poll time.Duration) *Store {
	s.notifier.poll = poll
	return s
}

// SweepNow sweeps once, as Run does now and then.
func (s *Store) SweepNow(ctx context.Context, b Background) {
	b.Logger = slog.Default()
	s.sweepOnce(ctx, b)
}
