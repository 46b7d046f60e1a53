package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/internal/db"
	"quern/internal/storetest"
	"quern/postgres"
)

// step is what an fn of a pipeline does.
type step = func(tx postgres.DBTX) error

// stmt is an fn that runs one statement.
func stmt(ctx context.Context, sql string, args ...any) step {
	return func(tx postgres.DBTX) error {
		_, err := tx.Exec(ctx, sql, args...)
		return err
	}
}

// recalls makes a Pipeline one round trip; the answers are not lost here.
func recalls(t *testing.T) postgres.TxOptions {
	return postgres.TxOptions{Recall: func(postgres.DBTX) error {
		t.Error("nothing was lost, and Recall was called")
		return nil
	}}
}

const insertC = "INSERT INTO c VALUES ($1)"

// newC returns a database with one empty table, on a pool of one connection, so
// that whatever does not come back is missed.
func newC(t *testing.T) *storetest.DB {
	t.Helper()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 1})
	d.Exec(t, "CREATE TABLE c (n int PRIMARY KEY)")
	return d
}

func TestPipeline_RoundTrips(t *testing.T) {
	t.Parallel()
	w, address := newWire(t, storetest.NewURL(t))
	// One, and one that is left to class default when the overview is read.
	d := storetest.Open(t, postgres.Config{URL: address, MaxConns: 2, MinConns: 1})
	ctx := t.Context()
	d.Exec(t, "CREATE TABLE c (n serial)")
	const write = "INSERT INTO c DEFAULT VALUES"
	read := func(q *db.Queries) error { _, err := q.GetOverview(ctx); return err }
	two := []step{stmt(ctx, write), stmt(ctx, write)}
	reads := []step{func(tx postgres.DBTX) error { return read(db.New(tx)) }, func(tx postgres.DBTX) error { return read(db.New(tx)) }}
	for _, c := range []struct {
		name          string
		trips         int64
		rows, markers int
		run           func() error
	}{
		{"Recall", 1, 2, 1, func() error { return postgres.Pipeline(ctx, d.Router, recalls(t), two...) }},
		{"NoMarker", 1, 2, 0, func() error { return postgres.Pipeline(ctx, d.Router, postgres.TxOptions{NoMarker: true}, two...) }},
		{"Plain", 2, 2, 1, func() error { return postgres.Pipeline(ctx, d.Router, postgres.TxOptions{}, two...) }},
		{"Reads", 1, 0, 0, func() error { return postgres.Pipeline(ctx, d.Router, postgres.TxOptions{}, reads...) }},
		{"ReadOnly", 1, 0, 0, func() error {
			return postgres.Pipeline(ctx, d.Router, postgres.TxOptions{ReadOnly: true}, stmt(ctx, "SELECT n FROM c"), stmt(ctx, "SELECT 1"))
		}},
		{"Nothing", 0, 0, 0, func() error { return postgres.Pipeline(ctx, d.Router, postgres.TxOptions{}) }},
		{"InTx", 2, 2, 1, func() error {
			return postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				return postgres.Pipeline(ctx, tx, recalls(t), two...)
			})
		}},
		{"InTxTwice", 3, 4, 1, func() error {
			return postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				return errors.Join(postgres.Pipeline(ctx, tx, recalls(t), two...), postgres.Pipeline(ctx, tx, recalls(t), two...))
			})
		}},
	} {
		if err := c.run(); err != nil { // prepares its statements
			t.Fatalf("%s: %v", c.name, err)
		}
		rows, markers := d.Count(t, "SELECT count(*) FROM c"), d.Count(t, "SELECT count(*) FROM commit_markers")
		before := w.trips.Load()
		if err := c.run(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if trips := w.trips.Load() - before; trips != c.trips {
			t.Errorf("%s: %d round trips, want %d", c.name, trips, c.trips)
		}
		rows, markers = d.Count(t, "SELECT count(*) FROM c")-rows, d.Count(t, "SELECT count(*) FROM commit_markers")-markers
		if rows != c.rows || markers != c.markers {
			t.Errorf("%s: %d rows and %d markers, want %d and %d", c.name, rows, markers, c.rows, c.markers)
		}
	}
}

