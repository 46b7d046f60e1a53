package store_test

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// taskModel holds tasks in a map, processes one operation at a time, and records every lease
// that was ever granted.
type taskModel struct {
	d       *storetest.DB
	tasks   map[int64]*db.Task
	created int64 // how many tasks were created, including deleted ones
	leases  []store.Lease
}

// backoff is how long after the end of its lease a task is due again.
func backoff(attempts int32) time.Duration { return time.Second << (min(attempts, 13) - 1) }

// due is when a task may be claimed, if ever.
func due(t *db.Task) (time.Time, bool) {
	switch {
	case t.Status == db.TaskStatusPending:
		return t.RunAt, true
	case t.Status == db.TaskStatusRunning && t.Attempts < t.MaxAttempts:
		return t.LeaseUntil.Add(backoff(t.Attempts)), true
	}
	return time.Time{}, false
}

// pass moves time forward, both for the rows and for the model.
func (m *taskModel) pass(t *rapid.T, by time.Duration) {
	_, err := m.d.Router.Pool().Exec(context.Background(),
		"UPDATE tasks SET run_at = run_at - $1::interval, lease_until = lease_until - $1::interval, created_at = created_at - $1::interval, updated_at = updated_at - $1::interval", by)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range m.tasks {
		task.RunAt, task.CreatedAt, task.UpdatedAt = task.RunAt.Add(-by), task.CreatedAt.Add(-by), task.UpdatedAt.Add(-by)
		if task.LeaseUntil != nil {
			task.LeaseUntil = new(task.LeaseUntil.Add(-by))
		}
	}
}

