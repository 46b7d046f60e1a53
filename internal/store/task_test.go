package store_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// createTasks adds tasks. The nth one is called "task n".
func createTasks(t testing.TB, d *storetest.DB, n int, change ...func(*store.NewTask)) []int64 {
	t.Helper()
	tasks := make([]store.NewTask, n)
	for i := range tasks {
		tasks[i] = store.NewTask{Name: fmt.Sprint("task ", i), Payload: fmt.Appendf(nil, `{"n": %d}`, i)}
		for _, c := range change {
			c(&tasks[i])
		}
	}
	ids, err := d.Store.CreateTasks(t.Context(), tasks)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// claim claims tasks, and does not wait for any.
func claim(t testing.TB, d *storetest.DB, worker string, limit int, lease time.Duration) []*db.Task {
	t.Helper()
	tasks, err := d.Store.ClaimTasks(t.Context(), store.Claim{Worker: worker, Limit: limit, Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	return tasks
}

func leaseOf(task *db.Task) store.Lease {
	return store.Lease{TaskID: task.ID, Worker: *task.Worker, Attempts: task.Attempts}
}

func taskIDs(tasks []*db.Task) []int64 {
	var ids []int64
	for _, t := range tasks {
		ids = append(ids, t.ID)
	}
	return ids
}

func TestCreateTasks(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	ids, err := d.Store.CreateTasks(t.Context(), []store.NewTask{
		{Name: "now", Payload: []byte(`{}`)},
		{Name: "later", Payload: []byte(`[1, "é\\"]`), RunAt: later, MaxAttempts: 3},
		{Name: "past", Payload: []byte(`null`), RunAt: time.Unix(0, 0)},
	})
	if err != nil || len(ids) != 3 || !slices.IsSorted(ids) {
		t.Fatalf("ids %v, %v", ids, err)
	}
	for i, want := range []struct {
		name, payload string
		attempts      int32
	}{{"now", `{}`, store.DefaultMaxAttempts}, {"later", `[1, "é\\"]`, 3}, {"past", `null`, store.DefaultMaxAttempts}} {
		got, err := d.Queries.GetTask(t.Context(), ids[i])
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != want.name || string(got.Payload) != want.payload || got.MaxAttempts != want.attempts || got.Status != db.TaskStatusPending {
			t.Errorf("%+v, payload %s: want %+v", got, got.Payload, want)
		}
		if due := got.RunAt; want.name == "later" && !due.Equal(later) || want.name != "later" && !due.Equal(got.CreatedAt) {
			t.Errorf("%s is due at %v, created at %v", want.name, due, got.CreatedAt)
		}
	}
	if ids, err := d.Store.CreateTasks(t.Context(), nil); err != nil || ids == nil || len(ids) != 0 {
		t.Errorf("no tasks: %v, %v", ids, err)
	}
	_, err = d.Store.CreateTasks(t.Context(), []store.NewTask{{Name: "good", Payload: []byte("1")}, {Name: "", Payload: []byte("1")}})
	if !errors.Is(err, postgres.ErrCheck) {
		t.Errorf("no name: err = %v, want ErrCheck", err)
	}
	if n := d.Count(t, "SELECT count(*) FROM tasks"); n != 3 {
		t.Errorf("%d tasks, want 3", n)
	}
}

// TestCompleteTasks_Concurrent completes the same tasks from several lists at once, each in another
// order. All are completed, and no call fails because of another.
func TestCompleteTasks_Concurrent(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	for range times(3, 30) {
		createTasks(t, d, 200)
		tasks := claim(t, d, "w", 200, time.Minute)
		var all sync.WaitGroup
		for i := range 4 {
			leases := make([]store.Lease, 0, len(tasks)+1)
			for _, task := range tasks {
				leases = append(leases, leaseOf(task))
			}
			leases = append(leases, store.Lease{TaskID: 1 << 40, Worker: "w", Attempts: 1})
			leases[i].Worker = "another"
			rand.Shuffle(len(leases), func(i, j int) { leases[i], leases[j] = leases[j], leases[i] })
			all.Go(func() {
				got, err := d.Store.CompleteTasks(t.Context(), leases)
				want := store.Completion{Done: len(tasks) - 1, Missing: []int64{1 << 40}, Lost: []int64{tasks[i].ID}}
				if diff := gocmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
			})
		}
		all.Wait()
		if n := d.Count(t, "SELECT count(*) FROM tasks WHERE status <> 'completed' OR attempts <> 1"); n != 0 {
			t.Fatalf("%d tasks are not completed", n)
		}
	}
	if _, err := d.Store.CompleteTasks(t.Context(), []store.Lease{{TaskID: 1, Worker: "w", Attempts: 1}, {TaskID: 1, Worker: "v", Attempts: 2}}); err == nil {
		t.Error("a task that is given twice is not refused")
	}
}

func TestClaimTasks(t *testing.T) {
	t.Parallel()

	t.Run("InOrder", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		ids := createTasks(t, d, 5)
		d.Exec(t, "UPDATE tasks SET run_at = run_at - interval '1 hour' WHERE id = $1", ids[3])
		d.Exec(t, "UPDATE tasks SET run_at = run_at + interval '1 hour' WHERE id = $1", ids[1])
		var got []int64
		for range 3 {
			got = append(got, taskIDs(claim(t, d, "w", 2, time.Minute))...)
		}
		if want := []int64{ids[3], ids[0], ids[2], ids[4]}; !slices.Equal(got, want) {
			t.Errorf("claimed %v, want %v: the one that is not due stays", got, want)
		}
	})

	// A claim waits neither for another claim nor for another transaction that has locked a
	// task.
	t.Run("WaitsForNobody", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		ids := createTasks(t, d, 4)
		claim(t, d, "w", 2, -time.Hour)
		err := d.Store.InTx(t.Context(), func(q *db.Queries) error {
			// It holds a task whose lease has expired, and one that is pending.
			held, err := q.ClaimTasks(t.Context(), db.ClaimTasksParams{Worker: "w", LeaseSeconds: 60, MaxTasks: 3})
			if err != nil {
				return err
			}
			if got := taskIDs(claim(t, d, "v", 4, time.Minute)); len(held) != 3 || !slices.Equal(got, ids[3:]) {
				t.Errorf("claimed %v of %v, and %d in a transaction: want the one that is free", got, ids, len(held))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})

	t.Run("ExpiredLease", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		ids := createTasks(t, d, 1)
		// The lease ended a second ago, so the task is due from this moment.
		lost := claim(t, d, "slow", 1, -time.Second)[0]
		createTasks(t, d, 1)
		taken := claim(t, d, "quick", 1, time.Minute)[0]
		if lost.ID != ids[0] || taken.ID != lost.ID || taken.Attempts != 2 || *taken.Worker != "quick" {
			t.Errorf("claimed %+v, want task %d at its second attempt", taken, lost.ID)
		}
		if due := lost.LeaseUntil.Add(time.Second); !taken.RunAt.Equal(due) {
			t.Errorf("its second attempt was due at %v, want %v", taken.RunAt, due)
		}
		for name, act := range map[string]func() (*db.Task, error){
			"extend":   func() (*db.Task, error) { return d.Store.ExtendLease(t.Context(), leaseOf(lost), time.Hour) },
			"complete": func() (*db.Task, error) { return d.Store.CompleteTask(t.Context(), leaseOf(lost)) },
			"finish":   func() (*db.Task, error) { return nil, d.Store.FinishTask(t.Context(), leaseOf(lost)) },
			"fail":     func() (*db.Task, error) { return d.Store.FailTask(t.Context(), leaseOf(lost), store.Failure{}) },
			"release":  func() (*db.Task, error) { return d.Store.ReleaseTask(t.Context(), leaseOf(lost)) },
		} {
			if task, err := act(); !errors.Is(err, store.ErrLeaseLost) || task != nil {
				t.Errorf("%s with a stale lease: %v, %v, want ErrLeaseLost", name, task, err)
			}
		}
		// The same worker, claiming again, has another lease.
		again := claim(t, d, "slow", 1, -time.Second)[0]
		third := claim(t, d, "slow", 1, time.Minute)[0]
		if _, err := d.Store.CompleteTask(t.Context(), leaseOf(again)); third.ID != again.ID || !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("a worker's older lease: %v, want ErrLeaseLost", err)
		}
	})

	t.Run("AttemptsUsedUp", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		ids := createTasks(t, d, 2, func(n *store.NewTask) { n.MaxAttempts = 2 })
		claim(t, d, "w", 2, -time.Second)
		last := claim(t, d, "w", 2, -time.Second)
		if len(last) != 2 {
			t.Fatalf("claimed %v again, want both", taskIDs(last))
		}
		fresh := createTasks(t, d, 2)
		// They do not count towards the limit of a claim.
		if got := taskIDs(claim(t, d, "w", 2, time.Minute)); !slices.Equal(got, fresh) {
			t.Errorf("claimed %v, want %v", got, fresh)
		}
		for _, id := range ids {
			task, err := d.Queries.GetTask(t.Context(), id)
			if err != nil || task.Status != db.TaskStatusFailed || task.LastError == nil || task.Attempts != 2 || task.LeaseUntil != nil {
				t.Errorf("%+v, %v: want it failed after two attempts", task, err)
			}
		}
		if _, err := d.Store.CompleteTask(t.Context(), leaseOf(last[0])); !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("completed after all: err = %v, want ErrLeaseLost", err)
		}
	})

	// A task that kills its workers comes after the tasks that are due already, and later with
	// each attempt.
	t.Run("Poison", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		poison := createTasks(t, d, 1)[0]
		others := createTasks(t, d, 20)
		kill := func() (got int64) {
			got = claim(t, d, "w", 1, time.Minute)[0].ID
			// The worker is dead, and the task has just become due again.
			d.Exec(t, "UPDATE tasks SET lease_until = now() - interval '1 second' WHERE id = $1", got)
			return got
		}
		if first := kill(); first != poison {
			t.Fatalf("claimed %d first, want %d", first, poison)
		}
		var got []int64
		for range others {
			got = append(got, kill())
		}
		if !slices.Equal(got, others) {
			t.Errorf("claimed %v, want the others %v", got, others)
		}
		d.Exec(t, "DELETE FROM tasks WHERE id <> $1", poison)
		const early = 500 * time.Millisecond
		for attempts, wait := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 4: 8, 10: 512, 13: 4096, 14: 4096, 900: 4096} {
			for _, c := range []struct {
				ago  time.Duration
				want int
			}{{wait*time.Second - early, 0}, {wait * time.Second, 1}} {
				for {
					began := time.Now()
					d.Exec(t, "UPDATE tasks SET attempts = $1, max_attempts = 1000, lease_until = now() - $2::interval", attempts, c.ago)
					got := claim(t, d, "w", 1, time.Minute)
					if len(got) > c.want && time.Since(began) > early {
						continue // the task was due by then
					}
					if len(got) != c.want {
						t.Errorf("%v after the lease of attempt %d: claimed %d, want %d", c.ago, attempts, len(got), c.want)
					}
					break
				}
			}
		}
	})

	t.Run("ByName", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		var names []string
		for i := range 12 {
			names = append(names, []string{"a", "b", "c"}[i%3])
		}
		n := 0
		ids := createTasks(t, d, 12, func(task *store.NewTask) {
			task.Name = names[n]
			n++
		})
		d.Exec(t, "UPDATE tasks SET run_at = run_at - interval '1 hour' WHERE id = $1", ids[10]) // a b
		byName := func(limit int, names ...string) []int64 {
			t.Helper()
			tasks, err := d.Store.ClaimTasks(t.Context(), store.Claim{Worker: "w", Names: names, Limit: limit, Lease: -time.Second})
			if err != nil {
				t.Fatal(err)
			}
			return taskIDs(tasks)
		}
		for _, c := range []struct {
			names []string
			limit int
			want  []int64
		}{
			{[]string{"none"}, 10, nil},
			{[]string{"A", "a "}, 10, nil},
			{[]string{"b"}, 2, []int64{ids[10], ids[1]}},
			{[]string{"c", "none", "c"}, 1, []int64{ids[2]}},
			{[]string{"a", "c"}, 5, []int64{ids[0], ids[3], ids[5], ids[6], ids[8]}},
			{[]string{"c", "a"}, 5, []int64{ids[9], ids[11], ids[2], ids[0], ids[3]}}, // the leases of the last three have expired
		} {
			if got := byName(c.limit, c.names...); !slices.Equal(got, c.want) {
				t.Errorf("claimed %v by %q, want %v", got, c.names, c.want)
			}
		}
	})

	// If the lease of a last attempt has expired, any claim of any names ends it.
	t.Run("ByNameUsedUp", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		id := createTasks(t, d, 1, func(n *store.NewTask) { n.MaxAttempts = 1 })[0]
		claim(t, d, "w", 1, -time.Second)
		if _, err := d.Store.ClaimTasks(t.Context(), store.Claim{Worker: "w", Names: []string{"other"}, Limit: 1, Lease: time.Minute}); err != nil {
			t.Fatal(err)
		}
		if task, err := d.Queries.GetTask(t.Context(), id); err != nil || task.Status != db.TaskStatusFailed {
			t.Errorf("%+v, %v: want it failed", task, err)
		}
	})
}

