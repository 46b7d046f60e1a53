package postgres_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

func TestInTxRepeats(t *testing.T) {
	t.Parallel()

	t.Run("SerializationFailures", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		d.Exec(t, "CREATE TABLE counter (n int); INSERT INTO counter VALUES (0)")
		// Each call increments the value that it has read. Without retries most calls would
		// fail, and without serialization failures some increments would be lost.
		const callers, times = 4, 5
		var runs atomic.Int64
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				for range times {
					err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{Isolation: pgx.Serializable}, func(tx postgres.DBTX) error {
						runs.Add(1)
						var n int
						if err := tx.QueryRow(t.Context(), "SELECT n FROM counter").Scan(&n); err != nil {
							return err
						}
						_, err := tx.Exec(t.Context(), "UPDATE counter SET n = $1", n+1)
						return err
					})
					if err != nil && !errors.Is(err, postgres.ErrSerialization) {
						t.Error(err)
					}
					if err != nil {
						runs.Add(-1000)
					}
				}
			})
		}
		all.Wait()
		failed := 0
		for n := runs.Load(); n < 0; n += 1000 {
			failed++
		}
		if n := d.Count(t, "SELECT n FROM counter"); n != callers*times-failed {
			t.Errorf("the counter is %d after %d successes", n, callers*times-failed)
		}
		if failed > callers {
			t.Errorf("%d of %d transactions failed although they were repeated", failed, callers*times)
		}
	})

	t.Run("Deadlocks", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		d.Exec(t, "CREATE TABLE pair (id int PRIMARY KEY, n int); INSERT INTO pair VALUES (1, 0), (2, 0)")
		d.Exec(t, "ALTER DATABASE "+d.Router.Pool().Config().ConnConfig.Database+" SET deadlock_timeout = '20ms'")
		d.Router.Pool().Reset()
		var runs atomic.Int64
		var met sync.WaitGroup
		met.Add(2)
		var all sync.WaitGroup
		for _, order := range [][2]int{{1, 2}, {2, 1}} {
			all.Go(func() {
				first := true
				err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
					runs.Add(1)
					for i, id := range order {
						if _, err := tx.Exec(t.Context(), "UPDATE pair SET n = n + 1 WHERE id = $1", id); err != nil {
							return err
						}
						if i == 0 && first {
							// Each transaction locks one row before either of them requests the
							// row of the other.
							first = false
							met.Done()
							met.Wait()
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := d.Count(t, "SELECT min(n) * 10 + max(n) FROM pair"); n != 22 || runs.Load() < 3 {
			t.Errorf("rows %d after %d runs, want both at 2 and a repeated run", n, runs.Load())
		}
	})

	t.Run("LockTimeouts", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		d.Exec(t, "CREATE TABLE locked (n int)")
		holder, err := d.Router.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer holder.Rollback(context.Background())
		if _, err := holder.Exec(t.Context(), "LOCK TABLE locked"); err != nil {
			t.Fatal(err)
		}
		runs := 0
		err = postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			if runs++; runs == 2 {
				if err := holder.Rollback(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if _, err := tx.Exec(t.Context(), "SET LOCAL lock_timeout = '10ms'"); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), "INSERT INTO locked VALUES (1)")
			return err
		})
		if n := d.Count(t, "SELECT count(*) FROM locked"); err != nil || runs != 2 || n != 1 {
			t.Errorf("err %v, %d runs, %d rows; want one row at the second run", err, runs, n)
		}
	})

	t.Run("BrokenConnections", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		d.Exec(t, "CREATE TABLE once (n int)")
		runs := 0
		err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			runs++
			if _, err := tx.Exec(t.Context(), "INSERT INTO once VALUES (1)"); err != nil {
				return err
			}
			if runs < 3 {
				_, err := tx.Exec(t.Context(), "SELECT pg_terminate_backend(pg_backend_pid())")
				return err
			}
			return nil
		})
		if n := d.Count(t, "SELECT count(*) FROM once"); err != nil || runs != 3 || n != 1 {
			t.Errorf("err %v, %d runs, %d rows; want one row at the third run", err, runs, n)
		}
	})

	t.Run("NotForEver", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		runs := 0
		err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			runs++
			_, err := tx.Exec(t.Context(), "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
			return err
		})
		if !errors.Is(err, postgres.ErrSerialization) || runs != 5 {
			t.Errorf("err %v after %d runs, want ErrSerialization after 5", err, runs)
		}
		// A deadline ends the retries earlier.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		_ = postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(postgres.DBTX) error {
			return &postgres.Error{Kind: postgres.ErrSerialization, Err: errors.New("always")}
		})
		if took := time.Since(start); took > patience/2 {
			t.Errorf("it took %v with a deadline of 1ms", took)
		}
	})

	t.Run("NotOtherErrors", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		taken := d.CreateAccount(t)
		runs := 0
		err := d.Queries.InTx(t.Context(), func(q *db.Queries) error {
			runs++
			_, err := q.CreateAccount(t.Context(), db.CreateAccountParams{Username: taken.Username, Email: "x", Tags: []string{}})
			return err
		})
		if !errors.Is(err, postgres.ErrUnique) || runs != 1 {
			t.Errorf("err %v after %d runs, want ErrUnique after 1", err, runs)
		}
	})

	t.Run("AfterAMigrationUnderPreparedStatements", func(t *testing.T) {
		t.Parallel()
		d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 6})
		d.Exec(t, "CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)")
		const read = "SELECT * FROM shape"
		// Prepare the statement on each connection of the pool.
		var all sync.WaitGroup
		var held sync.WaitGroup
		held.Add(6)
		for range 6 {
			all.Go(func() {
				err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
					_, err := tx.Exec(t.Context(), read)
					held.Done()
					held.Wait()
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		d.Exec(t, "ALTER TABLE shape ADD COLUMN b int")
		for range 12 {
			if _, err := d.Router.Exec(t.Context(), read); err != nil {
				t.Errorf("outside a transaction: %v", err)
			}
		}
		d.Exec(t, "ALTER TABLE shape ADD COLUMN c int")
		err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			_, err := tx.Exec(t.Context(), read)
			return err
		})
		if err != nil {
			t.Errorf("in a transaction: %v", err)
		}
	})
}

