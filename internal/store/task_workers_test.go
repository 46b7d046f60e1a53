package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// times returns how often this run repeats something: more often if the environment requests
// the long form, as `make faults` does.
func times(short, long int) int {
	if os.Getenv("QUERN_FAULTS") == "long" {
		return long
	}
	return short
}

// crew is a group of workers on the tasks of a database.
type crew struct {
	d     *storetest.DB
	owner int64 // of the posts that are the tasks' effects
	lease time.Duration

	done           atomic.Int64 // counts of tasks, as far as the workers know
	killed         atomic.Int64
	lost, unknowns atomic.Int64
}

// work does tasks until ctx ends or all are done. The effect of a task is a
// post, stored in the transaction that completes the task.
func (c *crew) work(ctx context.Context, t *testing.T, worker string) {
	for ctx.Err() == nil {
		tasks, err := c.d.Store.ClaimTasks(ctx, store.Claim{Worker: worker, Limit: 1 + rand.N(8), Lease: c.lease, Wait: c.lease})
		if err != nil {
			c.note(ctx, t, err)
			continue
		}
		if len(tasks) == 0 && c.left(ctx) == 0 {
			return
		}
		if rand.N(20) == 0 {
			// This worker stalls. Its leases expire while it is alive, and its tasks are given
			// to other workers, a second later for a first attempt.
			select {
			case <-ctx.Done():
			case <-time.After(c.lease + 3*time.Second/2):
			}
		}
		for _, task := range tasks {
			err := c.d.Store.InTx(ctx, func(q *db.Queries) error {
				title := fmt.Sprint(task.ID)
				if _, err := q.CreatePost(ctx, db.CreatePostParams{UserID: c.owner, Title: title, Content: worker, Tags: []string{}}); err != nil {
					return err
				}
				_, err := store.New(q).CompleteTask(ctx, leaseOf(task))
				return err
			})
			if err != nil {
				c.note(ctx, t, err)
				continue
			}
			c.done.Add(1)
		}
	}
}

// note records an error. Errors of a worker that was killed are expected.
func (c *crew) note(ctx context.Context, t *testing.T, err error) {
	switch {
	case errors.Is(err, postgres.ErrCommitUnknown):
		c.unknowns.Add(1)
	case errors.Is(err, store.ErrLeaseLost):
		c.lost.Add(1)
	case ctx.Err() != nil, errors.Is(err, postgres.ErrUnavailable):
	default:
		t.Error(err)
	}
}

// left returns how many tasks are not done, or -1 if that is unknown.
func (c *crew) left(ctx context.Context) int {
	n := -1
	_ = c.d.Router.Pool().QueryRow(ctx, "SELECT count(*) FROM tasks WHERE status IN ('pending', 'running')").Scan(&n)
	return n
}

// check checks that each of n tasks was done once and had its effect once.
func (c *crew) check(t *testing.T, n int) {
	t.Helper()
	if completed := c.d.Count(t, "SELECT count(*) FROM tasks WHERE status = 'completed'"); completed != n {
		t.Errorf("%d tasks completed, want %d", completed, n)
	}
	if posts := c.d.Count(t, "SELECT count(*) FROM posts"); posts != n {
		t.Errorf("%d effects, want %d", posts, n)
	}
	if posts := c.d.Count(t, "SELECT count(DISTINCT title) FROM posts"); posts != n {
		t.Errorf("the effects of %d different tasks, want %d", posts, n)
	}
}

func TestTenWorkers(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	createTasks(t, d, 500)
	var workers sync.WaitGroup
	for i := range 10 {
		// Each has a separate store, as in another process, because the claims of one store are
		// never concurrent.
		s := store.New(db.New(d.Router))
		workers.Go(func() {
			for tasks := []*db.Task{nil}; len(tasks) > 0; {
				var err error
				tasks, err = s.ClaimTasks(t.Context(), store.Claim{Worker: fmt.Sprint("worker ", i), Limit: 3, Lease: time.Minute})
				if err != nil {
					t.Error(err)
				}
				for _, task := range tasks {
					if _, err := d.Store.CompleteTask(t.Context(), leaseOf(task)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	workers.Wait()
	if n := d.Count(t, "SELECT count(*) FROM tasks WHERE status = 'completed' AND attempts = 1"); n != 500 {
		t.Errorf("%d tasks completed at the first attempt, want 500", n)
	}
}

// TestWorkersKilled has 32 workers whose contexts end at random moments, so their connections
// break at any point. Their backends are also killed: in a claim, between a claim and the work,
// in the work, and in its COMMIT. Other workers stall until their leases have expired. Each
// task must be done once, and none may be lost.
func TestWorkersKilled(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 12})
	n := times(2000, 100_000)
	for left := n; left > 0; left -= 1000 {
		createTasks(t, d, min(left, 1000), func(n *store.NewTask) { n.MaxAttempts = 1000 })
	}
	c := &crew{d: d, owner: d.CreateUser(t).ID, lease: 500 * time.Millisecond}
	c.d.Store.Restless(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var workers sync.WaitGroup
	kill := make([]atomic.Pointer[context.CancelFunc], 32)
	for i := range kill {
		workers.Go(func() {
			for ctx.Err() == nil {
				life, end := context.WithCancel(ctx)
				kill[i].Store(&end)
				// Its successor has the same name, so only the number of attempts distinguishes
				// them.
				c.work(life, t, fmt.Sprint("worker ", i))
				killed := life.Err() != nil
				end()
				if !killed {
					return
				}
			}
		})
	}
	all := make(chan struct{})
	go func() {
		defer close(all)
		workers.Wait()
	}()
	// One backend is killed for every ten tasks, as long as tasks are left.
	for c.left(ctx) > 0 {
		before, deadline := c.done.Load(), time.Now().Add(time.Second)
		for c.done.Load() < before+10 && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if end := kill[rand.N(len(kill))].Load(); end != nil {
			(*end)()
			c.killed.Add(1)
		}
		if rand.N(4) == 0 {
			d.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
				AND pid <> pg_backend_pid() AND state <> 'idle' ORDER BY random() LIMIT 1`)
		}
	}
	await(t, all)
	c.check(t, n)
	if c.lost.Load() == 0 {
		t.Error("no worker came too late: the test shows nothing")
	}
	again := d.Count(t, "SELECT sum(attempts) FROM tasks") - n
	t.Logf("%d workers killed; %d tasks claimed again, %d leases lost, %d completions of unknown outcome",
		c.killed.Load(), again, c.lost.Load(), c.unknowns.Load())
}
