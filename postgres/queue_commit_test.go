package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
	"quern/postgres/testdata"
)

// queueWithCommit sends rows with COMMIT.
func queueWithCommit(ctx context.Context, tx postgres.DBTX, numbers ...int) error {
	return postgres.QueueWithCommit(ctx, tx, func(b *postgres.Batch) error {
		for _, n := range numbers {
			postgres.QueueExec(b, insertC, n)
		}
		return nil
	})
}

func inSavepoint(ctx context.Context, tx postgres.DBTX, fn step) error {
	return postgres.InTx(ctx, tx, postgres.TxOptions{}, fn)
}

func TestQueueWithCommit_RoundTrips(t *testing.T) {
	t.Parallel()
	w, address := newWire(t, testdata.NewURL(t))
	d := testdata.Open(t, postgres.Config{URL: address, MaxConns: 1})
	ctx := t.Context()
	d.Exec(t, "CREATE TABLE c (n int PRIMARY KEY)")
	oops := errors.New("oops")
	for _, c := range []struct {
		name  string
		trips int64
		rows  int
		fn    step
	}{
		{"WithCommit", 2, 3, func(tx postgres.DBTX) error {
			return errors.Join(stmt(ctx, insertC, 1)(tx), queueWithCommit(ctx, tx, 2, 3))
		}},
		{"WithWhatIsSentNext", 3, 3, func(tx postgres.DBTX) error {
			return errors.Join(stmt(ctx, insertC, 1)(tx), queueWithCommit(ctx, tx, 2), stmt(ctx, insertC, 3)(tx))
		}},
		// The marker must be on the server before COMMIT is sent.
		{"First", 2, 2, func(tx postgres.DBTX) error { return queueWithCommit(ctx, tx, 1, 2) }},
		{"InASavepoint", 2, 2, func(tx postgres.DBTX) error {
			return errors.Join(stmt(ctx, insertC, 1)(tx),
				inSavepoint(ctx, tx, func(tx postgres.DBTX) error { return queueWithCommit(ctx, tx, 2) }))
		}},
		{"InTwoSavepoints", 2, 3, func(tx postgres.DBTX) error {
			return errors.Join(stmt(ctx, insertC, 1)(tx),
				inSavepoint(ctx, tx, func(tx postgres.DBTX) error { return queueWithCommit(ctx, tx, 2) }),
				inSavepoint(ctx, tx, func(tx postgres.DBTX) error { return queueWithCommit(ctx, tx, 3) }))
		}},
		{"UndoneWithItsSavepoint", 2, 2, func(tx postgres.DBTX) error {
			err := errors.Join(stmt(ctx, insertC, 1)(tx), queueWithCommit(ctx, tx, 2))
			undone := inSavepoint(ctx, tx, func(tx postgres.DBTX) error { return errors.Join(queueWithCommit(ctx, tx, 3), oops) })
			if !errors.Is(undone, oops) {
				t.Errorf("a savepoint that failed: %v", undone)
			}
			return err
		}},
		{"UndoneWithASavepointUnderWay", 4, 2, func(tx postgres.DBTX) error {
			err := errors.Join(stmt(ctx, insertC, 1)(tx), queueWithCommit(ctx, tx, 2))
			undone := inSavepoint(ctx, tx, func(tx postgres.DBTX) error {
				return errors.Join(stmt(ctx, insertC, 3)(tx), queueWithCommit(ctx, tx, 4), oops)
			})
			if !errors.Is(undone, oops) {
				t.Errorf("a savepoint that failed: %v", undone)
			}
			return err
		}},
	} {
		var trips int64
		for range 2 { // the first round prepares the statements
			d.Exec(t, "TRUNCATE c")
			trips = w.trips.Load()
			if err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, c.fn); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			trips = w.trips.Load() - trips
		}
		if rows := d.Count(t, "SELECT count(*) FROM c"); trips != c.trips || rows != c.rows {
			t.Errorf("%s: %d round trips and %d rows, want %d and %d", c.name, trips, rows, c.trips, c.rows)
		}
	}

	t.Run("OutsideOfATransaction", func(t *testing.T) {
		d.Exec(t, "TRUNCATE c")
		if err := queueWithCommit(ctx, d.Router, 1, 2); err != nil || d.Count(t, "SELECT count(*) FROM c") != 2 {
			t.Errorf("err = %v, want two rows", err)
		}
	})
}

func TestQueueWithCommit_Errors(t *testing.T) {
	t.Parallel()
	d := newC(t)
	ctx := t.Context()
	for name, fn := range map[string]step{
		"QueueWithCommit": func(tx postgres.DBTX) error { return queueWithCommit(ctx, tx, 1) },
		"WithTheNext": func(tx postgres.DBTX) error {
			return errors.Join(queueWithCommit(ctx, tx, 1), stmt(ctx, insertC, 3)(tx))
		},
		"Swallowed": func(tx postgres.DBTX) error {
			_ = queueWithCommit(ctx, tx, 1)
			_ = inSavepoint(ctx, tx, stmt(ctx, insertC, 3))
			return nil
		},
	} {
		err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			return errors.Join(stmt(ctx, insertC, 1)(tx), fn(tx))
		})
		var e *postgres.Error
		switch {
		case name == "Swallowed":
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		case !errors.As(err, &e) || e.Kind != postgres.ErrUnique || e.Statement == "commit":
			t.Errorf("%s: err = %v, want the statement's", name, err)
		}
		if n := d.Count(t, "SELECT count(*) FROM c"); n != 0 {
			t.Errorf("%s: %d rows are stored", name, n)
		}
	}

	t.Run("NoRows", func(t *testing.T) {
		for name, rows := range map[string]queuing{
			"One":  func(b *postgres.Batch) { queueOne(b, "SELECT 1") },
			"Many": func(b *postgres.Batch) { queueMany(b, "SELECT 1") },
		} {
			err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				return errors.Join(stmt(ctx, insertC, 1)(tx), postgres.QueueWithCommit(ctx, tx, batchOf(queueSQL(insertC, 2), rows)))
			})
			if err == nil || !strings.Contains(err.Error(), "cannot return rows") || d.Count(t, "SELECT count(*) FROM c") != 0 {
				t.Errorf("%s: err = %v, want one, and nothing stored", name, err)
			}
		}
	})

	t.Run("AfterTheTransaction", func(t *testing.T) {
		var ended postgres.DBTX
		_ = postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error { ended = tx; return nil })
		if err := queueWithCommit(ctx, ended, 1); !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("err = %v, want ErrTxClosed", err)
		}
	})
}

// The result of a statement is available once it was answered, not earlier.
func TestQueueWithCommit_Result(t *testing.T) {
	t.Parallel()
	d := newC(t)
	ctx := t.Context()
	var inserted, updated *postgres.Queued[int64]
	err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		return errors.Join(stmt(ctx, insertC, 1)(tx), postgres.QueueWithCommit(ctx, tx, func(b *postgres.Batch) error {
			inserted, updated = postgres.QueueExec(b, insertC, 2), postgres.QueueExec(b, "UPDATE c SET n = n + 10")
			if _, err := inserted.Get(); err == nil || !strings.Contains(err.Error(), "not known yet") {
				t.Errorf("before it was sent: err = %v", err)
			}
			return nil
		}))
	})
	one, err1 := inserted.Get()
	two, err2 := updated.Get()
	if err := errors.Join(err, err1, err2); err != nil || one != 1 || two != 2 {
		t.Errorf("%d and %d rows affected, err = %v; want 1 and 2", one, two, err)
	}
}
