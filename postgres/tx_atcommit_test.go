package postgres_test

import (
	"context"
	"errors"
	"testing"

	"quern/internal/storetest"
	"quern/postgres"
)

// atCommit has rows travel with COMMIT.
func atCommit(ctx context.Context, tx postgres.DBTX, numbers ...int) error {
	return postgres.AtCommit(tx, func(tx postgres.DBTX) error {
		for _, n := range numbers {
			if err := stmt(ctx, insertC, n)(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

func inSavepoint(ctx context.Context, tx postgres.DBTX, fn step) error {
	return postgres.InTx(ctx, tx, postgres.TxOptions{}, fn)
}

func TestAtCommit_RoundTrips(t *testing.T) {
	t.Parallel()
	w, address := newWire(t, storetest.NewURL(t))
	d := storetest.Open(t, postgres.Config{URL: address, MaxConns: 1})
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
			return errors.Join(stmt(ctx, insertC, 1)(tx), atCommit(ctx, tx, 2, 3))
		}},
		{"WithWhatIsSentNext", 3, 3, func(tx postgres.DBTX) error {
			return errors.Join(stmt(ctx, insertC, 1)(tx), atCommit(ctx, tx, 2), stmt(ctx, insertC, 3)(tx))
		}},
		// The marker has to be there before COMMIT is sent.
		{"First", 2, 2, func(tx postgres.DBTX) error { return atCommit(ctx, tx, 1, 2) }},
		{"InASavepoint", 2, 2, func(tx postgres.DBTX) error {
			return errors.Join(stmt(ctx, insertC, 1)(tx),
				inSavepoint(ctx, tx, func(tx postgres.DBTX) error { return atCommit(ctx, tx, 2) }))
		}},
		{"InTwoSavepoints", 2, 3, func(tx postgres.DBTX) error {
			return errors.Join(stmt(ctx, insertC, 1)(tx),
				inSavepoint(ctx, tx, func(tx postgres.DBTX) error { return atCommit(ctx, tx, 2) }),
				inSavepoint(ctx, tx, func(tx postgres.DBTX) error { return atCommit(ctx, tx, 3) }))
		}},
		{"UndoneWithItsSavepoint", 2, 2, func(tx postgres.DBTX) error {
			err := errors.Join(stmt(ctx, insertC, 1)(tx), atCommit(ctx, tx, 2))
			undone := inSavepoint(ctx, tx, func(tx postgres.DBTX) error { return errors.Join(atCommit(ctx, tx, 3), oops) })
			if !errors.Is(undone, oops) {
				t.Errorf("a savepoint that failed: %v", undone)
			}
			return err
		}},
		{"UndoneWithASavepointUnderWay", 4, 2, func(tx postgres.DBTX) error {
			err := errors.Join(stmt(ctx, insertC, 1)(tx), atCommit(ctx, tx, 2))
			undone := inSavepoint(ctx, tx, func(tx postgres.DBTX) error {
				return errors.Join(stmt(ctx, insertC, 3)(tx), atCommit(ctx, tx, 4), oops)
			})
			if !errors.Is(undone, oops) {
				t.Errorf("a savepoint that failed: %v", undone)
			}
			return err
		}},
	} {
		var trips int64
		for range 2 { // the first time, the statements are prepared
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
		if err := atCommit(ctx, d.Router, 1, 2); err != nil || d.Count(t, "SELECT count(*) FROM c") != 2 {
			t.Errorf("err = %v, want two rows", err)
		}
	})
}

func TestAtCommit_Errors(t *testing.T) {
	t.Parallel()
	d := newC(t)
	ctx := t.Context()
	for name, fn := range map[string]step{
		"AtCommit":    func(tx postgres.DBTX) error { return atCommit(ctx, tx, 1) },
		"WithTheNext": func(tx postgres.DBTX) error { return errors.Join(atCommit(ctx, tx, 1), stmt(ctx, insertC, 3)(tx)) },
		"Swallowed": func(tx postgres.DBTX) error {
			_ = atCommit(ctx, tx, 1)
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
		err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			return errors.Join(stmt(ctx, insertC, 1)(tx), postgres.AtCommit(tx, func(tx postgres.DBTX) error {
				_, err := tx.Query(ctx, "SELECT 1")
				if err == nil {
					t.Error("Query: no error")
				}
				return tx.QueryRow(ctx, "SELECT 1").Scan()
			}))
		})
		if err == nil || d.Count(t, "SELECT count(*) FROM c") != 0 {
			t.Errorf("err = %v, want one, and nothing stored", err)
		}
	})
}
