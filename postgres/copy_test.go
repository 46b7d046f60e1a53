package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// copied returns n accounts to copy.
func copied(first, n int64) []db.CopyAccountsParams {
	var accounts []db.CopyAccountsParams
	for id := first; id < first+n; id++ {
		accounts = append(accounts, db.CopyAccountsParams{
			ID: id, Username: "user" + time.Duration(id).String(), Email: "x", Tags: []string{}, CreatedAt: time.Now(), UpdatedAt: time.Now(), Version: 1,
		})
	}
	return accounts
}

func TestCopyFrom(t *testing.T) {
	t.Parallel()

	// A COPY is one round trip, however many rows it has, apart from BEGIN, COMMIT and the
	// types of the columns. Rows are sent in chunks of 64 KB without an answer.
	t.Run("InBulk", func(t *testing.T) {
		t.Parallel()
		w, through := newWire(t, testdata.NewURL(t))
		d := testdata.Open(t, postgres.Config{URL: through, MaxConns: 2, MinConns: 1})
		if _, err := d.Queries.CopyAccounts(t.Context(), copied(1, 1)); err != nil { // loads the types
			t.Fatal(err)
		}
		before := w.trips.Load()
		if n, err := d.Queries.CopyAccounts(t.Context(), copied(2, 2000)); err != nil || n != 2000 {
			t.Fatal(n, err)
		}
		if trips := w.trips.Load() - before; trips > 40 {
			t.Errorf("2,000 rows took %d messages, want a few", trips)
		}
	})

	t.Run("Alone", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		ctx, stats := postgres.WithStats(t.Context())
		if n, err := d.Queries.CopyAccounts(ctx, copied(1, 1000)); err != nil || n != 1000 {
			t.Fatal(n, err)
		}
		if name, _ := stats.Most(); name != "CopyAccounts" {
			t.Errorf("it ran as %s, want CopyAccounts", name)
		}
		_, err := d.Queries.CopyAccounts(ctx, copied(999, 100))
		var e *postgres.Error
		if !errors.As(err, &e) || e.Kind != postgres.ErrUnique || e.Constraint != "accounts_pkey" || e.Statement != "CopyAccounts" {
			t.Errorf("err = %v, want ErrUnique of accounts_pkey", err)
		}
		if n := d.Count(t, "SELECT count(*) FROM accounts"); n != 1000 {
			t.Errorf("%d accounts, want 1000", n)
		}
	})

	t.Run("InATransaction", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		undo := errors.New("undo")
		err := d.Queries.InTx(t.Context(), func(q *db.Queries) error {
			// As the first statement, and then in a savepoint that fails.
			if _, err := q.CopyAccounts(t.Context(), copied(1, 10)); err != nil {
				return err
			}
			err := q.InTx(t.Context(), func(q *db.Queries) error {
				if _, err := q.CopyAccounts(t.Context(), copied(11, 10)); err != nil {
					return err
				}
				return undo
			})
			if !errors.Is(err, undo) {
				return err
			}
			err = q.InTx(t.Context(), func(q *db.Queries) error {
				_, err := q.CopyAccounts(t.Context(), copied(5, 10))
				return err
			})
			if !errors.Is(err, postgres.ErrUnique) {
				t.Errorf("err = %v, want ErrUnique", err)
			}
			_, err = q.CopyAccounts(t.Context(), copied(31, 5))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := d.Count(t, "SELECT count(*) FROM accounts"); n != 15 {
			t.Errorf("%d accounts, want 15", n)
		}
	})

	t.Run("AfterTheEnd", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		var escaped *db.Queries
		if err := d.Queries.InTx(t.Context(), func(q *db.Queries) error { escaped = q; return nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := escaped.CopyAccounts(t.Context(), copied(1, 1)); !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("err = %v, want ErrTxClosed", err)
		}
	})

	t.Run("SourceFails", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		broken := errors.New("broken")
		reads := 0
		_, err := d.Router.CopyFrom(t.Context(), pgx.Identifier{"accounts"}, []string{"username", "email"},
			pgx.CopyFromFunc(func() ([]any, error) {
				if reads++; reads > 3 {
					return nil, broken
				}
				return []any{"user" + time.Duration(reads).String(), "x"}, nil
			}))
		if !errors.Is(err, broken) || reads != 4 {
			t.Errorf("err = %v after %d reads, want the source's own, and no second attempt", err, reads)
		}
		if n := d.Count(t, "SELECT count(*) FROM accounts"); n != 0 {
			t.Errorf("%d accounts, want none", n)
		}
	})

	// pgx would read such a source forever.
	t.Run("ContextEnds", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		reads := 0
		_, err := d.Router.CopyFrom(ctx, pgx.Identifier{"accounts"}, []string{"username", "email"},
			pgx.CopyFromFunc(func() ([]any, error) {
				if reads++; reads == 10 {
					cancel()
				}
				return []any{"user" + time.Duration(reads).String(), "x"}, nil
			}))
		if !errors.Is(err, context.Canceled) || reads > 10 {
			t.Errorf("err = %v after %d reads, want that of the context", err, reads)
		}
		if n := d.Count(t, "SELECT count(*) FROM accounts"); n != 0 {
			t.Errorf("%d accounts, want none", n)
		}
	})
}
