package store_test

import (
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

// TestTasks_Concurrent has workers that end their leases in random ways, while other goroutines
// cancel, retry and delete the same tasks. No lease may be granted twice, and no task may be
// leased after it has completed.
func TestTasks_Concurrent(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 8})
	const tasks = 30
	i := 0
	createTasks(t, d, tasks, func(n *store.NewTask) {
		n.Name, n.MaxAttempts = []string{"a", "b"}[i%2], 1000
		i++
	})
	var mu sync.Mutex
	granted := make(map[store.Lease]bool)
	grants, completed, gone := make(map[int64]int32), make(map[int64]int), make(map[int64]bool)
	worker := func(name string) {
		tasks, err := d.Store.ClaimTasks(t.Context(), store.Claim{
			Worker: name, Names: [][]string{nil, {"a"}, {"b", "a"}}[rand.N(3)], Limit: 1 + rand.N(3), Lease: time.Duration(rand.N(2)) * time.Minute,
		})
		if err != nil {
			t.Error(err)
		}
		for _, task := range tasks {
			l := store.Lease{TaskID: task.ID, Attempts: task.Attempts}
			mu.Lock()
			if granted[l] || completed[task.ID] > 0 {
				t.Errorf("%s has claimed %+v, which was granted %t, completed %d", name, task, granted[l], completed[task.ID])
			}
			granted[l] = true
			grants[task.ID]++
			mu.Unlock()
			switch l := leaseOf(task); rand.N(6) {
			case 0:
				if _, err = d.Store.CompleteTask(t.Context(), l); err == nil {
					mu.Lock()
					completed[task.ID]++
					mu.Unlock()
				}
			case 1:
				_, err = d.Store.FailTask(t.Context(), l, store.Failure{Final: rand.N(2) == 0})
			case 2:
				_, err = d.Store.FailTask(t.Context(), l, store.Failure{RetryAfter: new(time.Duration(0))})
			case 3:
				_, err = d.Store.ExtendLease(t.Context(), l, 0)
			default:
				_, err = d.Store.ReleaseTask(t.Context(), l)
			}
			// Other goroutines may have cancelled or deleted the task, or claimed it after its
			// lease.
			if err != nil && !errors.Is(err, store.ErrLeaseLost) && !errors.Is(err, postgres.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	manager := func() {
		id := 1 + rand.N[int64](tasks)
		var err error
		switch rand.N(12) {
		case 0:
			if err = d.Store.DeleteTask(t.Context(), id); err == nil {
				mu.Lock()
				gone[id] = true
				mu.Unlock()
			}
		case 1, 2:
			_, err = d.Store.CancelTask(t.Context(), id)
		default:
			_, err = d.Store.RetryTask(t.Context(), id)
		}
		if err != nil && !errors.Is(err, store.ErrTaskStatus) && !errors.Is(err, postgres.ErrNotFound) {
			t.Error(err)
		}
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range times(60, 2000) {
				worker(fmt.Sprint("worker ", i%4)) // two workers share each name
				if i < 2 {
					manager()
				}
			}
		})
	}
	all.Wait()
	rows, err := d.Queries.ListTasksAfter(t.Context(), db.ListTasksAfterParams{RowLimit: tasks})
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range rows {
		done := completed[task.ID]
		if gone[task.ID] || done > 1 || (task.Status == db.TaskStatusCompleted) != (done == 1) || task.Attempts != grants[task.ID] {
			t.Errorf("%+v: deleted %t, completed %d times, granted %d times", task, gone[task.ID], done, grants[task.ID])
		}
		gone[task.ID] = true
	}
	if len(gone) != tasks {
		t.Errorf("%d tasks are there or were deleted, want %d", len(gone), tasks)
	}
	t.Logf("%d leases granted, %d tasks completed, %d left", len(granted), len(completed), len(rows))
}

func TestSweepTasks(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	// The tasks have each status in turn, and the nth task ended n minutes ago.
	d.Exec(t, `INSERT INTO tasks (name, status, worker, lease_until, run_at, created_at, updated_at)
		SELECT s, s, CASE s WHEN 'running' THEN 'w' END, CASE s WHEN 'running' THEN now() - interval '1 year' END,
			now() - interval '1 year', now() - interval '1 year', now() - i * interval '1 minute'
		FROM generate_series(1, 2000) AS i, unnest(enum_range(NULL::task_status)) AS s`)
	count := func(condition string) int { return d.Count(t, "SELECT count(*) FROM tasks WHERE "+condition) }
	swept, err := d.Store.SweepTasks(t.Context(), 1000*time.Minute+30*time.Second)
	if err != nil || swept != 3000 {
		t.Errorf("%d tasks swept, %v, want 3000: more than one statement takes", swept, err)
	}
	if n := count("updated_at < now() - interval '1001 minutes 30 seconds' AND status NOT IN ('pending', 'running')"); n != 0 {
		t.Errorf("%d old ones are left", n)
	}
	if alive, young := count("status IN ('pending', 'running')"), count("status NOT IN ('pending', 'running')"); alive != 4000 || young != 3000 {
		t.Errorf("%d that have not ended, and %d that ended lately: want 4000 and 3000", alive, young)
	}
}

// TestSweep tests which rows the background work removes.
func TestSweep(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	createTasks(t, d, 2)
	d.Exec(t, "UPDATE tasks SET status = 'completed', updated_at = now() - id * interval '1 year'")
	for _, test := range []struct {
		retention time.Duration
		want      int
	}{{0, 2}, {10_000 * time.Hour, 1}, {time.Hour, 0}} {
		d.Store.SweepNow(t.Context(), store.Background{TaskRetention: test.retention})
		if n := d.Count(t, "SELECT count(*) FROM tasks"); n != test.want {
			t.Errorf("kept for %v: %d tasks are left, want %d", test.retention, n, test.want)
		}
	}
}

// TestClaimTasks_WaitByName checks that no wake-up is lost because it reaches a claim of other
// names.
func TestClaimTasks_WaitByName(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	s := d.Store.Deaf()
	waiting := make(map[string][]<-chan claimed)
	for range 4 {
		for _, names := range [][]string{{"a"}, {"b"}, {"c", "d"}, {"d", "c", "d"}} {
			waiting[slices.Min(names)] = append(waiting[slices.Min(names)], wait(t, t.Context(), s, "w", names...))
		}
	}
	for name, others := range map[string]string{"a": "a", "b": "b", "c": "d"} {
		i := 0
		created := createTasks(t, d, len(waiting[name]), func(task *store.NewTask) {
			task.Name = []string{name, others}[i%2]
			i++
		})
		var got []int64
		for _, c := range waiting[name] {
			claimed := await(t, c)
			if claimed.err != nil {
				t.Fatal(claimed.err)
			}
			got = append(got, taskIDs(claimed.tasks)...)
		}
		slices.Sort(got)
		if !slices.Equal(got, created) {
			t.Errorf("%s: claimed %v, want %v", name, got, created)
		}
	}
}
