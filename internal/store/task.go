package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// ErrLeaseLost says that a worker no longer holds the lease it was given:
// someone else has claimed the task since, or it has ended.
var ErrLeaseLost = errors.New("the lease is lost")

// DefaultMaxAttempts is how often a task is tried that does not say.
const DefaultMaxAttempts = 10

// NewTask is a task to be.
type NewTask struct {
	Name        string
	Payload     []byte    // JSON
	RunAt       time.Time // when it may be claimed; zero, or passed, is at once
	MaxAttempts int32     // Defaults to DefaultMaxAttempts
}

// CreateTasks adds pending tasks, in one statement whatever their number, and
// returns their ids in the order given. It fails with postgres.ErrCheck or
// postgres.ErrInvalidValue when a value breaks a rule; nothing is stored then, and
// ItemFaults says which tasks they are.
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

// AnnounceTasks wakes claimers that wait for tasks, here and in other processes.
// Code that makes tasks due calls it when they are committed. It costs the caller
// nothing: Run tells other processes, at most fifty times a second. An announcement
// that is lost delays tasks by a second.
func (s *Store) AnnounceTasks() {
	s.notifier.wakeAll()
	signal(s.notifier.announce)
}

// Lease identifies the claim by which a worker holds a task. No two claims of a task have the same number of attempts.
type Lease struct {
	TaskID   int64
	Worker   string
	Attempts int32
}

// ExtendLease lets a lease end so long from now. It fails with ErrLeaseLost
// when the worker does not hold it any more and with postgres.ErrNotFound when
// there is no such task. A lease that ran out is still the worker's until
// someone else claims the task.
func (s *Store) ExtendLease(ctx context.Context, l Lease, by time.Duration) (task *db.Task, err error) {
	defer annotate(&err, "extend the lease of task %d", l.TaskID)
	task, err = s.q.ExtendTask(ctx, db.ExtendTaskParams{
		ID: l.TaskID, Worker: l.Worker, Attempts: l.Attempts, LeaseSeconds: by.Seconds(),
	})
	return s.leased(ctx, l, task, err)
}

// CompleteTask ends a task as completed. Its errors are those of ExtendLease.
// Completing it again with the same lease changes nothing and is no error, so
// that a worker whose answer was lost can repeat.
func (s *Store) CompleteTask(ctx context.Context, l Lease) (task *db.Task, err error) {
	defer annotate(&err, "complete task %d", l.TaskID)
	task, err = s.q.CompleteTask(ctx, db.CompleteTaskParams{ID: l.TaskID, Worker: l.Worker, Attempts: l.Attempts})
	return s.leased(ctx, l, task, err, db.TaskStatusCompleted)
}

// Failure is why an attempt at a task failed, and when there may be another.
type Failure struct {
	Error string // up to 1000 characters; empty is none
	Final bool   // the task has failed, attempts left or not

	// RetryAfter is when the task is due again, unless the failure is final.
	// Defaults to a time that doubles with each attempt: 1 s after the first, up to
	// about an hour, and up to half as long again.
	RetryAfter *time.Duration
}

// FailTask ends an attempt at a task. With attempts left, the task is pending
// again, unless the failure is final; otherwise it has failed. Its errors are those
// of ExtendLease, and it may be repeated like CompleteTask.
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

// ReleaseTask gives a task back without using an attempt, as a worker does that
// shuts down: it is pending, due, and has one more attempt at the end. Its errors
// are those of ExtendLease, and it may be repeated like CompleteTask.
func (s *Store) ReleaseTask(ctx context.Context, l Lease) (task *db.Task, err error) {
	defer annotate(&err, "release task %d", l.TaskID)
	task, err = s.q.ReleaseTask(ctx, db.ReleaseTaskParams{ID: l.TaskID, Worker: l.Worker, Attempts: l.Attempts})
	if err == nil {
		s.AnnounceTasks()
	}
	return s.leased(ctx, l, task, err, db.TaskStatusPending)
}

// leased says why a statement for the holder of a lease found no row: there is
// no such task, the lease is lost, or the act was done already and has left the
// task in one of the given states.
func (s *Store) leased(ctx context.Context, l Lease, task *db.Task, err error, done ...db.TaskStatus) (*db.Task, error) {
	if !errors.Is(err, postgres.ErrNotFound) {
		return task, err
	}
	if task, err = s.currentTask(ctx, l.TaskID); err != nil {
		return nil, err
	}
	// Attempts rise with each claim, and a task keeps the worker it was last
	// claimed by: these two tell whose act it was.
	if task.Attempts != l.Attempts || task.Worker == nil || *task.Worker != l.Worker || !slices.Contains(done, task.Status) {
		return nil, ErrLeaseLost
	}
	return task, nil
}

// currentTask reads a task in a transaction, because a read outside of one may be
// answered by a replica.
func (s *Store) currentTask(ctx context.Context, id int64) (*db.Task, error) {
	return Current(ctx, s.q, nil, func(q *db.Queries) (*db.Task, error) { return q.GetTask(ctx, id) }, nil)
}
