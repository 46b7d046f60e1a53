package taskload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// quern is the project. Its workers claim some tasks and finish one after the other. Each is
// stored when FinishTask returns.
type quern struct {
	label  string
	limit  int  // of a claim
	frees  bool // as with River, a worker goes on before its task is stored
	router *postgres.Router
	store  *store.Store
}

func openQuern(ctx context.Context, url, label string, limit int, frees bool) (queue, error) {
	r, err := postgres.Connect(ctx, postgres.Config{
		URL: url, Statements: db.Statements, MaxConns: pool, MinConns: pool, SlowQuery: -1, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	return &quern{label, limit, frees, r, store.New(db.New(r))}, nil
}

func (q *quern) name() string  { return q.label }
func (q *quern) table() string { return "tasks" }
func (q *quern) good() string {
	return "SELECT count(*) FROM tasks WHERE status = 'completed' AND attempts = 1"
}

func (q *quern) create(ctx context.Context, n int) error {
	for left := n; left > 0; left -= chunk {
		tasks := make([]store.NewTask, min(left, chunk))
		for i := range tasks {
			tasks[i] = store.NewTask{Name: "nothing", Payload: []byte("{}")}
		}
		if _, err := q.store.CreateTasks(ctx, tasks); err != nil {
			return err
		}
	}
	return nil
}

func (q *quern) work(ctx context.Context, workers, _ int, done func(int64)) (stop func() error, err error) {
	errs := make([]error, workers)
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() { errs[i] = q.worker(ctx, fmt.Sprint("worker ", i), done) })
	}
	all.Wait()
	return func() error { return nil }, errors.Join(errs...)
}

func (q *quern) worker(ctx context.Context, name string, done func(int64)) error {
	var stored sync.WaitGroup
	var errs []error
	for {
		tasks, err := q.store.ClaimTasks(ctx, store.Claim{Worker: name, Limit: q.limit, Lease: time.Minute})
		stored.Wait()
		if err := errors.Join(append(errs, err)...); err != nil || len(tasks) == 0 {
			return err
		}
		errs = make([]error, len(tasks))
		for i, t := range tasks {
			done(t.ID)
			finish := func() {
				errs[i] = q.store.FinishTask(ctx, store.Lease{TaskID: t.ID, Worker: name, Attempts: t.Attempts})
			}
			if q.frees {
				stored.Go(finish)
			} else {
				finish()
			}
		}
	}
}

func (q *quern) close() error {
	q.router.Close()
	return nil
}
