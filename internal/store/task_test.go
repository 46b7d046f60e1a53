package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"quern/internal/db"
	"quern/internal/postgres"
	"quern/internal/storetest"
)

func createTasks(t *testing.T, d *storetest.DB, n int) {
	t.Helper()
	for i := range n {
		_, err := d.Queries.CreateTask(t.Context(), db.CreateTaskParams{
			Name: fmt.Sprint("task ", i), Payload: fmt.Appendf(nil, `{"n": %d}`, i),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestClaimTasks(t *testing.T) {
	t.Parallel()

	t.Run("TenWorkersEachTaskOnce", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		createTasks(t, d, 100)
		var mu sync.Mutex
		done := map[int64]int{}
		var workers sync.WaitGroup
		for i := range 10 {
			workers.Go(func() {
				worker := fmt.Sprint("worker ", i)
				for {
					claimed, err := d.Queries.ClaimTasks(t.Context(), db.ClaimTasksParams{Worker: worker, LeaseSeconds: 60, MaxTasks: 3})
					if err != nil {
						t.Error(err)
						return
					}
					if len(claimed) == 0 {
						return
					}
					for _, task := range claimed {
						_, err := d.Queries.CompleteTask(t.Context(), db.CompleteTaskParams{ID: task.ID, Worker: worker, Attempts: task.Attempts})
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						done[task.ID]++
						mu.Unlock()
					}
				}
			})
		}
		workers.Wait()
		for id, n := range done {
			if n != 1 {
				t.Errorf("task %d was done %d times", id, n)
			}
		}
		if n := d.Count(t, "SELECT count(*) FROM tasks WHERE status = 'completed' AND attempts = 1"); len(done) != 100 || n != 100 {
			t.Errorf("%d tasks done, %d completed at the first attempt, want 100", len(done), n)
		}
	})

	t.Run("ExpiredLease", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		createTasks(t, d, 2)
		claim := func(worker string, seconds float64) []*db.Task {
			t.Helper()
			tasks, err := d.Queries.ClaimTasks(t.Context(), db.ClaimTasksParams{Worker: worker, LeaseSeconds: seconds, MaxTasks: 1})
			if err != nil || len(tasks) != 1 {
				t.Fatalf("claim: %v, %v", tasks, err)
			}
			return tasks
		}
		// A lease that is over at once; the next claim prefers it to what is pending.
		lost := claim("slow", -1)[0]
		taken := claim("quick", 60)[0]
		if taken.ID != lost.ID || taken.Attempts != 2 {
			t.Errorf("claimed %+v, want task %d at its second attempt", taken, lost.ID)
		}
		_, err := d.Queries.CompleteTask(t.Context(), db.CompleteTaskParams{ID: lost.ID, Worker: "slow", Attempts: lost.Attempts})
		if !errors.Is(err, postgres.ErrNotFound) {
			t.Errorf("completed with a stale lease: err = %v, want ErrNotFound", err)
		}
		failed, err := d.Queries.FailTask(t.Context(), db.FailTaskParams{ID: taken.ID, Worker: "quick", Attempts: 2, Retry: true})
		if err != nil || failed.Status != db.TaskStatusPending || failed.Worker != nil {
			t.Errorf("failed to be retried: %+v, %v", failed, err)
		}
	})
}