func TestExtendLease(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	createTasks(t, d, 1)
	// An expired lease still belongs to the worker until another worker claims the task.
	task := claim(t, d, "w", 1, -time.Second)[0]
	got, err := d.Store.ExtendLease(t.Context(), leaseOf(task), time.Hour)
	if err != nil || time.Until(*got.LeaseUntil) < 59*time.Minute || got.Attempts != 1 {
		t.Errorf("extended: %+v, %v", got, err)
	}
	if others := claim(t, d, "x", 1, time.Minute); len(others) != 0 {
		t.Errorf("claimed %+v, which is leased", others[0])
	}
	if _, err := d.Store.ExtendLease(t.Context(), store.Lease{TaskID: 1 << 40, Worker: "w", Attempts: 1}, time.Hour); !errors.Is(err, postgres.ErrNotFound) {
		t.Errorf("unknown task: err = %v, want ErrNotFound", err)
	}
	other := leaseOf(task)
	other.Worker = "x"
	if _, err := d.Store.ExtendLease(t.Context(), other, time.Hour); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("someone else's lease: err = %v, want ErrLeaseLost", err)
	}
}

func TestCompleteTask(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	createTasks(t, d, 1)
	task := claim(t, d, "w", 1, time.Minute)[0]
	done, err := d.Store.CompleteTask(t.Context(), leaseOf(task))
	if err != nil || done.Status != db.TaskStatusCompleted || done.LeaseUntil != nil || *done.Worker != "w" {
		t.Fatalf("completed: %+v, %v", done, err)
	}
	again, err := d.Store.CompleteTask(t.Context(), leaseOf(task))
	if err != nil || !again.UpdatedAt.Equal(done.UpdatedAt) {
		t.Errorf("repeated: %+v, %v, want no error and no change", again, err)
	}
	for name, lease := range map[string]store.Lease{
		"another worker":  {TaskID: task.ID, Worker: "x", Attempts: 1},
		"another attempt": {TaskID: task.ID, Worker: "w", Attempts: 2},
	} {
		if _, err := d.Store.CompleteTask(t.Context(), lease); !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("%s: err = %v, want ErrLeaseLost", name, err)
		}
	}
	if _, err := d.Store.FailTask(t.Context(), leaseOf(task), store.Failure{}); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("failed after it was completed: err = %v, want ErrLeaseLost", err)
	}
	if _, err := d.Store.CompleteTask(t.Context(), store.Lease{TaskID: 1 << 40, Worker: "w", Attempts: 1}); !errors.Is(err, postgres.ErrNotFound) {
		t.Errorf("unknown task: err = %v, want ErrNotFound", err)
	}
}