func TestPipeline_Answers(t *testing.T) {
	t.Parallel()
	d := newC(t)
	ctx := t.Context()
	var order []string
	var one, many, left int
	series := func(name string, most int, into *int) step {
		return func(tx postgres.DBTX) error {
			rows, err := tx.Query(ctx, "SELECT generate_series(1, 5000)")
			if err != nil {
				return err
			}
			defer rows.Close()
			order = append(order, name)
			for *into < most && rows.Next() {
				*into++
			}
			return rows.Err()
		}
	}
	err := postgres.Pipeline(ctx, d.Router, recalls(t),
		func(tx postgres.DBTX) error {
			err := tx.QueryRow(ctx, "INSERT INTO c VALUES (7) RETURNING n").Scan(&one)
			order = append(order, "row")
			return err
		},
		series("all", 1<<20, &many),
		series("some", 3, &left), // and leaves the rest
		func(tx postgres.DBTX) error {
			tag, err := tx.Exec(ctx, "UPDATE c SET n = 8 WHERE n = 7")
			order = append(order, tag.String())
			return err
		},
		func(postgres.DBTX) error { return nil }, // asks for nothing
	)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"row", "all", "some", "UPDATE 1"}, order); diff != "" || one != 7 || many != 5000 || left != 3 {
		t.Errorf("row %d, %d and %d rows, order (-want +got):\n%s", one, many, left, diff)
	}
	if n := d.Count(t, "SELECT n FROM c"); n != 8 {
		t.Errorf("n = %d, want 8: each statement sees what the ones before it did", n)
	}
}

// What one fn does wrong undoes what the others did, if COMMIT is not with them.
func TestPipeline_Errors(t *testing.T) {
	t.Parallel()
	d := newC(t)
	d.Exec(t, "INSERT INTO c VALUES (1)")
	ctx := t.Context()
	oops := errors.New("oops")
	var skipped error
	// next shows what those behind an error get.
	next := func(tx postgres.DBTX) error {
		_, skipped = tx.Exec(ctx, insertC, 3)
		return nil
	}
	twice := func(tx postgres.DBTX) error {
		_ = stmt(ctx, insertC, 2)(tx)
		_ = stmt(ctx, insertC, 4)(tx)
		return nil
	}
	var leaked postgres.DBTX
	for _, c := range []struct {
		name      string
		fns       []step
		want      error
		text      string
		committed bool // when COMMIT goes along
	}{
		{"First", []step{stmt(ctx, insertC, 1), next}, postgres.ErrUnique, "constraint c_pkey", false},
		{"Second", []step{stmt(ctx, insertC, 2), stmt(ctx, insertC, 1), next}, postgres.ErrUnique, "constraint c_pkey", false},
		{"Swallowed", []step{func(tx postgres.DBTX) error { _ = stmt(ctx, insertC, 1)(tx); return nil }, next}, postgres.ErrUnique, "", false},
		{"Unprepared", []step{stmt(ctx, insertC, 2), stmt(ctx, "SELECT * FROM nope"), next}, nil, "nope", false},
		{"Unencoded", []step{stmt(ctx, insertC, 2), stmt(ctx, insertC, struct{}{}), next}, nil, "struct", false},
		{"BeforeItsStatement", []step{stmt(ctx, insertC, 2), func(postgres.DBTX) error { return oops }, next}, oops, "", false},
		{"BehindItsStatement", []step{func(tx postgres.DBTX) error { return errors.Join(stmt(ctx, insertC, 2)(tx), oops) }, next}, oops, "", true},
		{"NotFound", []step{stmt(ctx, insertC, 2), func(tx postgres.DBTX) error {
			_, err := db.New(tx).GetUser(ctx, 1)
			return err
		}, next}, postgres.ErrNotFound, "GetUser", true},
		{"TwoStatements", []step{twice, next}, nil, "this is its second", true},
		{"Copy", []step{stmt(ctx, insertC, 2), func(tx postgres.DBTX) error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"c"}, []string{"n"}, pgx.CopyFromRows([][]any{{9}}))
			return err
		}}, nil, "COPY cannot", false},
		{"Nested", []step{func(tx postgres.DBTX) error {
			return postgres.InTx(ctx, tx, postgres.TxOptions{}, stmt(ctx, insertC, 2))
		}}, nil, "cannot begin", false},
		{"UseAfterTheEnd", []step{func(postgres.DBTX) error {
			return stmt(ctx, insertC, 2)(leaked)
		}, func(tx postgres.DBTX) error { leaked = tx; return nil }}, pgx.ErrTxClosed, "", false},
		{"SwallowedPanic", []step{stmt(ctx, insertC, 2), func(postgres.DBTX) error { panic("oops") }, func(tx postgres.DBTX) error {
			defer func() { recover() }()
			return stmt(ctx, insertC, 3)(tx)
		}}, nil, "an error before it", false},
	} {
		for _, opts := range []postgres.TxOptions{{}, recalls(t), {NoMarker: true}} {
			skipped = nil
			err := postgres.Pipeline(ctx, d.Router, opts, c.fns...)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: err = %v, want %v %q", c.name, err, c.want, c.text)
			}
			goesAlong := opts.Recall != nil || opts.NoMarker
			stored := d.Count(t, "SELECT count(*) FROM c") > 1
			if want := c.committed && goesAlong; stored != want || errors.Is(err, postgres.ErrCommitted) != want {
				t.Errorf("%s: stored %v, err = %v; want both to say %v", c.name, stored, err, want)
			}
			if errors.Is(err, postgres.ErrCommitUnknown) {
				t.Errorf("%s: err = %v, and it is known", c.name, err)
			}
			if n := len(c.fns); skipped == nil && n > 2 && c.name != "SwallowedPanic" {
				t.Errorf("%s: the one behind the error was answered", c.name)
			}
			d.Exec(t, "DELETE FROM c WHERE n > 1")
		}
	}
	if err := postgres.Pipeline(ctx, d.Router.Pool(), postgres.TxOptions{}); err == nil || !strings.Contains(err.Error(), "use a Router") {
		t.Errorf("on a pool: err = %v", err)
	}
}

