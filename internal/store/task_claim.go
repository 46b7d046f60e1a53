package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// Claim is a request for tasks.
type Claim struct {
	Worker string        // 1 to 100 characters
	Names  []string      // of the tasks; empty means any
	Limit  int           // at least 1
	Lease  time.Duration // duration of the lease
	Wait   time.Duration // how long to wait if no task is due; 0 means not at all
}

// WaitForTasks returns a function that waits until a claim of the given names, or of any,
// may find tasks. That function returns false if the given time has passed, its context is
// cancelled, or the process is shutting down. No task is missed if a caller calls
// WaitForTasks before its first claim, and leave after its last one.
func (s *Store) WaitForTasks(names []string) (wait func(ctx context.Context, most time.Duration) bool, leave func()) {
	queue, leave := s.notifier.join(names)
	return func(ctx context.Context, most time.Duration) bool { return s.notifier.wait(ctx, queue, most) }, leave
}

// ClaimTasks leases up to Limit tasks to a worker, those that have been due the longest. A
// task whose lease has expired is due again after a delay: 1 s after its first lease, and
// doubled with each attempt, up to about an hour. Until then, no other claim gets it. If no
// task is due, ClaimTasks waits for one, up to Wait, without holding a connection. Finding
// no task is not an error.
//
// Concurrent calls share one statement. If ctx ends, the tasks that were leased for the call are
// given back.
//
// A task may be executed more than once, by a worker that was cut off and by the next
// worker, but only one of them can complete it.
func (s *Store) ClaimTasks(ctx context.Context, c Claim) (tasks []*db.Task, err error) {
	defer annotate(&err, "claim tasks for worker %q", c.Worker)
	queue, leave := s.notifier.join(c.Names)
	defer leave()
	until, looking := time.Now().Add(c.Wait), ctx
	for {
		tasks, err = s.claimNow(looking, queue, c)
		if err != nil || len(tasks) >= c.Limit {
			// Wake the next claim, because there may be more tasks, or the task that woke
			// this one may still be there.
			queue.wake()
		}
		if err != nil {
			return nil, err
		}
		if len(tasks) > 0 && ctx.Err() != nil {
			s.giveBack(tasks)
			return nil, ctx.Err()
		}
		if len(tasks) > 0 {
			break
		}
		if !s.notifier.wait(ctx, queue, time.Until(until)) {
			return tasks, ctx.Err()
		}
		// Only the first attempt counts for the query budget of the request, because the
		// repetitions cannot be replaced by one statement.
		looking, _ = postgres.WithStats(ctx)
	}
	slices.SortFunc(tasks, func(a, b *db.Task) int {
		return cmp.Or(a.RunAt.Compare(b.RunAt), cmp.Compare(a.ID, b.ID))
	})
	return tasks, nil
}

// claimNow leases the tasks that are due. Within a transaction, a claim is part of it.
func (s *Store) claimNow(ctx context.Context, queue *queue, c Claim) ([]*db.Task, error) {
	if s.within {
		return s.claimAlone(ctx, c)
	}
	return queue.claims.claim(ctx, s, c)
}

// claimAlone leases the tasks that are due for one call.
func (s *Store) claimAlone(ctx context.Context, c Claim) ([]*db.Task, error) {
	if len(c.Names) == 0 {
		return s.q.ClaimTasks(ctx, db.ClaimTasksParams{
			Worker: c.Worker, LeaseSeconds: c.Lease.Seconds(), MaxTasks: int64(c.Limit),
		})
	}
	return s.q.ClaimTasksByName(ctx, db.ClaimTasksByNameParams{
		Worker: c.Worker, Names: c.Names, LeaseSeconds: c.Lease.Seconds(), MaxTasks: int64(c.Limit),
	})
}
