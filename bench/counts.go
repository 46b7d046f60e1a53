package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"quern/bench/internal/measure"
	"quern/bench/internal/report"
	"quern/bench/internal/server"
	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

const (
	countsUsers  = 20_000
	countsRounds = 3
)

// countsLoads are the measured inserts. The post of a call belongs to one of the users.
var countsLoads = []struct {
	name    string
	callers []int
	users   int64 // of the posts
	insert  func(ctx context.Context, q *db.Queries, user func() int64) error
}{
	{report.PostsOfMany, []int{1, 16, 64}, countsUsers, createPost},
	{report.PostsOfOne, []int{64}, 1, createPost},
	{report.PostsCopied, []int{1}, countsUsers, copyPosts},
}

func createPost(ctx context.Context, q *db.Queries, user func() int64) error {
	_, err := q.CreatePost(ctx, db.CreatePostParams{UserID: user(), Title: "A title", Content: "Some content of a post", Tags: []string{"notes", "go"}})
	return err
}

func copyPosts(ctx context.Context, q *db.Queries, user func() int64) error {
	drawn, err := q.DrawPostIDs(ctx, 1000)
	if err != nil {
		return err
	}
	posts := make([]db.CopyPostsParams, len(drawn.Ids))
	for i, id := range drawn.Ids {
		posts[i] = db.CopyPostsParams{
			ID: id, UserID: user(), Title: "A title", Content: "Some content of a post", Tags: []string{"notes", "go"},
			CreatedAt: drawn.DrawnAt, UpdatedAt: drawn.DrawnAt, Version: 1,
		}
	}
	_, err = q.CopyPosts(ctx, posts)
	return err
}

// keeper is the store on a database with or without kept counts.
type keeper struct {
	name   string
	db     *server.Database
	router *postgres.Router
	q      *db.Queries
	store  *store.Store
	stop   func()
}

// runCounts measures what kept counts cost to writers.
func (r *runner) runCounts(ctx context.Context) (err error) {
	if !r.wanted("counts") {
		return nil
	}
	var keepers []*keeper
	defer func() {
		for _, k := range keepers {
			k.stop()
			k.router.Close()
			err = errors.Join(err, k.db.Drop(context.WithoutCancel(ctx)))
		}
	}()
	for _, name := range []string{report.Uncounted, "quern"} {
		k, err := r.openKeeper(ctx, name)
		if err != nil {
			return err
		}
		keepers = append(keepers, k)
	}
	rounds, duration := min(r.rounds, countsRounds), 2*r.duration
	if r.only != "" {
		rounds = r.rounds
	}
	if r.smoke {
		rounds, duration = 1, time.Millisecond
	}
	for _, l := range countsLoads {
		for _, callers := range l.callers {
			cell := measure.NewCell(l.name, callers)
			for round := range rounds {
				for i := range keepers {
					k := keepers[(i+round)%len(keepers)]
					user := func() int64 { return 1 + rand.Int64N(min(l.users, k.db.Users)) }
					s, err := r.insertPosts(ctx, k, measure.Load{Workload: l.name, Callers: callers, Duration: duration, Lo: 1, Hi: k.db.Users},
						func(ctx context.Context, _ *measure.Input, _ *measure.Fold) error { return l.insert(ctx, k.q, user) })
					if err != nil {
						return err
					}
					cell.Add(k.name, s)
				}
			}
			r.counts = append(r.counts, cell)
			logCounts(cell)
		}
	}
	return nil
}

func (r *runner) openKeeper(ctx context.Context, name string) (*keeper, error) {
	k := &keeper{name: name}
	counted := name != report.Uncounted
	database := "bench_uncounted"
	if counted {
		database = "bench_counted"
	}
	var err error
	if k.db, err = r.server.Make(ctx, database, r.size(countsUsers, 200), 0); err != nil {
		return nil, err
	}
	if !counted {
		err = k.db.Do(ctx, "ALTER TABLE posts DISABLE TRIGGER posts_count_inserted", "CREATE INDEX ON posts (created_at)")
	}
	if err == nil {
		k.router, err = postgres.Connect(ctx, postgres.Config{
			URL: k.db.URL, Statements: db.Statements, SlowQuery: -1, Logger: slog.New(slog.DiscardHandler),
		})
	}
	if err != nil {
		return nil, errors.Join(err, k.db.Drop(context.WithoutCancel(ctx)))
	}
	k.q = db.New(k.router)
	k.store = store.New(k.q)
	background, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.store.Run(background, store.Background{Logger: slog.New(slog.DiscardHandler)})
	}()
	k.stop = func() { stop(); <-done }
	return k, nil
}

// insertPosts measures op. The processor time includes that of folding the new posts.
func (r *runner) insertPosts(ctx context.Context, k *keeper, l measure.Load, op measure.Op) (s measure.Sample, err error) {
	if err := k.db.Do(ctx, "TRUNCATE posts", "CHECKPOINT"); err != nil {
		return s, err
	}
	cpu, kernel := r.server.CPU()
	if s, err = measure.Run(ctx, op, l); err != nil {
		return s, err
	}
	if _, err := k.store.FoldCounts(ctx); err != nil {
		return s, err
	}
	s.ServerCPU, s.ServerKernel = r.server.CPU()
	if s.ServerCPU >= 0 {
		s.ServerCPU, s.ServerKernel = s.ServerCPU-cpu, s.ServerKernel-kernel
	}
	return s, nil
}

// logCounts prints the results of a cell on the terminal.
func logCounts(c *measure.Cell) {
	logf("%s, %d callers", c.Workload, c.Callers)
	for _, name := range c.Order {
		s := c.Summarize(name, report.Uncounted)
		logf("  %-45s %10.0f /s %6.2f  CPU %v of the client, %v of the server, %.2f", name, s.Throughput, s.Ratio,
			s.ClientCPU.Round(100*time.Nanosecond), s.ServerCPU.Round(100*time.Nanosecond), s.RatioCPU)
	}
}
