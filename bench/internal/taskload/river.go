package taskload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverFetch is the shortest pause between two fetches that River allows.
const riverFetch = time.Millisecond

// nothing is a job that does nothing.
type nothing struct{}

func (nothing) Kind() string { return "nothing" }

// rivers is River, set up for the highest rate: jobs are fetched as often as it allows, and
// completed by its batching completer.
type rivers struct {
	pool *pgxpool.Pool
}

func riverVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/riverqueue/river" {
				return m.Version
			}
		}
	}
	return "unknown"
}

func openRiver(ctx context.Context, url string) (queue, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	c.MaxConns, c.MinConns = pool, pool
	p, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	m, err := rivermigrate.New(riverpgxv5.New(p), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("the migrations of River: %w", err)
	}
	return &rivers{p}, nil
}

func (q *rivers) name() string  { return Reference }
func (q *rivers) table() string { return "river_job" }
func (q *rivers) good() string {
	return "SELECT count(*) FROM river_job WHERE state = 'completed' AND attempt = 1"
}

func (q *rivers) create(ctx context.Context, n int) error {
	client, err := river.NewClient(riverpgxv5.New(q.pool), &river.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	for left := n; left > 0; left -= chunk {
		jobs := make([]river.InsertManyParams, min(left, chunk))
		for i := range jobs {
			jobs[i].Args = nothing{}
		}
		if _, err := client.InsertManyFast(ctx, jobs); err != nil {
			return err
		}
	}
	return nil
}

// work counts completions by River's events, which are sent after the completion was stored. A
// query that counted them would slow the server down.
func (q *rivers) work(ctx context.Context, workers, n int, done func(int64)) (stop func() error, err error) {
	stop = func() error { return nil }
	all := river.NewWorkers()
	river.AddWorker(all, river.WorkFunc(func(_ context.Context, job *river.Job[nothing]) error {
		done(job.ID)
		return nil
	}))
	client, err := river.NewClient(riverpgxv5.New(q.pool), &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}}, Workers: all,
		FetchCooldown: riverFetch, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return stop, err
	}
	completed, unsubscribe := client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: n + 1, Kinds: []river.EventKind{river.EventKindJobCompleted, river.EventKindJobFailed},
	})
	defer unsubscribe()
	if err := client.Start(ctx); err != nil {
		return stop, err
	}
	stop = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return client.Stop(ctx)
	}
	for range n {
		select {
		case e := <-completed:
			if e == nil || e.Kind != river.EventKindJobCompleted {
				return stop, errors.New("a job failed")
			}
		case <-ctx.Done():
			return stop, ctx.Err()
		}
	}
	return stop, nil
}

func (q *rivers) close() error {
	q.pool.Close()
	return nil
}