func TestCommitMarkers(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	count := func() int { return d.Count(t, "SELECT count(*) FROM commit_markers") }
	write := func(opts postgres.TxOptions) {
		t.Helper()
		if err := d.Queries.InTxWith(t.Context(), opts, func(q *db.Queries) error {
			_, err := q.CreateJob(t.Context(), db.CreateJobParams{Name: "x", Payload: []byte("{}")})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	write(postgres.TxOptions{})
	if n := count(); n != 1 {
		t.Errorf("%d markers after one write, want 1", n)
	}
	write(postgres.TxOptions{NoMarker: true})
	err := d.Queries.InTx(t.Context(), func(q *db.Queries) error {
		_, err := q.GetOverview(t.Context())
		return err
	})
	if n := count(); n != 1 || err != nil {
		t.Errorf("err %v, %d markers after a write without one and a read, want still 1", err, n)
	}
	// Only the server's clock decides which markers are old. The clock of another process
	// may be slow or fast, so its ids may look old or new.
	d.Exec(t, `INSERT INTO commit_markers (id, created_at)
		SELECT (lpad(to_hex((extract(epoch FROM now() - id_age) * 1000)::bigint), 12, '0') || substr(gen_random_uuid()::text, 15))::uuid, now() - age
		FROM (VALUES (interval '2 hours', interval '2 hours'), (interval '1 day', interval '59 minutes'),
		             (interval '59 minutes', interval '59 minutes'), (-interval '1 day', interval '0')) AS v (id_age, age)`)
	if err := d.Router.SweepMarkers(t.Context()); err != nil || count() != 4 {
		t.Errorf("err %v: a sweep left %d markers, want 4", err, count())
	}
	if n := d.Count(t, "SELECT count(*) FROM commit_markers WHERE created_at < now() - interval '1 hour'"); n != 0 {
		t.Errorf("a sweep left %d old markers", n)
	}
}
