package store

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Listener hears PostgreSQL's notifications, as postgres.Router does. It is an
// interface so that there can be none.
type Listener interface {
	Listen(ctx context.Context, channel string, heard func(payload string, connected bool))
}

// Background holds the settings of Run. The zero value is ready for use.
type Background struct {
	// Listener hears of tasks that other processes create. Defaults to none:
	// claimers that wait then look once a second. Behind a pooler that hands a
	// connection from one transaction to the next there can be none.
	Listener Listener

	// TaskRetention is how long tasks are kept after they completed, failed or were
	// cancelled. Defaults to 0, which keeps them forever.
	TaskRetention time.Duration

	// Logger receives what goes wrong. Defaults to slog.Default().
	Logger *slog.Logger
}

// Run does the background work until ctx ends: it notifies other processes of new
// tasks, listens for theirs, and removes expired rows. A service runs it once
// beside its requests. When ctx ends, claimers that wait are answered at once.
func (s *Store) Run(ctx context.Context, b Background) {
	if b.Logger == nil {
		b.Logger = slog.Default()
	}
	defer context.AfterFunc(ctx, s.notifier.close)()
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { s.announce(ctx, b.Logger) })
	all.Go(func() { s.sweep(ctx, b) })
	if b.Listener != nil {
		all.Go(func() { b.Listener.Listen(ctx, tasksChannel, s.notifier.notified) })
	}
}

// announce notifies other processes of new tasks, apart from the requests that create
// them.
func (s *Store) announce(ctx context.Context, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.notifier.announce:
		}
		if err := s.q.AnnounceTasks(ctx, s.notifier.name()); err != nil && ctx.Err() == nil {
			// A waiting claimer looks by itself within a second.
			log.WarnContext(ctx, "new tasks could not be announced", "error", err)
		}
		if !pause(ctx, announcePause) {
			return
		}
	}
}

// sweepPause is the time between two sweeps, give or take half.
const sweepPause = 10 * time.Minute

// sweep removes what is old, now and then.
func (s *Store) sweep(ctx context.Context, b Background) {
	// Jitter, so that many processes do not sweep at once.
	for pause(ctx, sweepPause/2+rand.N(sweepPause)) {
		s.sweepOnce(ctx, b)
	}
}

func (s *Store) sweepOnce(ctx context.Context, b Background) {
	if _, err := s.SweepIdempotencyKeys(ctx); err != nil && ctx.Err() == nil {
		b.Logger.WarnContext(ctx, "idempotency keys could not be swept", "error", err)
	}
	if b.TaskRetention <= 0 {
		return
	}
	if _, err := s.SweepTasks(ctx, b.TaskRetention); err != nil && ctx.Err() == nil {
		b.Logger.WarnContext(ctx, "tasks could not be swept", "error", err)
	}
}

// pause waits and reports whether the context is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