// A row that cannot be read hides what is behind it, whether it committed, too.
func TestPipeline_UnreadableRow(t *testing.T) {
	t.Parallel()
	d := newC(t)
	ctx := t.Context()
	bad := func(tx postgres.DBTX) error {
		var n time.Time
		return tx.QueryRow(ctx, "INSERT INTO c VALUES ($1) RETURNING n", 1).Scan(&n)
	}
	recalled := 0
	err := postgres.Pipeline(ctx, d.Router, postgres.TxOptions{Recall: func(tx postgres.DBTX) error {
		return tx.QueryRow(ctx, "SELECT count(*) FROM c").Scan(&recalled)
	}}, bad, stmt(ctx, insertC, 2))
	if err != nil || recalled != 2 {
		t.Errorf("err = %v, recalled %d rows, want 2", err, recalled)
	}
	d.Exec(t, "DELETE FROM c")
	err = postgres.Pipeline(ctx, d.Router, postgres.TxOptions{NoMarker: true}, bad)
	if !errors.Is(err, postgres.ErrCommitUnknown) {
		t.Errorf("without a marker: err = %v, want ErrCommitUnknown", err)
	}
	oops := errors.New("oops")
	d.Exec(t, "DELETE FROM c")
	err = postgres.Pipeline(ctx, d.Router, postgres.TxOptions{Recall: func(postgres.DBTX) error { return oops }}, bad)
	if n := d.Count(t, "SELECT count(*) FROM c"); !errors.Is(err, postgres.ErrCommitted) || !errors.Is(err, oops) || n != 1 {
		t.Errorf("err = %v and %d rows, want ErrCommitted and 1", err, n)
	}
}

