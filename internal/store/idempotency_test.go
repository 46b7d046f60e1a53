package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// register adds a user and answers with its id.
func register(ctx context.Context, name string) func(*db.Queries) ([]byte, error) {
	return func(q *db.Queries) ([]byte, error) {
		u, err := q.CreateUser(ctx, db.CreateUserParams{Username: name, Email: "x", Tags: []string{}})
		if err != nil {
			return nil, err
		}
		return fmt.Appendf(nil, `{"id":  %d}`, u.ID), nil
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()

	t.Run("ManyAtATime", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		var first, again atomic.Int64
		answers := make([]string, 24)
		var callers sync.WaitGroup
		for i := range answers {
			callers.Go(func() {
				// There are three keys, and eight callers for each. Only the key prevents that
				// each of them adds a user.
				key := fmt.Sprint("key ", i%3)
				answer, replayed, err := d.Store.Once(t.Context(), store.Keyed{Key: key, Hash: []byte(key)}, register(t.Context(), fmt.Sprint("user ", i)))
				if err != nil {
					t.Error(err)
				}
				answers[i] = string(answer)
				if replayed {
					again.Add(1)
				} else {
					first.Add(1)
				}
			})
		}
		callers.Wait()
		for i, answer := range answers {
			if answer == "" || answer != answers[i%3] {
				t.Errorf("caller %d got %s, and another of the same key %s", i, answer, answers[i%3])
			}
		}
		if n := d.Count(t, "SELECT count(*) FROM users"); n != 3 || first.Load() != 3 || again.Load() != 21 {
			t.Errorf("%d users by %d first callers and %d others, want 3, 3 and 21", n, first.Load(), again.Load())
		}
	})

	t.Run("OtherRequest", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		if _, _, err := d.Store.Once(t.Context(), store.Keyed{Key: "k", Hash: []byte("a")}, register(t.Context(), "ann")); err != nil {
			t.Fatal(err)
		}
		_, _, err := d.Store.Once(t.Context(), store.Keyed{Key: "k", Hash: []byte("b")}, register(t.Context(), "bob"))
		if !errors.Is(err, store.ErrKeyReused) {
			t.Errorf("err = %v, want ErrKeyReused", err)
		}
		if n := d.Count(t, "SELECT count(*) FROM users"); n != 1 {
			t.Errorf("%d users, want 1", n)
		}
	})

	t.Run("AnErrorLeavesNoTrace", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		taken := d.CreateUser(t)
		_, _, err := d.Store.Once(t.Context(), store.Keyed{Key: "k", Hash: []byte("a")}, register(t.Context(), taken.Username))
		if !errors.Is(err, postgres.ErrUnique) {
			t.Errorf("err = %v, want ErrUnique", err)
		}
		if n := d.Count(t, "SELECT count(*) FROM idempotency_keys"); n != 0 {
			t.Errorf("%d keys stored, want none", n)
		}
		// The key is free again, even for another request.
		if _, replayed, err := d.Store.Once(t.Context(), store.Keyed{Key: "k", Hash: []byte("b")}, register(t.Context(), "bob")); err != nil || replayed {
			t.Errorf("replayed %t, err %v", replayed, err)
		}
	})

	t.Run("WaitsForTheFirst", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		for name, undo := range map[string]error{"commits": nil, "rolls back": errors.New("undo")} {
			held, release := make(chan struct{}), make(chan struct{})
			var others sync.WaitGroup
			k := store.Keyed{Key: name, Hash: []byte("a")}
			others.Go(func() {
				_, _, err := d.Store.Once(t.Context(), k, func(q *db.Queries) ([]byte, error) {
					close(held)
					<-release
					if undo != nil {
						return nil, undo
					}
					return register(t.Context(), "first "+name)(q)
				})
				if !errors.Is(err, undo) {
					t.Error(err)
				}
			})
			<-held
			others.Go(func() {
				_, replayed, err := d.Store.Once(t.Context(), k, register(t.Context(), "second "+name))
				if err != nil || replayed != (undo == nil) {
					t.Errorf("%s: replayed %t, err %v", name, replayed, err)
				}
			})
			for d.Count(t, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%ReserveIdempotencyKey%' AND datname = current_database()") == 0 {
				time.Sleep(time.Millisecond)
			}
			close(release)
			others.Wait()
		}
		if n := d.Count(t, "SELECT count(*) FROM users WHERE username IN ('first commits', 'second rolls back')"); n != 2 {
			t.Errorf("%d users, want one for each key", n)
		}
	})

	t.Run("InFlight", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		k := store.Keyed{Key: "k", Hash: []byte("a")}
		_, _, err := d.Store.Once(t.Context(), k, func(q *db.Queries) ([]byte, error) {
			if _, _, err := d.Store.Once(t.Context(), k, register(t.Context(), "second")); !errors.Is(err, store.ErrKeyInFlight) {
				t.Errorf("err = %v, want ErrKeyInFlight", err)
			}
			return register(t.Context(), "first")(q)
		})
		if err != nil {
			t.Error(err)
		}
	})

	// Sixteen callers repeat their requests until they are answered, while their backends are
	// killed.
	t.Run("BackendsKilled", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		const keys = 150
		var next, done atomic.Int64
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() {
				for i := next.Add(1); i <= keys && ctx.Err() == nil; i = next.Add(1) {
					name := fmt.Sprint("key ", i)
					for ctx.Err() == nil {
						// No username is unique here, so only the key identifies a repetition.
						_, _, err := d.Store.Once(ctx, store.Keyed{Key: name, Hash: []byte("a")}, func(q *db.Queries) ([]byte, error) {
							_, err := q.CreateTask(ctx, db.CreateTaskParams{Name: name, Payload: []byte("{}")})
							return []byte("1"), err
						})
						if err == nil {
							done.Add(1)
							break
						}
					}
				}
			})
		}
		killed := 0
		for done.Load() < keys && ctx.Err() == nil {
			killed += d.Count(t, `SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle' ORDER BY random() LIMIT 1) AS one`)
		}
		callers.Wait()
		t.Logf("%d backends killed", killed)
		if n := d.Count(t, "SELECT count(*) FROM tasks"); n != keys || done.Load() != keys {
			t.Errorf("%d tasks of %d answered keys, want %d", n, done.Load(), keys)
		}
		if n := d.Count(t, "SELECT count(DISTINCT name) FROM tasks"); n != keys {
			t.Errorf("%d different tasks, want %d", n, keys)
		}
	})
}

func TestSweepIdempotencyKeys(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	d.Exec(t, `INSERT INTO idempotency_keys (key, request_hash, response, created_at)
		SELECT 'key ' || i, '', '{}', now() - i * interval '1 minute' FROM generate_series(1, 2500) AS i`)
	swept, err := d.Store.SweepIdempotencyKeys(t.Context())
	if err != nil || swept != 2500-1440 && swept != 2500-1439 {
		t.Errorf("%d keys swept, %v: want those of more than 24 hours", swept, err)
	}
	if n := d.Count(t, "SELECT count(*) FROM idempotency_keys WHERE created_at < now() - interval '24 hours 1 minute'"); n != 0 {
		t.Errorf("%d old keys are left", n)
	}
	if _, replayed, err := d.Store.Once(t.Context(), store.Keyed{Key: "key 1", Hash: []byte{}}, register(t.Context(), "ann")); err != nil || !replayed {
		t.Errorf("a key of a minute ago: replayed %t, err %v", replayed, err)
	}
}
