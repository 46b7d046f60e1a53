package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// stop locks tasks. It returns when the lock is held, or when it is requested, after which
// later statements wait for it.
func stop(t *testing.T, d *storetest.DB, wait bool) (free func()) {
	t.Helper()
	conn, err := d.Router.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	locked := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE tasks IN EXCLUSIVE MODE")
		locked <- err
	}()
	if wait {
		if err := await(t, locked); err != nil {
			t.Fatal(err)
		}
	} else {
		waiting(t, d, 1, "BEGIN; LOCK TABLE tasks IN EXCLUSIVE MODE")
	}
	return sync.OnceFunc(func() {
		if !wait {
			if err := await(t, locked); err != nil {
				t.Error(err)
			}
		}
		if _, err := conn.Exec(context.WithoutCancel(t.Context()), "ROLLBACK"); err != nil {
			t.Error(err)
		}
		conn.Release()
	})
}

// waiting returns when n statements that begin with the text wait for a lock.
func waiting(t *testing.T, d *storetest.DB, n int, text string) {
	t.Helper()
	until(t, func() bool {
		return d.Count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND wait_event_type = 'Lock' AND starts_with(query, $1)`, text) == n
	})
}

// until waits for a condition.
func until(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}

// openClaims returns a database for claims, and a second pool on it. Claims use one connection, on
// which their statement is prepared, because preparing it waits for a lock, too.
func openClaims(t *testing.T) (d, side *storetest.DB) {
	t.Helper()
	url := storetest.NewURL(t)
	d, side = storetest.Open(t, postgres.Config{URL: url, MaxConns: 1}), storetest.Open(t, postgres.Config{URL: url})
	claim(t, d, "w", 1, time.Hour)
	return d, side
}

// crowd makes claims that share a statement: while tasks are locked, the first one waits for the
// lock and the others for the first one. Unlock lets the first one proceed. The others then wait
// for a second lock, until it is freed.
type crowd struct {
	results []chan claimed
	stats   []*postgres.Stats
	unlock  func()
	free    func()
}

func newCrowd(t *testing.T, d, side *storetest.DB, ctxs []context.Context, claims []store.Claim) *crowd {
	t.Helper()
	c := &crowd{unlock: stop(t, side, true)}
	for i, claim := range claims {
		ctx, stats := postgres.WithStats(ctxs[i])
		result := make(chan claimed, 1)
		go func() {
			tasks, err := d.Store.ClaimTasks(ctx, claim)
			result <- claimed{tasks: tasks, err: err}
		}()
		if i == 0 {
			waiting(t, side, 1, "-- name: ClaimTasks")
		} else {
			until(t, func() bool { return d.Store.QueuedClaims(claim.Names) == i })
		}
		c.results, c.stats = append(c.results, result), append(c.stats, stats)
	}
	c.free = stop(t, side, false)
	return c
}

func TestClaimTasks_Shared(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{nil, {"even", "odd", "even"}} {
		t.Run(fmt.Sprint(len(names)), func(t *testing.T) {
			t.Parallel()
			d, side := openClaims(t)
			n := 0
			ids := createTasks(t, d, 30, func(task *store.NewTask) {
				task.Name = []string{"even", "odd"}[n%2]
				n++
			})
			createTasks(t, d, 3, func(task *store.NewTask) { task.RunAt = time.Now().Add(time.Hour) })
			var claims []store.Claim
			var ctxs []context.Context
			for i := range 5 {
				claims = append(claims, store.Claim{Worker: fmt.Sprint("w", i), Names: names, Limit: 3 * (i + 1), Lease: time.Duration(i+1) * time.Hour})
				ctxs = append(ctxs, t.Context())
			}
			c := newCrowd(t, d, side, ctxs, claims)
			c.unlock()
			c.free()
			for i, limit := range []int{3, 6, 9, 12, 0} {
				got := await(t, c.results[i])
				if got.err != nil || !slices.Equal(taskIDs(got.tasks), ids[:limit]) {
					t.Fatalf("%s: %v, %v, want %v", claims[i].Worker, taskIDs(got.tasks), got.err, ids[:limit])
				}
				ids = ids[limit:]
				for _, task := range got.tasks {
					stored, err := d.Queries.GetTask(t.Context(), task.ID)
					if err != nil || !sameTask(stored, task) {
						t.Errorf("got %+v, stored %+v, %v", task, stored, err)
					}
					if *task.Worker != claims[i].Worker || !task.LeaseUntil.Equal(task.UpdatedAt.Add(claims[i].Lease)) || task.Attempts != 1 {
						t.Errorf("%+v for %+v", task, claims[i])
					}
				}
				want := "ClaimTasksBatch"
				if names != nil {
					want = "ClaimTasksByNameBatch"
				}
				shared := slices.ContainsFunc(c.stats[i].Counts(), func(s postgres.Count) bool { return s.Statement == want && s.Times == 1 })
				if shared != (i > 0) {
					t.Errorf("the statements of %s are %+v", claims[i].Worker, c.stats[i].Counts())
				}
			}
		})
	}
}

func sameTask(a, b *db.Task) bool {
	return a.ID == b.ID && a.Name == b.Name && string(a.Payload) == string(b.Payload) && a.Status == b.Status && a.Attempts == b.Attempts &&
		*a.Worker == *b.Worker && a.LeaseUntil.Equal(*b.LeaseUntil) && a.CreatedAt.Equal(b.CreatedAt) && a.UpdatedAt.Equal(b.UpdatedAt) &&
		a.RunAt.Equal(b.RunAt) && a.MaxAttempts == b.MaxAttempts && a.LastError == b.LastError
}

// TestClaimTasks_CallerGone cancels callers before and after their shared claim was sent. Their
// tasks are given back, with their place in the order and as many attempts left as before.
func TestClaimTasks_CallerGone(t *testing.T) {
	t.Parallel()
	d, side := openClaims(t)
	ids := createTasks(t, d, 6)
	ctxs, cancels := make([]context.Context, 4), make([]context.CancelFunc, 4)
	claims := make([]store.Claim, 4)
	for i := range claims {
		ctxs[i], cancels[i] = context.WithCancel(t.Context())
		defer cancels[i]()
		claims[i] = store.Claim{Worker: fmt.Sprint("w", i), Limit: 2, Lease: time.Hour}
	}
	c := newCrowd(t, d, side, ctxs, claims)
	cancels[1]() // before it was sent
	if got := await(t, c.results[1]); !errors.Is(got.err, context.Canceled) {
		t.Errorf("the first one cancelled: %+v", got)
	}
	c.unlock()
	waiting(t, side, 1, "-- name: ClaimTasksBatch")
	cancels[2]()
	if got := await(t, c.results[2]); !errors.Is(got.err, context.Canceled) {
		t.Errorf("the second one cancelled: %+v", got)
	}
	c.free()
	if got := await(t, c.results[0]); !slices.Equal(taskIDs(got.tasks), ids[:2]) {
		t.Errorf("the lone claim: %+v", got)
	}
	if got := await(t, c.results[3]); !slices.Equal(taskIDs(got.tasks), ids[4:]) {
		t.Errorf("the last claim: %v, %v, want %v", taskIDs(got.tasks), got.err, ids[4:])
	}
	until(t, func() bool { return d.Count(t, "SELECT count(*) FROM tasks WHERE status = 'pending'") == 2 })
	got := claim(t, d, "next", 10, time.Hour)
	if !slices.Equal(taskIDs(got), ids[2:4]) {
		t.Fatalf("claimed %v, want those that were given back: %v", taskIDs(got), ids[2:4])
	}
	for _, task := range got {
		if left := task.MaxAttempts - task.Attempts; left != store.DefaultMaxAttempts-1 {
			t.Errorf("%d attempts left after this one, want %d", left, store.DefaultMaxAttempts-1)
		}
	}
}

// TestClaimTasks_OneInvalid has a call that no statement can execute among others.
func TestClaimTasks_OneInvalid(t *testing.T) {
	t.Parallel()
	d, side := openClaims(t)
	createTasks(t, d, 5)
	claims := make([]store.Claim, 5)
	ctxs := make([]context.Context, len(claims))
	for i := range claims {
		ctxs[i] = t.Context()
		claims[i] = store.Claim{Worker: fmt.Sprint("w", i), Limit: 1, Lease: time.Hour}
	}
	claims[2].Worker = ""
	c := newCrowd(t, d, side, ctxs, claims)
	c.unlock()
	c.free()
	for i := range claims {
		got := await(t, c.results[i])
		if i == 2 {
			if !errors.Is(got.err, postgres.ErrCheck) {
				t.Errorf("without a worker: %+v, want ErrCheck", got)
			}
		} else if got.err != nil || len(got.tasks) != 1 {
			t.Errorf("%+v, want a task", got)
		}
	}
}

// TestClaimTasks_Crowd has many claimers, some of which are cancelled at any moment. Each task is
// leased to one of them, and none to a claimer who has gone.
func TestClaimTasks_Crowd(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	n := times(2000, 50_000)
	for left := n; left > 0; left -= 1000 {
		createTasks(t, d, min(left, 1000), func(task *store.NewTask) { task.Name = fmt.Sprint("n", rand.N(2)) })
	}
	var mu sync.Mutex
	leases := map[int64]int{}
	cancelled := 0
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.N(3) == 0 {
					time.AfterFunc(rand.N(5*time.Millisecond), cancel)
				}
				c := store.Claim{Worker: fmt.Sprint("w", i), Limit: 1 + rand.N(5), Lease: time.Hour}
				if i%4 == 0 {
					c.Names = []string{"n0", "n1"}
				}
				tasks, err := d.Store.ClaimTasks(ctx, c)
				gone := ctx.Err() != nil
				cancel()
				mu.Lock()
				for _, task := range tasks {
					leases[task.ID]++
				}
				if err != nil {
					cancelled++
				}
				mu.Unlock()
				if err != nil && !gone {
					t.Error(err)
				}
				if err == nil && len(tasks) == 0 {
					return
				}
			}
		})
	}
	all.Wait()
	// The tasks that were given back last.
	until(t, func() bool {
		for _, task := range claim(t, d, "last", 100, time.Hour) {
			leases[task.ID]++
		}
		return len(leases) >= n
	})
	for id, times := range leases {
		if times != 1 {
			t.Errorf("task %d was leased %d times", id, times)
		}
	}
	if cancelled == 0 {
		t.Error("no claim was cancelled: the test shows nothing")
	}
}