// Whatever ends one fn ends all, and the transaction.
func TestPipeline_PanicAndGoexit(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(){
		"Panic":  func() { panic("oops") },
		"Goexit": runtime.Goexit,
	} {
		for _, when := range []string{"before", "behind", "in the middle", "when it is skipped"} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				d := newC(t)
				ctx := t.Context()
				ended := 0
				end := func(fn step) step {
					return func(tx postgres.DBTX) error {
						defer func() { ended++ }()
						return fn(tx)
					}
				}
				fns := []step{end(stmt(ctx, insertC, 1)), end(func(tx postgres.DBTX) error {
					if when == "before" {
						leave()
					}
					if when == "when it is skipped" {
						return stmt(ctx, insertC, 1)(tx)
					}
					rows, err := tx.Query(ctx, "INSERT INTO c SELECT generate_series(2, 4000) RETURNING n")
					if err == nil && rows.Next() && when == "in the middle" {
						leave()
					}
					rows.Close()
					leave()
					return err
				}), end(func(tx postgres.DBTX) error {
					err := stmt(ctx, insertC, -1)(tx)
					if when == "when it is skipped" {
						leave()
					}
					return err
				}), end(stmt(ctx, insertC, -2))}
				var all sync.WaitGroup
				returned := false
				var got any
				all.Go(func() {
					defer func() { got = recover() }()
					_ = postgres.Pipeline(ctx, d.Router, postgres.TxOptions{}, fns...)
					returned = true
				})
				all.Wait()
				if returned || name == "Panic" && got != "oops" {
					t.Errorf("returned %v, recovered %v", returned, got)
				}
				want := len(fns)
				if when == "before" {
					want = 3 // the first had not begun
				}
				if ended != want {
					t.Errorf("%d of %d ended", ended, want)
				}
				// The pool's one connection came back.
				if n := d.Count(t, "SELECT count(*) FROM c"); n != 0 {
					t.Errorf("%d rows stored", n)
				}
			})
		}
	}
}

func TestPipeline_Cancelled(t *testing.T) {
	t.Parallel()
	d := newC(t)
	for _, opts := range []postgres.TxOptions{{}, recalls(t), {NoMarker: true}, {ReadOnly: true}} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := postgres.Pipeline(ctx, d.Router, opts, stmt(t.Context(), "SELECT 1"))
		if !errors.Is(err, context.Canceled) || errors.Is(err, postgres.ErrCommitUnknown) {
			t.Errorf("before: err = %v, want Canceled and nothing else", err)
		}
		err = postgres.Pipeline(t.Context(), d.Router, opts, stmt(ctx, "SELECT 1"))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("of one statement: err = %v, want Canceled", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		write := stmt(ctx, insertC, 1)
		if opts.ReadOnly {
			write = stmt(ctx, "SELECT 1")
		}
		began := time.Now()
		err = postgres.Pipeline(ctx, d.Router, opts, write, stmt(ctx, "SELECT pg_sleep(60)"))
		if !errors.Is(err, context.Canceled) || time.Since(began) > patience/2 {
			t.Errorf("while: err = %v after %v, want Canceled", err, time.Since(began))
		}
		if errors.Is(err, postgres.ErrCommitUnknown) {
			t.Logf("the server did not answer in time: %v", err)
		}
		eventually(t, "the statement is cancelled", func() bool {
			return d.Count(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ~ 'pg_sleep' AND pid <> pg_backend_pid()") == 0
		})
		if n := d.Count(t, "SELECT count(*) FROM c"); n != 0 {
			t.Errorf("%d rows stored", n)
		}
	}
	// Its statements' time together is all that a pipeline has.
	slow := storetest.Open(t, postgres.Config{URL: d.URL, MaxConns: 1, QueryTimeout: 50 * time.Millisecond})
	err := onceSent(t.Context(), func() error {
		return postgres.Pipeline(t.Context(), slow.Router, recalls(t), stmt(t.Context(), "SELECT pg_sleep(60)"))
	})
	if !errors.Is(err, postgres.ErrTimeout) {
		t.Errorf("err = %v, want ErrTimeout", err)
	}
}

// A failure inside a transaction undoes the pipeline and no more.
func TestPipeline_Nested(t *testing.T) {
	t.Parallel()
	d := newC(t)
	ctx := t.Context()
	err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		if err := postgres.Pipeline(ctx, tx, postgres.TxOptions{}, stmt(ctx, insertC, 1), stmt(ctx, insertC, 2)); err != nil {
			return err
		}
		if err := postgres.Pipeline(ctx, tx, postgres.TxOptions{}, stmt(ctx, insertC, 3), stmt(ctx, insertC, 1)); !errors.Is(err, postgres.ErrUnique) {
			t.Errorf("err = %v, want ErrUnique", err)
		}
		return postgres.InTx(ctx, tx, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			return postgres.Pipeline(ctx, tx, postgres.TxOptions{}, stmt(ctx, insertC, 4), stmt(ctx, insertC, 5))
		})
	})
	if n := d.Count(t, "SELECT sum(n) FROM c"); err != nil || n != 1+2+4+5 {
		t.Errorf("err = %v, the sum is %d, want 12", err, n)
	}
	if n := d.Count(t, "SELECT count(*) FROM commit_markers"); n != 1 {
		t.Errorf("%d markers, want 1", n)
	}
}