// TestFinishTask finishes tasks at once, each twice, and with leases that no worker has.
func TestFinishTask(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	createTasks(t, d, 40)
	tasks := claim(t, d, "w", 40, time.Minute)
	var all sync.WaitGroup
	for _, task := range slices.Repeat(tasks, 2) {
		all.Go(func() {
			if err := d.Store.FinishTask(t.Context(), leaseOf(task)); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			other := leaseOf(task)
			other.Attempts++
			if err := d.Store.FinishTask(t.Context(), other); !errors.Is(err, store.ErrLeaseLost) {
				t.Errorf("another attempt: err = %v, want ErrLeaseLost", err)
			}
		})
	}
	all.Wait()
	if n := d.Count(t, "SELECT count(*) FROM tasks WHERE status = 'completed' AND lease_until IS NULL"); n != 40 {
		t.Errorf("%d tasks are completed, want 40", n)
	}
	if err := d.Store.FinishTask(t.Context(), store.Lease{TaskID: 1 << 40, Worker: "w", Attempts: 1}); !errors.Is(err, postgres.ErrNotFound) {
		t.Errorf("unknown task: err = %v, want ErrNotFound", err)
	}
}

func TestFailTask(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	createTasks(t, d, 1, func(n *store.NewTask) { n.MaxAttempts = 3 })
	again := func(after time.Duration) store.Failure {
		return store.Failure{Error: "no " + after.String(), RetryAfter: &after}
	}

	first := claim(t, d, "w", 1, time.Minute)[0]
	got, err := d.Store.FailTask(t.Context(), leaseOf(first), again(0))
	if err != nil || got.Status != db.TaskStatusPending || *got.LastError != "no 0s" || got.LeaseUntil != nil {
		t.Fatalf("failed at once: %+v, %v", got, err)
	}
	if repeated, err := d.Store.FailTask(t.Context(), leaseOf(first), again(0)); err != nil || !repeated.UpdatedAt.Equal(got.UpdatedAt) {
		t.Errorf("repeated: %+v, %v, want no error and no change", repeated, err)
	}

	second := claim(t, d, "w", 1, time.Minute)[0]
	got, err = d.Store.FailTask(t.Context(), leaseOf(second), again(time.Hour))
	if err != nil || got.Status != db.TaskStatusPending || time.Until(got.RunAt) < 59*time.Minute {
		t.Fatalf("failed for an hour: %+v, %v", got, err)
	}
	if _, err := d.Store.FailTask(t.Context(), leaseOf(first), again(0)); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("the first lease after the second: err = %v, want ErrLeaseLost", err)
	}
	if early := claim(t, d, "w", 1, time.Minute); len(early) != 0 {
		t.Fatalf("claimed %+v, which is not due", early[0])
	}

	d.Exec(t, "UPDATE tasks SET run_at = now()")
	third := claim(t, d, "w", 1, time.Minute)[0]
	got, err = d.Store.FailTask(t.Context(), leaseOf(third), again(0))
	if err != nil || got.Status != db.TaskStatusFailed || got.Attempts != 3 {
		t.Errorf("the last attempt: %+v, %v, want it failed", got, err)
	}

	createTasks(t, d, 1)
	task := claim(t, d, "w", 1, time.Minute)[0]
	got, err = d.Store.FailTask(t.Context(), leaseOf(task), store.Failure{Final: true})
	if err != nil || got.Status != db.TaskStatusFailed || got.LastError != nil {
		t.Errorf("failed for good: %+v, %v", got, err)
	}
	createTasks(t, d, 1)
	task = claim(t, d, "w", 1, time.Minute)[0]
	if _, err := d.Store.FailTask(t.Context(), leaseOf(task), store.Failure{Error: strings.Repeat("x", 1001)}); !errors.Is(err, postgres.ErrCheck) {
		t.Errorf("a long error: err = %v, want ErrCheck", err)
	}
}

