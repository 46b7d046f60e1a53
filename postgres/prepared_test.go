package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
	"quern/postgres/testdata"
)

// preparedC returns newC's database, and the number of statements that batches have prepared
// on its only connection.
func preparedC(t *testing.T) (d *testdata.DB, count func() int) {
	d = newC(t)
	return d, func() int {
		t.Helper()
		return d.Count(t, "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'quern_%'")
	}
}

// A connection keeps a limited number of statements, and deallocates those that it drops.
func TestPreparedOfBatches_Limit(t *testing.T) {
	t.Parallel()
	d, count := preparedC(t)
	most := 0
	for n := range 1_100 {
		queued := (*postgres.Queued[int])(nil)
		err := postgres.Pipeline(t.Context(), d.Router, postgres.TxOptions{}, func(b *postgres.Batch) error {
			queued = queueOne(b, fmt.Sprintf("SELECT %d + $1::int", n), 1)
			return nil
		})
		if got, failed := queued.Get(); err != nil || failed != nil || got != n+1 {
			t.Fatalf("%d: got %d, err = %v, %v", n, got, err, failed)
		}
		if n%100 == 0 {
			most = max(most, count())
		}
	}
	if most < 100 || most > 600 {
		t.Errorf("up to %d statements are prepared, want several hundred and a limit", most)
	}
}

// A violated constraint shows that the statement is valid, so it stays prepared.
func TestPreparedOfBatches_Conflict(t *testing.T) {
	t.Parallel()
	d, count := preparedC(t)
	insert := func(n int) error {
		return postgres.Pipeline(t.Context(), d.Router, readsBack(t), batchOf(queueSQL(insertC, n)))
	}
	since := func() (at time.Time) {
		t.Helper()
		err := d.Router.QueryRow(t.Context(), "SELECT max(prepare_time) FROM pg_prepared_statements WHERE name LIKE 'quern_%'").Scan(&at)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	if err := insert(1); err != nil {
		t.Fatal(err)
	}
	n, at := count(), since()
	if err := insert(1); !errors.Is(err, postgres.ErrUnique) {
		t.Fatalf("err = %v, want ErrUnique", err)
	}
	if err := insert(2); err != nil {
		t.Fatal(err)
	}
	if count() != n || !since().Equal(at) {
		t.Errorf("%d statements, the last one prepared at %v, want %d and %v", count(), since(), n, at)
	}
}

// Statements that are deallocated without the knowledge of the client are prepared again
// after one error. Nothing was executed.
func TestPreparedOfBatches_Deallocated(t *testing.T) {
	t.Parallel()
	d, count := preparedC(t)
	for n := range 3 {
		err := postgres.Pipeline(t.Context(), d.Router, readsBack(t), batchOf(queueSQL(insertC, n)))
		if err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		d.Exec(t, "DEALLOCATE ALL")
		if postgres.Pipeline(t.Context(), d.Router, readsBack(t), batchOf(queueSQL(insertC, 10+n))) == nil {
			t.Fatalf("%d: no error", n)
		}
	}
	if n := d.Count(t, "SELECT count(*) FROM c WHERE n < 10"); n != 3 || count() != 0 {
		t.Errorf("%d rows are stored, %d statements prepared, want 3 and none", n, count())
	}
	if n := d.Count(t, "SELECT count(*) FROM c"); n != 3 {
		t.Errorf("%d rows are stored, want 3", n)
	}
}

// A migration that changes the columns of a statement makes the transaction run again.
func TestPreparedOfBatches_Migration(t *testing.T) {
	t.Parallel()
	d, _ := preparedC(t)
	read := func() (list []any, err error) {
		err = postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			rows, err := tx.Query(t.Context(), "INSERT INTO c DEFAULT VALUES RETURNING *")
			if err != nil {
				return err
			}
			list, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
			return err
		})
		return list, err
	}
	d.Exec(t, "ALTER TABLE c ALTER n SET DEFAULT 7")
	for n := 1; n <= 3; n++ {
		if list, err := read(); err != nil || len(list) != n || list[0] != int32(7) {
			t.Fatalf("got %v, err = %v, want %d columns", list, err, n)
		}
		d.Exec(t, fmt.Sprintf("TRUNCATE c; ALTER TABLE c ADD column_%d text", n))
	}
}

// The first statement of a transaction, which is sent with BEGIN, may use what pgx offers.
func TestTx_FirstStatement(t *testing.T) {
	t.Parallel()
	d := newC(t)
	type pair struct {
		A int32
		B []byte
	}
	first := func(name string, f func(ctx context.Context, tx postgres.DBTX) error) {
		t.Helper()
		err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error { return f(t.Context(), tx) })
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	first("NamedArgs", func(ctx context.Context, tx postgres.DBTX) error {
		var n int
		err := tx.QueryRow(ctx, "SELECT @b::int - @a::int", pgx.NamedArgs{"a": 2, "b": 5}).Scan(&n)
		if n != 3 {
			t.Errorf("n = %d, want 3", n)
		}
		return err
	})
	first("Struct", func(ctx context.Context, tx postgres.DBTX) error {
		rows, err := tx.Query(ctx, "SELECT 1 AS a, NULL::bytea AS b UNION ALL SELECT 2, 'x' ORDER BY 1")
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByName[pair])
		if err == nil && (len(list) != 2 || list[0].A != 1 || list[0].B != nil || string(list[1].B) != "x") {
			t.Errorf("got %v", list)
		}
		if tag := rows.CommandTag(); tag.RowsAffected() != 2 {
			t.Errorf("tag = %v after the last row", tag)
		}
		return err
	})
	first("Unread", func(ctx context.Context, tx postgres.DBTX) error {
		rows, err := tx.Query(ctx, "SELECT generate_series(1, 100000)")
		if err != nil {
			return err
		}
		if !rows.Next() {
			t.Error("no row")
		}
		// As outside of a transaction, the connection is in use until the rows are closed.
		if _, err := tx.Exec(ctx, "SELECT $1::int", 1); err == nil {
			t.Error("another statement ran while rows were left to be read")
		}
		rows.Close()
		_, err = tx.Exec(ctx, "SELECT $1::int", 1)
		return err
	})
	first("WrongType", func(ctx context.Context, tx postgres.DBTX) error {
		var n int
		if err := tx.QueryRow(ctx, "SELECT 'a text'").Scan(&n); err == nil {
			t.Error("a text was read as a number")
		}
		_, err := tx.Exec(ctx, "SELECT $1::int", 1)
		return err
	})
}
