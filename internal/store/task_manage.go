package store

import (
	"context"
	"errors"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// ErrTaskStatus: the status of the task does not allow the operation.
var ErrTaskStatus = errors.New("the status of the task does not allow the operation")

// CancelTask cancels a pending or running task. The worker of a running task loses its
// lease. It returns ErrTaskStatus if the task has completed or failed, and
// postgres.ErrNotFound if there is no such task. Cancelling it again is not an error.
func (s *Store) CancelTask(ctx context.Context, id int64) (task *db.Task, err error) {
	defer annotate(&err, "cancel task %d", id)
	task, err = s.q.CancelTask(ctx, id)
	if !errors.Is(err, postgres.ErrNotFound) {
		return task, err
	}
	if task, err = s.currentTask(ctx, id); err == nil && task.Status != db.TaskStatusCancelled {
		err = ErrTaskStatus
	}
	if err != nil {
		return nil, err
	}
	return task, nil
}

// RetryTask makes a failed or cancelled task pending and due, with at least one attempt
// left. A pending task that is due later becomes due. It returns ErrTaskStatus if the task
// is running or completed, and postgres.ErrNotFound if there is no such task.
func (s *Store) RetryTask(ctx context.Context, id int64) (task *db.Task, err error) {
	defer annotate(&err, "retry task %d", id)
	task, err = s.q.RetryTask(ctx, id)
	if errors.Is(err, postgres.ErrNotFound) {
		return nil, s.whyNot(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	s.AnnounceTasks()
	return task, nil
}

// DeleteTask deletes a task. It returns ErrTaskStatus if the task is running, even if its
// lease has expired: cancel it first. It returns postgres.ErrNotFound if there is no such
// task.
func (s *Store) DeleteTask(ctx context.Context, id int64) (err error) {
	defer annotate(&err, "delete task %d", id)
	n, err := s.q.DeleteTask(ctx, id)
	if err == nil && n == 0 {
		err = s.whyNot(ctx, id)
	}
	return err
}

// whyNot returns why a statement on a task matched no row: there is no such task, or its
// status does not allow the operation.
func (s *Store) whyNot(ctx context.Context, id int64) error {
	if _, err := s.currentTask(ctx, id); err != nil {
		return err
	}
	return ErrTaskStatus
}

// SweepTasks deletes the tasks that completed, failed or were cancelled longer ago than the
// given time by the server's clock, in batches, and returns how many.
func (s *Store) SweepTasks(ctx context.Context, retention time.Duration) (swept int64, err error) {
	defer annotate(&err, "sweep tasks")
	for {
		n, err := s.q.DeleteEndedTasks(ctx, db.DeleteEndedTasksParams{RetentionSeconds: retention.Seconds(), RowLimit: sweepBatch})
		swept += n
		if err != nil || n < sweepBatch {
			return swept, err
		}
	}
}

// TaskFilter filters a list of tasks. Zero values do not filter.
type TaskFilter struct {
	Name   string
	Status *db.TaskStatus
}

// PageTasks returns a page of the tasks in the order of their ids. It is one
// statement.
func (s *Store) PageTasks(ctx context.Context, f TaskFilter, r PageRequest[int64]) (p Page[int64, *db.Task], err error) {
	defer annotate(&err, "page tasks")
	return page(r, func(t *db.Task) int64 { return t.ID },
		func(key int64, back bool, limit int64) ([]*db.Task, error) {
			all := db.ListTasksAfterParams{Key: key, RowLimit: limit}
			named := db.ListTasksByNameAfterParams{Name: f.Name, Key: key, Status: f.Status, RowLimit: limit}
			var some db.ListTasksByStatusAfterParams
			if f.Status != nil {
				some = db.ListTasksByStatusAfterParams{Status: *f.Status, Key: key, RowLimit: limit}
			}
			switch {
			case f.Name != "" && back:
				return s.q.ListTasksByNameBefore(ctx, db.ListTasksByNameBeforeParams(named))
			case f.Name != "":
				return s.q.ListTasksByNameAfter(ctx, named)
			case f.Status != nil && back:
				return s.q.ListTasksByStatusBefore(ctx, db.ListTasksByStatusBeforeParams(some))
			case f.Status != nil:
				return s.q.ListTasksByStatusAfter(ctx, some)
			case back:
				return s.q.ListTasksBefore(ctx, db.ListTasksBeforeParams(all))
			}
			return s.q.ListTasksAfter(ctx, all)
		})
}