func TestPageTasks(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	all := createTasks(t, d, 30)
	d.Exec(t, "UPDATE tasks SET name = 'odd' WHERE id % 2 = 1")
	odd := func(ids []int64, is bool) []int64 {
		return slices.DeleteFunc(slices.Clone(ids), func(id int64) bool { return (id%2 == 1) != is })
	}
	var done []int64
	for _, task := range claim(t, d, "w", 10, time.Minute) {
		if task.ID%2 == 0 {
			if _, err := d.Store.CompleteTask(t.Context(), leaseOf(task)); err != nil {
				t.Fatal(err)
			}
			done = append(done, task.ID)
		}
	}
	for _, test := range []struct {
		filter store.TaskFilter
		want   []int64
	}{
		{store.TaskFilter{}, all},
		{store.TaskFilter{Status: new(db.TaskStatusCompleted)}, done},
		{store.TaskFilter{Status: new(db.TaskStatusPending)}, all[10:]},
		{store.TaskFilter{Status: new(db.TaskStatusFailed)}, nil},
		{store.TaskFilter{Name: "odd"}, odd(all, true)},
		{store.TaskFilter{Name: "odd", Status: new(db.TaskStatusPending)}, odd(all[10:], true)},
		{store.TaskFilter{Name: "odd", Status: new(db.TaskStatusRunning)}, odd(all[:10], true)},
		{store.TaskFilter{Name: "odd", Status: new(db.TaskStatusCompleted)}, nil},
		{store.TaskFilter{Name: "task 3"}, odd(all[3:4], false)},
		{store.TaskFilter{Name: "none"}, nil},
	} {
		for _, limit := range []int{1, 4, 100} {
			var there []int64
			var last store.Page[int64, *db.Task]
			for r := (store.PageRequest[int64]{Limit: limit}); ; r = (store.PageRequest[int64]{Limit: limit, After: last.Next}) {
				p, err := d.Store.PageTasks(t.Context(), test.filter, r)
				if err != nil {
					t.Fatal(err)
				}
				last = p
				there = append(there, taskIDs(p.Items)...)
				if p.Next == nil {
					break
				}
			}
			if !slices.Equal(there, test.want) {
				t.Errorf("%+v by %d: %v, want %v", test.filter, limit, there, test.want)
			}
			back := taskIDs(last.Items)
			for last.Prev != nil {
				p, err := d.Store.PageTasks(t.Context(), test.filter, store.PageRequest[int64]{Limit: limit, Before: last.Prev})
				if err != nil {
					t.Fatal(err)
				}
				last = p
				back = append(taskIDs(p.Items), back...)
			}
			if !slices.Equal(back, test.want) {
				t.Errorf("%+v back by %d: %v, want %v", test.filter, limit, back, test.want)
			}
		}
	}
}

func TestCountTasks(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	createTasks(t, d, 8)
	createTasks(t, d, 1, func(n *store.NewTask) { n.RunAt = time.Now().Add(time.Hour) })
	claim(t, d, "w", 1, time.Hour)
	claim(t, d, "w", 2, time.Hour)
	for i, task := range claim(t, d, "w", 3, time.Hour) {
		var err error
		if i == 0 {
			_, err = d.Store.CompleteTask(t.Context(), leaseOf(task))
		} else {
			_, err = d.Store.FailTask(t.Context(), leaseOf(task), store.Failure{Final: true})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	d.Exec(t, "UPDATE tasks SET status = 'cancelled' WHERE id = (SELECT max(id) FROM tasks WHERE status = 'pending' AND run_at <= now())")
	d.Exec(t, "UPDATE tasks SET lease_until = now() - interval '1 s' WHERE id = (SELECT min(id) FROM tasks WHERE status = 'running')")
	got, err := d.Queries.CountTasks(t.Context())
	want := db.CountTasksRow{Pending: 2, Running: 3, Completed: 1, Failed: 2, Cancelled: 1, Claimable: 2}
	if err != nil || cmp.Compare(fmt.Sprint(*got), fmt.Sprint(want)) != 0 {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}
