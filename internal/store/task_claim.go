package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"quern/internal/db"
	"quern/internal/postgres"
)

// Claim asks for tasks.
type Claim struct {
	Worker string        // 1 to 100 characters
	Limit  int           // at least 1
	Lease  time.Duration // how long they are the worker's
	Wait   time.Duration // how long to wait for one when there is none; 0 is not at all
}

// WaitForTasks waits until a claim may find tasks, at most so long. It returns false
// if the time is over, if ctx has ended or if the process is about to end.
func (s *Store) WaitForTasks(ctx context.Context, most time.Duration) bool {
	return s.bell.wait(ctx, most)
}

// ClaimTasks leases up to Limit tasks to a worker: those whose lease ran out
// first, then those that have been due for longest. Nobody else is given them
// until the lease runs out. When there are none it waits for one, as long as
// Wait says, and holds no connection meanwhile; none in the end is no error.
//
// A task may be done more than once, by a worker that was cut off and by the one
// that was given the task after it, but only one of them can complete it.
func (s *Store) ClaimTasks(ctx context.Context, c Claim) (tasks []*db.Task, err error) {
	defer act(&err, "claim tasks for worker %q", c.Worker)
	until, looking := time.Now().Add(c.Wait), ctx
	for {
		tasks, err = s.q.ClaimTasks(looking, db.ClaimTasksParams{
			Worker: c.Worker, LeaseSeconds: c.Lease.Seconds(), MaxTasks: int64(c.Limit),
		})
		if err != nil || len(tasks) >= c.Limit {
			// There may be more of them for the next, or the one for whom this
			// one was woken is still there.
			s.bell.ring()
		}
		if err != nil {
			return nil, err
		}
		if len(tasks) > 0 {
			break
		}
		if !s.bell.wait(ctx, time.Until(until)) {
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