func TestPipeline_Repeats(t *testing.T) {
	t.Parallel()

	t.Run("SerializationFailures", func(t *testing.T) {
		t.Parallel()
		d := newC(t)
		d.Exec(t, "CREATE SEQUENCE runs")
		const fails = "DO $$ BEGIN IF nextval('runs') < 3 THEN RAISE SQLSTATE '40001'; END IF; END $$"
		for n, opts := range []postgres.TxOptions{{}, recalls(t), {NoMarker: true}} {
			d.Exec(t, "ALTER SEQUENCE runs RESTART")
			err := postgres.Pipeline(t.Context(), d.Router, opts, stmt(t.Context(), insertC, n), stmt(t.Context(), fails))
			if rows := d.Count(t, "SELECT count(*) FROM c"); err != nil || rows != n+1 {
				t.Errorf("err = %v, %d rows, want %d", err, rows, n+1)
			}
		}
	})

	t.Run("AtCommit", func(t *testing.T) {
		t.Parallel()
		d := newC(t)
		d.Exec(t, `CREATE SEQUENCE runs; CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF nextval('runs') < 3 THEN RAISE SQLSTATE '40001'; END IF; RETURN NULL; END $$;
			CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON c DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fails()`)
		runs := 0
		err := postgres.Pipeline(t.Context(), d.Router, recalls(t), func(tx postgres.DBTX) error {
			runs++
			return stmt(t.Context(), insertC, 1)(tx)
		})
		if n := d.Count(t, "SELECT count(*) FROM c"); err != nil || runs != 3 || n != 1 {
			t.Errorf("err = %v, %d runs, %d rows; want one row at the third run", err, runs, n)
		}
	})

	t.Run("AfterAMigrationUnderPreparedStatements", func(t *testing.T) {
		t.Parallel()
		d := newC(t)
		read := []step{stmt(t.Context(), "SELECT 1"), stmt(t.Context(), "SELECT * FROM c")}
		for i := range 3 {
			if err := postgres.Pipeline(t.Context(), d.Router, recalls(t), read...); err != nil {
				t.Fatal(err)
			}
			d.Exec(t, fmt.Sprintf("ALTER TABLE c ADD COLUMN c%d int", i))
		}
	})

	t.Run("BrokenConnections", func(t *testing.T) {
		t.Parallel()
		d := newC(t)
		runs := 0
		err := postgres.Pipeline(t.Context(), d.Router, postgres.TxOptions{}, stmt(t.Context(), insertC, 1), func(tx postgres.DBTX) error {
			if runs++; runs == 3 {
				return stmt(t.Context(), insertC, 2)(tx)
			}
			return stmt(t.Context(), "SELECT pg_terminate_backend(pg_backend_pid())")(tx)
		})
		if n := d.Count(t, "SELECT count(*) FROM c"); err != nil || runs != 3 || n != 2 {
			t.Errorf("err = %v, %d runs, %d rows; want two rows at the third run", err, runs, n)
		}
	})

	// The answer is lost before COMMIT was reached: under the same marker the
	// next run finds that nothing had committed.
	t.Run("BrokenWithTheCommit", func(t *testing.T) {
		t.Parallel()
		d := newC(t)
		runs := 0
		err := postgres.Pipeline(t.Context(), d.Router, recalls(t), stmt(t.Context(), insertC, 1), func(tx postgres.DBTX) error {
			if runs++; runs == 3 {
				return stmt(t.Context(), insertC, 2)(tx)
			}
			return stmt(t.Context(), "SELECT pg_terminate_backend(pg_backend_pid())")(tx)
		})
		if n := d.Count(t, "SELECT count(*) FROM c"); err != nil || runs != 3 || n != 2 {
			t.Errorf("err = %v, %d runs, %d rows; want two rows at the third run", err, runs, n)
		}
		if n := d.Count(t, "SELECT count(*) FROM commit_markers"); n != 1 {
			t.Errorf("%d markers, want 1", n)
		}
		err = postgres.Pipeline(t.Context(), d.Router, postgres.TxOptions{NoMarker: true},
			stmt(t.Context(), insertC, 3), stmt(t.Context(), "SELECT pg_terminate_backend(pg_backend_pid())"))
		if !errors.Is(err, postgres.ErrCommitUnknown) {
			t.Errorf("without a marker: err = %v, want ErrCommitUnknown", err)
		}
	})
}