// claim claims in a transaction whose time is known.
func (m *taskModel) claim(t *rapid.T, c store.Claim) {
	ctx := context.Background()
	tx, err := m.d.Router.Pool().Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	var now time.Time
	if err := tx.QueryRow(ctx, "SELECT now()").Scan(&now); err != nil {
		t.Fatal(err)
	}
	got, err := store.New(db.New(tx)).ClaimTasks(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	var want, usedUp []*db.Task
	for _, task := range m.tasks {
		at, ok := due(task)
		switch {
		case ok && !at.After(now) && (len(c.Names) == 0 || slices.Contains(c.Names, task.Name)):
			want = append(want, task)
		case task.Status == db.TaskStatusRunning && task.Attempts >= task.MaxAttempts && task.LeaseUntil.Before(now):
			usedUp = append(usedUp, task)
		}
	}
	slices.SortFunc(want, func(a, b *db.Task) int {
		x, _ := due(a)
		y, _ := due(b)
		return cmp.Or(x.Compare(y), cmp.Compare(a.ID, b.ID))
	})
	want = want[:min(len(want), c.Limit)]
	if !slices.Equal(taskIDs(got), taskIDs(want)) {
		t.Fatalf("claimed %v, want %v", taskIDs(got), taskIDs(want))
	}
	slices.SortFunc(usedUp, func(a, b *db.Task) int { return cmp.Or(a.LeaseUntil.Compare(*b.LeaseUntil), cmp.Compare(a.ID, b.ID)) })
	for _, task := range usedUp[:min(len(usedUp), c.Limit)] {
		task.Status, task.LeaseUntil, task.LastError, task.UpdatedAt = db.TaskStatusFailed, nil, new("the lease of the last attempt ran out"), now
	}
	for _, task := range want {
		task.RunAt, _ = due(task)
		task.Status, task.Worker, task.LeaseUntil, task.UpdatedAt = db.TaskStatusRunning, &c.Worker, new(now.Add(c.Lease)), now
		task.Attempts++
		m.leases = append(m.leases, store.Lease{TaskID: task.ID, Worker: c.Worker, Attempts: task.Attempts})
	}
}

// change compares the result of an operation on a task with the allowed results, and updates
// the model. done are the statuses in which the operation changes nothing and is not an error.
func (m *taskModel) change(t *rapid.T, act string, id int64, got *db.Task, err error, allowed bool, refusal error, done []db.TaskStatus, follow func(task *db.Task)) {
	task := m.tasks[id]
	switch {
	case task == nil:
		if !errors.Is(err, postgres.ErrNotFound) {
			t.Fatalf("%s %d: %v, want ErrNotFound", act, id, err)
		}
		return
	case allowed:
		if err != nil {
			t.Fatalf("%s %+v: %v", act, task, err)
		}
		task.UpdatedAt = got.UpdatedAt
		follow(task)
	case slices.Contains(done, task.Status):
		if err != nil {
			t.Fatalf("%s %+v again: %v", act, task, err)
		}
	default:
		if !errors.Is(err, refusal) || got != nil {
			t.Fatalf("%s %+v: %v, %v, want %v", act, task, got, err, refusal)
		}
		return
	}
	if diff := gocmp.Diff(task, got); diff != "" {
		t.Fatalf("%s %d (-want +got):\n%s", act, id, diff)
	}
}

// holds reports whether a lease is in force.
func (m *taskModel) holds(l store.Lease) bool {
	task := m.tasks[l.TaskID]
	return task != nil && task.Status == db.TaskStatusRunning && *task.Worker == l.Worker && task.Attempts == l.Attempts
}

// last returns the statuses in which an operation of the lease's holder was already done, if
// the lease is the task's last one.
func (m *taskModel) last(l store.Lease, done ...db.TaskStatus) []db.TaskStatus {
	if task := m.tasks[l.TaskID]; task != nil && task.Attempts == l.Attempts && task.Worker != nil && *task.Worker == l.Worker {
		return done
	}
	return nil
}

// check compares all that is stored with the model.
func (m *taskModel) check(t *rapid.T) {
	got := make(map[int64]*db.Task)
	tasks, err := m.d.Queries.ListTasksAfter(context.Background(), db.ListTasksAfterParams{RowLimit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		got[task.ID] = task
	}
	if diff := gocmp.Diff(m.tasks, got); diff != "" {
		t.Fatalf("tasks (-want +got):\n%s", diff)
	}
}

// TestTasks_Model runs random operations of several workers, with leases that they hold and
// with leases that they have lost. It compares each answer and every row with a model.
func TestTasks_Model(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	ctx := context.Background()
	names := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		if _, err := d.Router.Pool().Exec(ctx, "TRUNCATE tasks RESTART IDENTITY CASCADE"); err != nil {
			t.Fatal(err)
		}
		m := &taskModel{d: d, tasks: make(map[int64]*db.Task)}
		task := rapid.Custom(func(t *rapid.T) int64 { return rapid.Int64Range(1, m.created+1).Draw(t, "task") })
		lease := func(t *rapid.T) store.Lease {
			if len(m.leases) == 0 {
				t.Skip("no lease")
			}
			// Usually it selects one of the last leases, because the earlier ones are lost.
			n := len(m.leases)
			return m.leases[rapid.IntRange(max(0, n-rapid.SampledFrom([]int{4, n}).Draw(t, "last")), n-1).Draw(t, "lease")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"": m.check,
			"create": func(t *rapid.T) {
				created, err := d.Queries.CreateTask(ctx, db.CreateTaskParams{
					Name: rapid.SampledFrom(names).Draw(t, "name"), Payload: []byte("{}"), MaxAttempts: new(rapid.Int32Range(1, 4).Draw(t, "attempts")),
				})
				if err != nil {
					t.Fatal(err)
				}
				m.tasks[created.ID] = created
				m.created++
			},
			"claim": func(t *rapid.T) {
				m.claim(t, store.Claim{
					Worker: rapid.SampledFrom([]string{"w1", "w2", "w3"}).Draw(t, "worker"),
					Names:  rapid.SliceOfN(rapid.SampledFrom(append(names, "none")), 0, 3).Draw(t, "names"),
					Limit:  rapid.IntRange(1, 4).Draw(t, "limit"),
					Lease:  rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second}).Draw(t, "lease"),
				})
			},
			"pass": func(t *rapid.T) {
				m.pass(t, rapid.SampledFrom([]time.Duration{500 * time.Millisecond, time.Second, 3 * time.Second, 40 * time.Second, time.Hour}).Draw(t, "time"))
			},
			"extend": func(t *rapid.T) {
				l := lease(t)
				got, err := d.Store.ExtendLease(ctx, l, 10*time.Second)
				m.change(t, "extend", l.TaskID, got, err, m.holds(l), store.ErrLeaseLost, nil, func(task *db.Task) {
					task.LeaseUntil = new(got.UpdatedAt.Add(10 * time.Second))
				})
			},
			"complete": func(t *rapid.T) {
				l := lease(t)
				got, err := d.Store.CompleteTask(ctx, l)
				m.change(t, "complete", l.TaskID, got, err, m.holds(l), store.ErrLeaseLost, m.last(l, db.TaskStatusCompleted), func(task *db.Task) {
					task.Status, task.LeaseUntil = db.TaskStatusCompleted, nil
				})
			},
			"fail": func(t *rapid.T) {
				l := lease(t)
				f := store.Failure{Error: rapid.SampledFrom([]string{"", "broken"}).Draw(t, "error"), Final: rapid.Bool().Draw(t, "final")}
				if rapid.Bool().Draw(t, "when") {
					f.RetryAfter = new(5 * time.Second)
				}
				got, err := d.Store.FailTask(ctx, l, f)
				m.change(t, "fail", l.TaskID, got, err, m.holds(l), store.ErrLeaseLost, m.last(l, db.TaskStatusPending, db.TaskStatusFailed), func(task *db.Task) {
					task.Status, task.LeaseUntil, task.LastError = db.TaskStatusFailed, nil, nil
					if f.Error != "" {
						task.LastError = &f.Error
					}
					if f.Final || task.Attempts >= task.MaxAttempts {
						return
					}
					task.Status = db.TaskStatusPending
					low := backoff(task.Attempts)
					if f.RetryAfter != nil {
						task.RunAt = got.UpdatedAt.Add(*f.RetryAfter)
					} else if wait := got.RunAt.Sub(got.UpdatedAt); wait >= low && wait <= low*3/2 {
						task.RunAt = got.RunAt
					} else {
						t.Fatalf("attempt %d failed, and is due again after %v", task.Attempts, wait)
					}
				})
			},
			"release": func(t *rapid.T) {
				l := lease(t)
				got, err := d.Store.ReleaseTask(ctx, l)
				m.change(t, "release", l.TaskID, got, err, m.holds(l), store.ErrLeaseLost, m.last(l, db.TaskStatusPending), func(task *db.Task) {
					task.Status, task.LeaseUntil, task.RunAt = db.TaskStatusPending, nil, got.UpdatedAt
					task.MaxAttempts++
				})
			},
			"cancel": func(t *rapid.T) {
				id := task.Draw(t, "id")
				got, err := d.Store.CancelTask(ctx, id)
				was := m.status(id)
				m.change(t, "cancel", id, got, err, was == db.TaskStatusPending || was == db.TaskStatusRunning, store.ErrTaskStatus,
					[]db.TaskStatus{db.TaskStatusCancelled}, func(task *db.Task) { task.Status, task.LeaseUntil = db.TaskStatusCancelled, nil })
			},
			"retry": func(t *rapid.T) {
				id := task.Draw(t, "id")
				got, err := d.Store.RetryTask(ctx, id)
				was := m.status(id)
				m.change(t, "retry", id, got, err, slices.Contains([]db.TaskStatus{db.TaskStatusPending, db.TaskStatusFailed, db.TaskStatusCancelled}, was),
					store.ErrTaskStatus, nil, func(task *db.Task) {
						if was != db.TaskStatusPending || task.RunAt.After(got.UpdatedAt) {
							task.RunAt = got.UpdatedAt
						}
						task.Status, task.MaxAttempts = db.TaskStatusPending, max(task.MaxAttempts, task.Attempts+1)
					})
			},
			"delete": func(t *rapid.T) {
				id := task.Draw(t, "id")
				want := map[db.TaskStatus]error{"": postgres.ErrNotFound, db.TaskStatusRunning: store.ErrTaskStatus}[m.status(id)]
				if err := d.Store.DeleteTask(ctx, id); !errors.Is(err, want) {
					t.Fatalf("delete %d: %v, want %v", id, err, want)
				}
				if want == nil {
					delete(m.tasks, id)
				}
			},
			"sweep": func(t *rapid.T) {
				n, err := d.Store.SweepTasks(ctx, 30*time.Minute)
				before := len(m.tasks)
				maps.DeleteFunc(m.tasks, func(_ int64, task *db.Task) bool {
					ended := task.Status != db.TaskStatusPending && task.Status != db.TaskStatusRunning
					return ended && time.Since(task.UpdatedAt) > 30*time.Minute
				})
				if want := before - len(m.tasks); err != nil || n != int64(want) {
					t.Fatalf("swept %d, %v, want %d", n, err, want)
				}
			},
		})
	})
}

// status returns the status of a task in the model, or "" if there is no such task.
func (m *taskModel) status(id int64) db.TaskStatus {
	if task := m.tasks[id]; task != nil {
		return task.Status
	}
	return ""
}
