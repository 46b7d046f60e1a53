package postgres_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"quern/postgres"
	"quern/postgres/testdata"
)

// A COPY whose COMMIT fails has stored nothing, and its rows cannot be read again. It must
// not succeed.
func TestCopyFrom_LostAtCommit(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	d.Exec(t, `CREATE TABLE c (n int); CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '40001'; END $$;
	CREATE CONSTRAINT TRIGGER boom AFTER INSERT ON c DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION boom()`)
	n, err := d.Router.CopyFrom(t.Context(), pgx.Identifier{"c"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}, {2}}))
	if rows := d.Count(t, "SELECT count(*) FROM c"); err == nil && int(n) != rows {
		t.Errorf("CopyFrom returned %d rows and no error, but %d are stored", n, rows)
	}
}

// If the first statement cannot be prepared, BEGIN was never sent. The next statement must
// not commit outside the transaction.
func TestInTx_FirstStatementNotPrepared(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(ctx context.Context, tx postgres.DBTX) error{
		"unknown table": func(ctx context.Context, tx postgres.DBTX) error {
			_, err := tx.Exec(ctx, "SELECT * FROM nope")
			return err
		},
		"ended context": func(ctx context.Context, tx postgres.DBTX) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			_, err := tx.Exec(ctx, "SELECT 1")
			return err
		},
		"encoding": func(ctx context.Context, tx postgres.DBTX) error {
			_, err := tx.Exec(ctx, "SELECT $1::int", struct{}{})
			return err
		},
		"in a savepoint": func(ctx context.Context, tx postgres.DBTX) error {
			return postgres.InTx(ctx, tx, postgres.TxOptions{}, func(tx postgres.DBTX) error { _, err := tx.Exec(ctx, "SELECT $1::int", struct{}{}); return err })
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := testdata.New(t)
			d.Exec(t, "CREATE TABLE c (n int)")
			oops := errors.New("oops")
			err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				if err := first(t.Context(), tx); err == nil {
					t.Error("no error")
				}
				if _, err := tx.Exec(t.Context(), "INSERT INTO c VALUES (1)"); err != nil {
					return err
				}
				return oops
			})
			if n := d.Count(t, "SELECT count(*) FROM c"); n != 0 {
				t.Errorf("err %v, and %d rows of a transaction that rolled back", err, n)
			}
		})
	}
}

// A savepoint that was never set must not be rolled back to, because an earlier savepoint that
// is still open may have the same name.
func TestInTx_SavepointKeepsTheOneBefore(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	d.Exec(t, "CREATE TABLE c (n int)")
	for name, bad := range map[string]func(tx postgres.DBTX) error{
		"encoding":      func(tx postgres.DBTX) error { _, err := tx.Exec(t.Context(), "SELECT $1::int", struct{}{}); return err },
		"unknown table": func(tx postgres.DBTX) error { _, err := tx.Exec(t.Context(), "SELECT * FROM nope"); return err },
		"ended context": func(tx postgres.DBTX) error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := tx.Exec(ctx, "SELECT 1")
			return err
		},
	} {
		d.Exec(t, "TRUNCATE c")
		err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			if err := postgres.InTx(t.Context(), tx, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				_, err := tx.Exec(t.Context(), "INSERT INTO c VALUES (1)")
				return err
			}); err != nil {
				return err
			}
			if err := postgres.InTx(t.Context(), tx, postgres.TxOptions{}, bad); err == nil {
				t.Error("no error")
			}
			return nil
		})
		if n := d.Count(t, "SELECT count(*) FROM c"); err == nil && n != 1 {
			t.Errorf("%s: committed without error, and %d rows of 1", name, n)
		} else {
			t.Logf("%s: err %v, %d rows", name, err, n)
		}
	}
}

func TestInTx_SavepointsWithin(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	d.Exec(t, "CREATE TABLE c (n int)")
	insert := func(tx postgres.DBTX) error { _, err := tx.Exec(t.Context(), "INSERT INTO c VALUES (1)"); return err }
	err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		_ = postgres.InTx(t.Context(), tx, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			if err := insert(tx); err != nil {
				return err
			}
			if err := postgres.InTx(t.Context(), tx, postgres.TxOptions{}, insert); err != nil {
				return err
			}
			return errors.New("oops")
		})
		return insert(tx)
	})
	if n := d.Count(t, "SELECT count(*) FROM c"); err != nil || n != 1 {
		t.Errorf("err %v, %d rows", err, n)
	}
}

// A run that resolves a lost COMMIT holds a connection. If it waited for a second one, all
// such runs could deadlock.
func TestInTx_ResolvesOnOneConnection(t *testing.T) {
	t.Parallel()
	url := testdata.NewURL(t)
	// With any replica, the session queries the position.
	d := testdata.Open(t, postgres.Config{URL: url, ReplicaURLs: []string{url}, MaxConns: 1, QueryTimeout: 200 * time.Millisecond, AcquireTimeout: 2 * time.Second})
	d.Exec(t, `CREATE TABLE c (n int); CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.8); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON c DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)
	ctx, _ := postgres.WithSession(t.Context())
	ctx, cancel := context.WithTimeout(ctx, 12*time.Second)
	defer cancel()
	start := time.Now()
	runs := 0
	err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		runs++
		_, err := tx.Exec(ctx, "INSERT INTO c VALUES (1)")
		return err
	})
	if took := time.Since(start); took > 6*time.Second {
		t.Errorf("err %v after %d runs: it took %v, the whole deadline", err, runs, took)
	}
}

// A first attempt that is still running may commit later, so until it ends nothing is
// certain.
func TestInTx_SettlingWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 3, QueryTimeout: 600 * time.Millisecond})
	d.Exec(t, "CREATE TABLE c (n int); INSERT INTO c VALUES (0)")
	for range 5 { // prepares marker and commit
		if err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			_, err := tx.Exec(t.Context(), "UPDATE c SET n = 0")
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	stopped := 0
	// Not long, because no database can be created or dropped on the server while a backend
	// is stopped.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		if _, err := tx.Exec(ctx, "UPDATE c SET n = n + 1"); err != nil {
			return err
		}
		if stopped == 0 {
			if err := tx.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&stopped); err != nil {
				return err
			}
			if err := syscall.Kill(stopped, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	})
	_ = syscall.Kill(stopped, syscall.SIGCONT)
	eventually(t, "the first attempt is over", func() bool {
		return d.Count(t, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state <> 'idle'", stopped) == 0
	})
	if n := d.Count(t, "SELECT n FROM c"); err != nil && !errors.Is(err, postgres.ErrCommitUnknown) && n != 0 {
		t.Errorf("InTx returned that nothing was committed (%v), but n is %d", err, n)
	}
}

func TestConnect_SameReplicaTwice(t *testing.T) {
	t.Parallel()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("panic: %.120v", p)
		}
	}()
	url := testdata.NewURL(t)
	testdata.Open(t, postgres.Config{URL: url, ReplicaURLs: []string{url, url}, Observers: observers(prometheus.NewRegistry())})
}

func TestInTx_CommitOnADeadConnection(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{NoMarker: true}, func(tx postgres.DBTX) error {
		_, _ = tx.Exec(t.Context(), "SELECT pg_terminate_backend(pg_backend_pid())")
		return nil
	})
	if errors.Is(err, postgres.ErrCommitUnknown) {
		t.Errorf("unknown although no COMMIT was sent: %v", err)
	}
}