func TestPipeline_Session(t *testing.T) {
	t.Parallel()
	url := storetest.NewURL(t)
	// Any replica makes the session ask for the position.
	d := storetest.Open(t, postgres.Config{URL: url, ReplicaURLs: []string{url}})
	d.Exec(t, "CREATE TABLE c (n int)")
	for _, opts := range []postgres.TxOptions{{}, recalls(t), {NoMarker: true}} {
		ctx, session := postgres.WithSession(t.Context())
		if err := postgres.Pipeline(ctx, d.Router, opts, stmt(ctx, insertC, 1), stmt(ctx, insertC, 2)); err != nil {
			t.Fatal(err)
		}
		end := uint64(d.Count(t, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"))
		if at := positionOf(t, session.Token()); at == 0 || at > end {
			t.Errorf("the session has seen %d, and the log's end is %d", at, end)
		}
	}
	// It sees what was written by another's transaction.
	ctx, session := postgres.WithSession(t.Context())
	if err := postgres.Pipeline(ctx, d.Router, postgres.TxOptions{ReadOnly: true, Replica: true}, stmt(ctx, "SELECT n FROM c")); err != nil || session.Token() == "" {
		t.Errorf("err = %v, token %q", err, session.Token())
	}
}

// TestSession_RolledBack reads in a transaction that is rolled back. The session
// has seen that, so that a replica which lacks it must not answer the next read.
func TestSession_RolledBack(t *testing.T) {
	t.Parallel()
	url := storetest.NewURL(t)
	d := storetest.Open(t, postgres.Config{URL: url, ReplicaURLs: []string{url}})
	ctx, session := postgres.WithSession(t.Context())
	conflict := errors.New("another version")
	read := func(tx postgres.DBTX) error { return errors.Join(stmt(ctx, "SELECT 1")(tx), conflict) }
	if err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, read); !errors.Is(err, conflict) {
		t.Fatal(err)
	}
	if got, want := session.Token(), blindToken(0, 0, 0); got != want {
		t.Errorf("token %q, want the blind one, %q", got, want)
	}
	if err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, stmt(ctx, "SELECT 1")); err != nil || positionOf(t, session.Token()) == 0 {
		t.Errorf("token %q after a transaction that committed; err = %v", session.Token(), err)
	}
}

// Statistics, logs and metrics know each statement of a pipeline by its name.
func TestPipeline_Observed(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u := d.CreateUser(t)
	ctx, stats := postgres.WithStats(t.Context())
	get := func(q *db.Queries) error { _, err := q.GetUser(ctx, u.ID); return err }
	if err := d.Queries.Pipeline(ctx, postgres.TxOptions{}, get, get, func(q *db.Queries) error { _, err := q.GetOverview(ctx); return err }); err != nil {
		t.Fatal(err)
	}
	if n, _ := stats.Total(); n != 4 {
		t.Errorf("%d statements, want three and the COMMIT", n)
	}
	if name, n := stats.Most(); name != "GetUser" || n != 2 {
		t.Errorf("most often %s, %d times", name, n)
	}
}
