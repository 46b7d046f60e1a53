package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// ErrLeaseLost: the worker no longer holds the lease, because another worker has claimed
// the task, or the task has ended.
var ErrLeaseLost = errors.New("the lease is lost")

// DefaultMaxAttempts is the default of NewTask.MaxAttempts.
const DefaultMaxAttempts = 10

// NewTask describes a task to create.
type NewTask struct {
	Name        string
	Payload     []byte    // JSON
	RunAt       time.Time // when it may be claimed; zero means now
	MaxAttempts int32     // Defaults to DefaultMaxAttempts
}

// CreateTasks adds pending tasks in one statement, and returns their ids in the given
// order. It returns postgres.ErrCheck or postgres.ErrInvalidValue if a value violates a
// rule. Then nothing is stored, and ItemFaults lists the tasks that caused it.
func (s *Store) CreateTasks(ctx context.Context, tasks []NewTask) (ids []int64, err error) {
	defer annotate(&err, "create %d tasks", len(tasks))
	if len(tasks) == 0 {
		return []int64{}, nil
	}
	var p db.CreateTasksParams
	for _, t := range tasks {
		if t.MaxAttempts == 0 {
			t.MaxAttempts = DefaultMaxAttempts
		}
		p.Names = append(p.Names, t.Name)
		p.Payloads = append(p.Payloads, t.Payload)
		p.RunAts = append(p.RunAts, t.RunAt)
		p.MaxAttempts = append(p.MaxAttempts, t.MaxAttempts)
	}
	var created *postgres.QueuedRows[int64]
	err = s.q.Pipeline(ctx, postgres.TxOptions{NoMarker: true}, func(b *postgres.Batch) error {
		created = s.q.QueueCreateTasks(b, p)
		return nil
	})
	if err == nil {
		ids, err = created.Get()
	}
	if err != nil {
		return nil, s.faultsOf(ctx, err, manyItems{n: len(tasks), run: func(q *db.Queries, from, to int) error {
			_, err := q.CreateTasks(ctx, db.CreateTasksParams{
				Names: p.Names[from:to], Payloads: p.Payloads[from:to], RunAts: p.RunAts[from:to], MaxAttempts: p.MaxAttempts[from:to],
			})
			return err
		}})
	}
	slices.Sort(ids)
	s.AnnounceTasks()
	return ids, nil
}

// AnnounceTasks wakes waiting claims, in this and in other processes. It must be called
// after a transaction that made tasks due has committed. It costs the caller nothing,
// because Run notifies other processes, at most fifty times a second. If an announcement is
// lost, tasks are delayed by up to a second.
func (s *Store) AnnounceTasks() {
	s.notifier.wakeAll()
	signal(s.notifier.announce)
}

// Lease identifies the claim by which a worker holds a task. No two claims of a task have
// the same number of attempts.
type Lease struct {
	TaskID   int64
	Worker   string
	Attempts int32
}

// ExtendLease sets the end of a lease to the given time from now. It returns ErrLeaseLost
// if the worker does not hold the lease any more, and postgres.ErrNotFound if there is no
// such task. An expired lease still belongs to the worker until another worker claims the
// task.
func (s *Store) ExtendLease(ctx context.Context, l Lease, by time.Duration) (task *db.Task, err error) {
	defer annotate(&err, "extend the lease of task %d", l.TaskID)
	task, err = s.q.ExtendTask(ctx, db.ExtendTaskParams{
		ID: l.TaskID, Worker: l.Worker, Attempts: l.Attempts, LeaseSeconds: by.Seconds(),
	})
	return s.leased(ctx, l, task, err)
}

// CompleteTask marks a task as completed. Its errors are those of ExtendLease. Completing
// it again with the same lease changes nothing and is not an error, so a worker may repeat
// the call if its response was lost.
func (s *Store) CompleteTask(ctx context.Context, l Lease) (task *db.Task, err error) {
	defer annotate(&err, "complete task %d", l.TaskID)
	task, err = s.q.CompleteTask(ctx, db.CompleteTaskParams{ID: l.TaskID, Worker: l.Worker, Attempts: l.Attempts})
	return s.leased(ctx, l, task, err, db.TaskStatusCompleted)
}

// FinishTask is CompleteTask for a caller that does not need the task. Not returning it saves
// 2 of 27 µs of processor time.
func (s *Store) FinishTask(ctx context.Context, l Lease) (err error) {
	defer annotate(&err, "finish task %d", l.TaskID)
	n, err := s.q.FinishTask(ctx, db.FinishTaskParams{ID: l.TaskID, Worker: l.Worker, Attempts: l.Attempts})
	if err == nil && n == 0 {
		_, err = s.leased(ctx, l, nil, postgres.ErrNotFound, db.TaskStatusCompleted)
	}
	return err
}

// Completion is the result of completing many tasks.
type Completion struct {
	Done    int     // number of tasks that are completed
	Missing []int64 // the ids that no task has, in ascending order
	Lost    []int64 // the ids of tasks whose lease is lost, in ascending order
}

