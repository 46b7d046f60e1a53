package store

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Listener receives PostgreSQL's notifications, as postgres.Router does. It is an interface
// so that it can be nil.
type Listener interface {
	Listen(ctx context.Context, channel string, heard func(payload string, connected bool))
}

// Background holds the settings of Run. The zero value is ready for use.
type Background struct {
	// Listener receives the announcements of tasks that other processes create. Defaults to
	// none: waiting claims then query once a second. It must be nil behind a pooler that
	// gives each transaction another connection, because notifications do not work there.
	Listener Listener

	// TaskRetention is how long tasks are kept after they completed, failed or were
	// cancelled. Defaults to 0, which keeps them forever.
	TaskRetention time.Duration

	// Folded is called after each look at the deltas of kept counts, about twice a second.
	// Defaults to none.
	Folded func(Folded)

	// Logger receives failures. Defaults to slog.Default().
	Logger *slog.Logger
}

// Run does the background work until ctx is cancelled: it announces new tasks to other
// processes, listens for their announcements, folds counts, and removes expired rows. A service must run
// it once. When ctx is cancelled, waiting claims return at once.
func (s *Store) Run(ctx context.Context, b Background) {
	if b.Logger == nil {
		b.Logger = slog.Default()
	}
	defer context.AfterFunc(ctx, s.notifier.close)()
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { s.announce(ctx, b.Logger) })
	all.Go(func() { s.sweep(ctx, b) })
	all.Go(func() { s.fold(ctx, b) })
	if b.Listener != nil {
		all.Go(func() { b.Listener.Listen(ctx, tasksChannel, s.notifier.notified) })
	}
}

// announce notifies other processes of new tasks. It runs separately from the requests that
// create them, so they do not wait for it.
func (s *Store) announce(ctx context.Context, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.notifier.announce:
		}
		if err := s.q.AnnounceTasks(ctx, s.notifier.name()); err != nil && ctx.Err() == nil {
			// If it fails, waiting claims still find the tasks within a second.
			log.WarnContext(ctx, "new tasks could not be announced", "error", err)
		}
		if !pause(ctx, announcePause) {
			return
		}
	}
}

// sweepPause is the time between two sweeps, plus or minus half.
const sweepPause = 10 * time.Minute

// sweep removes expired rows at intervals.
func (s *Store) sweep(ctx context.Context, b Background) {
	// Jitter prevents that many processes sweep at once.
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
