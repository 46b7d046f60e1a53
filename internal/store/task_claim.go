package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// Claim asks for tasks.
type Claim struct {
	Worker string        // 1 to 100 characters
	Names  []string      // of the tasks; none is any
	Limit  int           // at least 1
	Lease  time.Duration // how long they are the worker's
	Wait   time.Duration // how long to wait for one when there is none; 0 is not at all
}

// WaitForTasks returns a function that waits until a claim of the given names, or of
// any, may find tasks, at most so long. It returns false if the time is over, if its
// context has ended or if the process is about to end. A caller that calls
// WaitForTasks before its first claim, and leave after its last one, misses no task
// in between.
func (s *Store) WaitForTasks(names []string) (wait func(ctx context.Context, most time.Duration) bool, leave func()) {
	queue, leave := s.notifier.join(names)
	return func(ctx context.Context, most time.Duration) bool { return s.notifier.wait(ctx, queue, most) }, leave
}

// ClaimTasks leases up to Limit tasks to a worker, those that have been due for
// longest. A task whose lease ran out is due again some time after that: 1 s after
// its first lease, and twice as long with each attempt, up to about an hour. No
// other claim gets the tasks until then. When there are none it waits for one, as
// long as Wait says, and holds no connection meanwhile; none in the end is no
// error.
//
// A task may be done more than once, by a worker that was cut off and by the one
// that was given the task after it, but only one of them can complete it.
func (s *Store) ClaimTasks(ctx context.Context, c Claim) (tasks []*db.Task, err error) {
	defer annotate(&err, "claim tasks for worker %q", c.Worker)
	queue, leave := s.notifier.join(c.Names)
	defer leave()
	until, looking := time.Now().Add(c.Wait), ctx
	for {
		tasks, err = s.claimNow(looking, c)
		if err != nil || len(tasks) >= c.Limit {
			// There may be more of them for the next claimer, or the task that this
			// one was woken for is still there.
			queue.wake()
		}
		if err != nil {
			return nil, err
		}
		if len(tasks) > 0 {
			break
		}
		if !s.notifier.wait(ctx, queue, time.Until(until)) {
			return tasks, ctx.Err()
		}
		// Only the first look counts for the request: the others are not a
		// statement that it repeats for want of a better one.
		looking, _ = postgres.WithStats(ctx)
	}
	slices.SortFunc(tasks, func(a, b *db.Task) int {
		return cmp.Or(a.RunAt.Compare(b.RunAt), cmp.Compare(a.ID, b.ID))
	})
	return tasks, nil
}

// claimNow leases what is due.
func (s *Store) claimNow(ctx context.Context, c Claim) ([]*db.Task, error) {
	if len(c.Names) == 0 {
		return s.q.ClaimTasks(ctx, db.ClaimTasksParams{
			Worker: c.Worker, LeaseSeconds: c.Lease.Seconds(), MaxTasks: int64(c.Limit),
		})
	}
	return s.q.ClaimTasksByName(ctx, db.ClaimTasksByNameParams{
		Worker: c.Worker, Names: c.Names, LeaseSeconds: c.Lease.Seconds(), MaxTasks: int64(c.Limit),
	})
}