// CompleteTasks marks many tasks as completed in one statement, each as CompleteTask does. If
// the statement skips some tasks, a second one reads why. Tasks that are missing or whose lease is
// lost are reported, and the others are completed. It may be repeated like CompleteTask. No task
// may be given more than once.
func (s *Store) CompleteTasks(ctx context.Context, leases []Lease) (c Completion, err error) {
	defer annotate(&err, "complete %d tasks", len(leases))
	if len(leases) == 0 {
		return c, nil
	}
	// In the order of ids, so that two calls lock tasks in the same order.
	sorted := slices.SortedFunc(slices.Values(leases), func(a, b Lease) int { return cmp.Compare(a.TaskID, b.TaskID) })
	var p db.CompleteTasksParams
	for i, l := range sorted {
		if i > 0 && l.TaskID == sorted[i-1].TaskID {
			return c, fmt.Errorf("task %d is given more than once", l.TaskID)
		}
		p.Ids, p.Workers, p.Attempts = append(p.Ids, l.TaskID), append(p.Workers, l.Worker), append(p.Attempts, l.Attempts)
	}
	done, err := s.q.CompleteTasks(ctx, p)
	if err != nil {
		return c, err
	}
	c.Done = len(done)
	if c.Done == len(leases) {
		return c, nil
	}
	slices.Sort(done)
	left := slices.DeleteFunc(sorted, func(l Lease) bool { return contains(done, l.TaskID) })
	err = s.whyLeft(ctx, left, &c)
	return c, err
}

// whyLeft adds tasks that were not completed now to c.
func (s *Store) whyLeft(ctx context.Context, left []Lease, c *Completion) error {
	ids := make([]int64, len(left))
	for i, l := range left {
		ids[i] = l.TaskID
	}
	rows, err := Current(ctx, s.q, nil, func(q *db.Queries) ([]*db.ListLeasesRow, error) { return q.ListLeases(ctx, ids) }, nil)
	if err != nil {
		return err
	}
	last := make(map[int64]*db.ListLeasesRow, len(rows))
	for _, row := range rows {
		last[row.ID] = row
	}
	for _, l := range left {
		switch row := last[l.TaskID]; {
		case row == nil:
			c.Missing = append(c.Missing, l.TaskID)
		case row.Status == db.TaskStatusCompleted && l.was(row.Worker, row.Attempts):
			c.Done++ // completed before with this lease
		default:
			c.Lost = append(c.Lost, l.TaskID)
		}
	}
	return nil
}

// was reports whether a task with the given last worker and attempts was last claimed with this
// lease. Attempts increase with each claim, and a task keeps the last worker that claimed it.
func (l Lease) was(worker *string, attempts int32) bool {
	return attempts == l.Attempts && worker != nil && *worker == l.Worker
}

// Failure describes a failed attempt, and when the task may be tried again.
type Failure struct {
	Error string // up to 1000 characters; may be empty
	Final bool   // the task has failed, even if it has attempts left

	// RetryAfter is the delay until the task is due again, unless the failure is final. By
	// default, it doubles with each attempt, from 1 s to about an hour, plus up to 50 % of
	// jitter.
	RetryAfter *time.Duration
}

// FailTask ends an attempt at a task. If the task has attempts left and the failure is not
// final, it is pending again. Otherwise it has failed. Its errors are those of ExtendLease,
// and it may be repeated like CompleteTask.
func (s *Store) FailTask(ctx context.Context, l Lease, f Failure) (task *db.Task, err error) {
	defer annotate(&err, "fail task %d", l.TaskID)
	p := db.FailTaskParams{ID: l.TaskID, Worker: l.Worker, Attempts: l.Attempts, Retry: !f.Final}
	if f.RetryAfter != nil {
		p.RetryAfterSeconds = new(f.RetryAfter.Seconds())
	}
	if f.Error != "" {
		p.LastError = &f.Error
	}
	task, err = s.q.FailTask(ctx, p)
	return s.leased(ctx, l, task, err, db.TaskStatusPending, db.TaskStatusFailed)
}

// ReleaseTask ends a lease without using an attempt, for a worker that shuts down. The task
// is pending and due, and its maximum of attempts increases by one. Its errors are those of
// ExtendLease, and it may be repeated like CompleteTask.
func (s *Store) ReleaseTask(ctx context.Context, l Lease) (task *db.Task, err error) {
	defer annotate(&err, "release task %d", l.TaskID)
	task, err = s.q.ReleaseTask(ctx, db.ReleaseTaskParams{ID: l.TaskID, Worker: l.Worker, Attempts: l.Attempts})
	if err == nil {
		s.AnnounceTasks()
	}
	return s.leased(ctx, l, task, err, db.TaskStatusPending)
}

// leased returns why a statement for the holder of a lease matched no row: there is no such
// task, or the lease is lost. It returns nil if the operation was done already and has left
// the task in one of the given states.
func (s *Store) leased(ctx context.Context, l Lease, task *db.Task, err error, done ...db.TaskStatus) (*db.Task, error) {
	if !errors.Is(err, postgres.ErrNotFound) {
		return task, err
	}
	if task, err = s.currentTask(ctx, l.TaskID); err != nil {
		return nil, err
	}
	if !l.was(task.Worker, task.Attempts) || !slices.Contains(done, task.Status) {
		return nil, ErrLeaseLost
	}
	return task, nil
}

// currentTask reads a task in a transaction, because a read outside of one may run on a
// replica.
func (s *Store) currentTask(ctx context.Context, id int64) (*db.Task, error) {
	return Current(ctx, s.q, nil, func(q *db.Queries) (*db.Task, error) { return q.GetTask(ctx, id) }, nil)
}
