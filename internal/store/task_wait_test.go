package store_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// patience limits each wait of a test. It is reached only if something is wrong.
const patience = 30 * time.Second

// beside runs a store's background work for as long as the test runs, and returns when it
// listens.
func beside(t *testing.T, d *storetest.DB, s *store.Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &listening{router: d.Router, connected: make(chan struct{}, 100)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, store.Background{Listener: l, Logger: slog.New(slog.DiscardHandler)})
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	await(t, l.connected)
	return stop
}

// listening reports when a listener has a connection.
type listening struct {
	router    *postgres.Router
	connected chan struct{}
}

func (l *listening) Listen(ctx context.Context, channel string, heard func(string, bool)) {
	l.router.Listen(ctx, channel, func(payload string, connected bool) {
		heard(payload, connected)
		if connected {
			l.connected <- struct{}{}
		}
	})
}

func await[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("it did not come")
	}
	return v
}

// claimed is the result of a claim that waited.
type claimed struct {
	tasks []*db.Task
	err   error
	took  time.Duration
}

// wait claims one task of the given names in the background, and waits for it. It returns when
// the claim has found no task and waits.
func wait(t *testing.T, ctx context.Context, s *store.Store, worker string, names ...string) <-chan claimed {
	t.Helper()
	c := make(chan claimed, 1)
	ctx, stats := postgres.WithStats(ctx)
	go func() {
		start := time.Now()
		// The wait is longer than the test, because a claim queries a last time when its wait
		// is over.
		tasks, err := s.ClaimTasks(ctx, store.Claim{Worker: worker, Names: names, Limit: 1, Lease: time.Minute, Wait: time.Hour})
		c <- claimed{tasks, err, time.Since(start)}
	}()
	for n := 0; n == 0; n, _ = stats.Total() {
		time.Sleep(time.Millisecond)
	}
	return c
}

func TestClaimTasks_Wait(t *testing.T) {
	t.Parallel()

	t.Run("WokenInThisProcess", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		s := d.Store.Deaf()
		c := wait(t, t.Context(), s, "w")
		ids := createTasks(t, d, 1)
		if got := await(t, c); got.err != nil || len(got.tasks) != 1 || got.tasks[0].ID != ids[0] {
			t.Errorf("%+v, want task %d", got, ids[0])
		}
	})

	t.Run("WokenByAnotherProcess", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		here, there := store.New(d.Queries).Deaf(), store.New(d.Queries)
		beside(t, d, here)
		beside(t, d, there)
		c := wait(t, t.Context(), here, "w")
		if _, err := there.CreateTasks(t.Context(), []store.NewTask{{Name: "n", Payload: []byte("1")}}); err != nil {
			t.Fatal(err)
		}
		got := await(t, c)
		if got.err != nil || len(got.tasks) != 1 {
			t.Errorf("%+v, want a task", got)
		}
		t.Logf("woken after %v", got.took)
	})

	// All claims get a task, although each announcement wakes only one.
	t.Run("EachWakesTheNext", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		here, there := store.New(d.Queries).Deaf(), store.New(d.Queries)
		beside(t, d, here)
		beside(t, d, there)
		var waiting []<-chan claimed
		for range 20 {
			waiting = append(waiting, wait(t, t.Context(), here, "w"))
		}
		tasks := make([]store.NewTask, 20)
		for i := range tasks {
			tasks[i] = store.NewTask{Name: "n", Payload: []byte("1")}
		}
		if _, err := there.CreateTasks(t.Context(), tasks); err != nil {
			t.Fatal(err)
		}
		for _, c := range waiting {
			if got := await(t, c); got.err != nil || len(got.tasks) != 1 {
				t.Errorf("%+v, want a task", got)
			}
		}
	})

	t.Run("ListenerReconnects", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		here, there := store.New(d.Queries).Deaf(), store.New(d.Queries)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l := &listening{router: d.Router, connected: make(chan struct{}, 100)}
		go here.Run(ctx, store.Background{Listener: l, Logger: slog.New(slog.DiscardHandler)})
		beside(t, d, there)
		await(t, l.connected)
		c := wait(t, t.Context(), here, "w")
		if n := d.Count(t, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND query = 'listen "quern_tasks"'`); n != 2 {
			t.Fatalf("%d listeners killed, want 2", n)
		}
		// This is not announced. The claim queries again when there is a connection.
		d.Exec(t, "INSERT INTO tasks (name) VALUES ('unheard')")
		if got := await(t, c); got.err != nil || len(got.tasks) != 1 {
			t.Errorf("%+v, want the task that was not announced", got)
		}
		await(t, l.connected)
		c = wait(t, t.Context(), here, "w")
		if _, err := there.CreateTasks(t.Context(), []store.NewTask{{Name: "n", Payload: []byte("1")}}); err != nil {
			t.Fatal(err)
		}
		if got := await(t, c); got.err != nil || len(got.tasks) != 1 {
			t.Errorf("%+v, want a task", got)
		}
	})

	t.Run("PollsWithoutAListener", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		c := wait(t, t.Context(), d.Store.Restless(20*time.Millisecond), "w")
		d.Exec(t, "INSERT INTO tasks (name) VALUES ('unheard')")
		if got := await(t, c); got.err != nil || len(got.tasks) != 1 {
			t.Errorf("%+v, want a task", got)
		}
	})

	t.Run("NoneInTheEnd", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		tasks, err := d.Store.Deaf().ClaimTasks(t.Context(), store.Claim{Worker: "w", Limit: 1, Lease: time.Minute, Wait: 50 * time.Millisecond})
		if err != nil || len(tasks) != 0 {
			t.Errorf("%v, %v, want none and no error", tasks, err)
		}
	})

	t.Run("HoldsNoConnection", func(t *testing.T) {
		t.Parallel()
		d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 1})
		s := d.Store.Deaf()
		var waiting []<-chan claimed
		for range 10 {
			waiting = append(waiting, wait(t, t.Context(), s, "w"))
		}
		createTasks(t, d, 10)
		for _, c := range waiting {
			if got := await(t, c); got.err != nil || len(got.tasks) != 1 {
				t.Errorf("%+v, want a task", got)
			}
		}
	})

	t.Run("ClientGone", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		c := wait(t, ctx, d.Store.Deaf(), "w")
		cancel()
		if got := await(t, c); !errors.Is(got.err, context.Canceled) {
			t.Errorf("err = %v, want that of the context", got.err)
		}
	})

	t.Run("Draining", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		s := d.Store.Deaf()
		stop := beside(t, d, s)
		c := wait(t, t.Context(), s, "w")
		stop()
		if got := await(t, c); got.err != nil || len(got.tasks) != 0 {
			t.Errorf("%+v, want none and no error", got)
		}
	})
}
