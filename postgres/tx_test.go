package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

func TestInTx(t *testing.T) {
	t.Parallel()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 1})
	ctx := t.Context()
	backend := d.Count(t, "SELECT pg_backend_pid()")
	create := func(q *db.Queries, name string) error {
		_, err := q.CreateAccount(ctx, db.CreateAccountParams{Username: name, Email: "x", Tags: []string{}})
		return err
	}
	// stored also shows that the pool's only connection was released.
	stored := func(name string) bool {
		t.Helper()
		return d.Count(t, "SELECT count(*) FROM accounts WHERE username = $1", name) == 1
	}

	t.Run("CommitsOnNil", func(t *testing.T) {
		if err := d.Queries.InTx(ctx, func(q *db.Queries) error { return create(q, "nil") }); err != nil {
			t.Fatal(err)
		}
		if !stored("nil") {
			t.Error("not stored")
		}
	})

	t.Run("RollsBackOnError", func(t *testing.T) {
		oops := errors.New("oops")
		err := d.Queries.InTx(ctx, func(q *db.Queries) error { return errors.Join(create(q, "error"), oops) })
		if !errors.Is(err, oops) {
			t.Errorf("err = %v, want the closure's", err)
		}
		if stored("error") {
			t.Error("stored")
		}
	})

	t.Run("RollsBackOnPanic", func(t *testing.T) {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was not propagated")
				}
			}()
			_ = d.Queries.InTx(ctx, func(q *db.Queries) error {
				if err := create(q, "panic"); err != nil {
					t.Error(err)
				}
				panic("oops")
			})
		}()
		if stored("panic") {
			t.Error("stored")
		}
	})

	t.Run("RollsBackOnCancellation", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		err := d.Queries.InTx(ctx, func(q *db.Queries) error {
			defer cancel()
			return create(q, "cancel")
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v, want Canceled", err)
		}
		if stored("cancel") {
			t.Error("stored")
		}
	})

	t.Run("RefusesToCommitWhatFailed", func(t *testing.T) {
		err := d.Queries.InTx(ctx, func(q *db.Queries) error {
			_ = create(q, "swallowed")
			_ = create(q, strings.Repeat("x", 51)) // fails, and so does the transaction
			return nil
		})
		if !errors.Is(err, pgx.ErrTxCommitRollback) {
			t.Errorf("err = %v, want ErrTxCommitRollback: the caller must not believe it committed", err)
		}
		if stored("swallowed") {
			t.Error("stored")
		}
	})

	t.Run("NestedIsASavepoint", func(t *testing.T) {
		oops := errors.New("oops")
		err := d.Queries.InTx(ctx, func(q *db.Queries) error {
			if err := create(q, "outer"); err != nil {
				return err
			}
			err := q.InTx(ctx, func(q *db.Queries) error { return errors.Join(create(q, "undone"), oops) })
			if !errors.Is(err, oops) {
				t.Errorf("err = %v, want the inner closure's", err)
			}
			return q.InTx(ctx, func(q *db.Queries) error { return create(q, "inner") })
		})
		if err != nil {
			t.Fatal(err)
		}
		if !stored("outer") || !stored("inner") || stored("undone") {
			t.Errorf("outer %v, inner %v, undone %v", stored("outer"), stored("inner"), stored("undone"))
		}
	})

	t.Run("RefusesUseAfterTheEnd", func(t *testing.T) {
		var leaked *db.Queries
		if err := d.Queries.InTx(ctx, func(q *db.Queries) error { leaked = q; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := create(leaked, "late"); !errors.Is(err, pgx.ErrTxClosed) || stored("late") {
			t.Errorf("err = %v, stored %v", err, stored("late"))
		}
	})

	t.Run("ReadOnly", func(t *testing.T) {
		err := d.Queries.InTxWith(ctx, postgres.TxOptions{ReadOnly: true}, func(q *db.Queries) error { return create(q, "ro") })
		if err == nil || stored("ro") {
			t.Errorf("err = %v, stored %v", err, stored("ro"))
		}
	})

	t.Run("Isolation", func(t *testing.T) {
		err := postgres.InTx(ctx, d.Router, postgres.TxOptions{Isolation: pgx.Serializable}, func(tx postgres.DBTX) error {
			var level string
			if err := tx.QueryRow(ctx, "SHOW transaction_isolation").Scan(&level); err != nil {
				return err
			}
			if level != "serializable" {
				t.Errorf("isolation %s", level)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})

	t.Run("NotOnAnything", func(t *testing.T) {
		err := postgres.InTx(ctx, d.Router.Pool(), postgres.TxOptions{}, func(postgres.DBTX) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "use a Router") {
			t.Errorf("err = %v", err)
		}
	})

	// Otherwise, rolling back by closing the connection would go unnoticed.
	if now := d.Count(t, "SELECT pg_backend_pid()"); now != backend {
		t.Errorf("the pool's only connection leads to backend %d, and to %d before", now, backend)
	}
}

// onceSent repeats the call until it gets a connection, and returns its error. On a busy
// machine, a statement can time out before that.
func onceSent(ctx context.Context, call func() error) error {
	for {
		if err := call(); ctx.Err() != nil || !errors.Is(err, postgres.ErrPoolExhausted) {
			return err
		}
	}
}

func TestRouter(t *testing.T) {
	t.Parallel()

	t.Run("AcquireTimeout", func(t *testing.T) {
		t.Parallel()
		d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 1, AcquireTimeout: 500 * time.Millisecond})
		err := d.Queries.InTx(t.Context(), func(*db.Queries) error {
			_, err := d.Queries.GetAccount(t.Context(), 1) // the pool's only connection belongs to this transaction
			return err
		})
		if !errors.Is(err, postgres.ErrPoolExhausted) || !errors.Is(err, postgres.ErrUnavailable) {
			t.Errorf("err = %v, want ErrPoolExhausted", err)
		}
		if !strings.Contains(err.Error(), "GetAccount") {
			t.Errorf("err = %v, want the statement's name in it", err)
		}
	})

	// Either limit ends the wait with the same error, because nothing was sent. The other
	// limit is longer than the test may take.
	for name, bounds := range map[string]struct{ acquire, statement time.Duration }{
		"AcquireTimeoutIsShorter":   {50 * time.Millisecond, 20 * time.Second},
		"StatementTimeoutIsShorter": {20 * time.Second, 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const one = "-- name: One :exec\nSELECT 1"
			r := open(t, postgres.Config{
				URL: pgtest.EmptyURL(t), MaxConns: 1, AcquireTimeout: bounds.acquire,
				Statements: []postgres.Statement{{Name: "One", SQL: one, Timeout: bounds.statement}},
			})
			conn, err := r.Pool().Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			start := time.Now()
			_, err = r.Exec(t.Context(), one)
			if took := time.Since(start); !errors.Is(err, postgres.ErrPoolExhausted) || took > 15*time.Second {
				t.Errorf("after %v: %v, want ErrPoolExhausted after %v", took, err, min(bounds.acquire, bounds.statement))
			}
		})
	}

	t.Run("StatementTimeout", func(t *testing.T) {
		t.Parallel()
		// The deadline of the context that Connect was called with does not end it.
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		const slow = "-- name: Slow :one\nSELECT pg_sleep(60)::text"
		url := testdata.NewURL(t)
		d := testdata.Open(t, postgres.Config{URL: url, QueryTimeout: 20 * time.Millisecond})
		var out string
		for name, call := range map[string]func() error{
			"QueryRow": func() error { return d.Router.QueryRow(ctx, slow).Scan(&out) },
			"Exec":     func() error { _, err := d.Router.Exec(ctx, slow); return err },
			"in a transaction": func() error {
				return postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error { return tx.QueryRow(ctx, slow).Scan(&out) })
			},
		} {
			if err := onceSent(ctx, call); !errors.Is(err, postgres.ErrTimeout) || !strings.HasPrefix(err.Error(), "Slow: ") {
				t.Errorf("QUERY_TIMEOUT, %s: err = %v, want ErrTimeout of Slow", name, err)
			}
		}

		// The registry's @timeout takes precedence over the setting.
		r, err := postgres.Connect(t.Context(), postgres.Config{
			URL: url, QueryTimeout: time.Hour, Logger: quiet,
			Statements: []postgres.Statement{{Name: "Slow", SQL: slow, Timeout: 20 * time.Millisecond}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := onceSent(ctx, func() error { return r.QueryRow(ctx, slow).Scan(&out) }); !errors.Is(err, postgres.ErrTimeout) {
			t.Errorf("@timeout: err = %v, want ErrTimeout", err)
		}
		if ctx.Err() != nil {
			t.Error("it waited until the deadline of its caller")
		}
	})

	t.Run("CallerGone", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := d.Queries.GetAccount(ctx, 1)
		if !errors.Is(err, context.Canceled) || errors.Is(err, postgres.ErrTimeout) || errors.Is(err, postgres.ErrUnavailable) {
			t.Errorf("err = %v, want Canceled and nothing else", err)
		}
	})

	t.Run("RowsGiveBackTheirConnection", func(t *testing.T) {
		t.Parallel()
		d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 1})
		for name, use := range map[string]func(pgx.Rows){
			"read to the end": func(r pgx.Rows) {
				for r.Next() {
				}
			},
			"closed at once": func(r pgx.Rows) { r.Close() },
			"closed in it":   func(r pgx.Rows) { r.Next(); r.Close(); r.Close() },
			"closed at the end": func(r pgx.Rows) {
				for r.Next() {
				}
				r.Close()
			},
		} {
			rows, err := d.Router.Query(t.Context(), "SELECT generate_series(1, 1000)")
			if err != nil {
				t.Fatal(err)
			}
			use(rows)
			if err := rows.Err(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if n := d.Router.Pool().Stat().AcquiredConns(); n != 0 {
				t.Fatalf("%s: %d connections still in use", name, n)
			}
		}
	})

	t.Run("TimesAreUTC", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		if at := d.CreateAccount(t).CreatedAt; at.Location() != time.UTC {
			t.Errorf("created_at %v, want it in UTC", at)
		}
		// An array, which is read by pgx and not by wire.Scan.
		var list []time.Time
		if err := d.Router.QueryRow(t.Context(), "SELECT ARRAY[now()]").Scan(&list); err != nil || list[0].Location() != time.UTC {
			t.Errorf("%v, %v, want it in UTC", list, err)
		}
	})
}
