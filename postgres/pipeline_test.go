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

	"github.com/jackc/pgx/v5"

	"quern/postgres"
	"quern/postgres/testdata"
)

// queuing queues some of the statements of a batch.
type queuing = func(b *postgres.Batch)

// queueSQL queues one statement without rows.
func queueSQL(sql string, args ...any) queuing {
	return func(b *postgres.Batch) { postgres.QueueExec(b, sql, args...) }
}

func ofInt(n *int) []any { return []any{n} }

func queueOne(b *postgres.Batch, sql string, args ...any) *postgres.Queued[int] {
	return postgres.QueueOne(b, ofInt, sql, args...)
}

func queueMany(b *postgres.Batch, sql string, args ...any) *postgres.QueuedRows[int] {
	return postgres.QueueMany(b, ofInt, sql, args...)
}

// batchOf returns a function for Pipeline and QueueWithCommit.
func batchOf(all ...queuing) func(b *postgres.Batch) error {
	return func(b *postgres.Batch) error {
		for _, queue := range all {
			queue(b)
		}
		return nil
	}
}

// step is one step of a transaction's function.
type step = func(tx postgres.DBTX) error

// stmt is a step that runs one statement.
func stmt(ctx context.Context, sql string, args ...any) step {
	return func(tx postgres.DBTX) error {
		_, err := tx.Exec(ctx, sql, args...)
		return err
	}
}

// readsBack makes a Pipeline one round trip. The answers are not lost here.
func readsBack(t *testing.T) postgres.TxOptions {
	return postgres.TxOptions{ReadBack: func(postgres.DBTX) error {
		t.Error("ReadBack was called although nothing was lost")
		return nil
	}}
}

const insertC = "INSERT INTO c VALUES ($1)"

// newC returns a database with one empty table. The pool has one connection, so a
// connection that is not released is noticed.
func newC(t *testing.T) *testdata.DB {
	t.Helper()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 1})
	d.Exec(t, "CREATE TABLE c (n int PRIMARY KEY)")
	return d
}

func TestPipeline_RoundTrips(t *testing.T) {
	t.Parallel()
	w, address := newWire(t, testdata.NewURL(t))
	// One connection is for the pipeline. The other one is reserved for class default when the
	// overview is read.
	d := testdata.Open(t, postgres.Config{URL: address, MaxConns: 2, MinConns: 1})
	ctx := t.Context()
	d.Exec(t, "CREATE TABLE c (n serial)")
	const write = "INSERT INTO c DEFAULT VALUES"
	two := batchOf(queueSQL(write), queueSQL(write))
	read := func(b *postgres.Batch) { d.Queries.QueueGetOverview(b) }
	reads := batchOf(read, read)
	for _, c := range []struct {
		name          string
		trips         int64
		rows, markers int
		run           func() error
	}{
		{"ReadBack", 1, 2, 1, func() error { return postgres.Pipeline(ctx, d.Router, readsBack(t), two) }},
		{"NoMarker", 1, 2, 0, func() error { return postgres.Pipeline(ctx, d.Router, postgres.TxOptions{NoMarker: true}, two) }},
		{"Plain", 2, 2, 1, func() error { return postgres.Pipeline(ctx, d.Router, postgres.TxOptions{}, two) }},
		{"Reads", 1, 0, 0, func() error { return postgres.Pipeline(ctx, d.Router, postgres.TxOptions{}, reads) }},
		{"ReadOnly", 1, 0, 0, func() error {
			return postgres.Pipeline(ctx, d.Router, postgres.TxOptions{ReadOnly: true}, batchOf(queueSQL("SELECT n FROM c"), queueSQL("SELECT 1")))
		}},
		{"Nothing", 0, 0, 0, func() error { return postgres.Pipeline(ctx, d.Router, postgres.TxOptions{}, batchOf()) }},
		{"InTx", 2, 2, 1, func() error {
			return postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				return postgres.Pipeline(ctx, tx, readsBack(t), two)
			})
		}},
		{"InTxTwice", 3, 4, 1, func() error {
			return postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				return errors.Join(postgres.Pipeline(ctx, tx, readsBack(t), two), postgres.Pipeline(ctx, tx, readsBack(t), two))
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
	type point struct{ x, y int }
	xy := func(p *point) []any { return []any{&p.x, &p.y} }
	var one *postgres.Queued[int]
	var all, none *postgres.QueuedRows[int]
	var pointer *postgres.Queued[*point]
	var pointers *postgres.QueuedRows[*point]
	var updated *postgres.Queued[int64]
	var each []int
	err := postgres.Pipeline(ctx, d.Router, readsBack(t), func(b *postgres.Batch) error {
		one = queueOne(b, "INSERT INTO c VALUES (7) RETURNING n")
		all = queueMany(b, "SELECT generate_series(1, 5000)")
		queueMany(b, "SELECT generate_series(1, 300)").Each(func(n int) error { each = append(each, n); return nil })
		none = queueMany(b, "SELECT n FROM c WHERE n < 0")
		pointer = postgres.QueueOnePointer(b, xy, "SELECT n, n + 1 FROM c")
		pointers = postgres.QueueManyPointers(b, xy, "SELECT n, n + 1 FROM generate_series(1, 200) AS n")
		updated = postgres.QueueExec(b, "UPDATE c SET n = 8 WHERE n = 7")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n, err1 := one.Get()
	list, err2 := all.Get()
	empty, err3 := none.Get()
	p, err4 := pointer.Get()
	ps, err5 := pointers.Get()
	rows, err6 := updated.Get()
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		t.Fatal(err)
	}
	if n != 7 || *p != (point{7, 8}) || rows != 1 || empty == nil || len(empty) != 0 {
		t.Errorf("row %d, point %v, %d updated, none %v", n, *p, rows, empty)
	}
	if len(list) != 5000 || list[4999] != 5000 || len(each) != 300 || each[299] != 300 {
		t.Errorf("%d rows, and %d one by one", len(list), len(each))
	}
	for i, p := range ps {
		if *p != (point{i + 1, i + 2}) {
			t.Fatalf("point %d is %v", i, *p)
		}
	}
	if n := d.Count(t, "SELECT n FROM c"); n != 8 || len(ps) != 200 {
		t.Errorf("n = %d, %d points, want 8 and 200: each statement sees what the ones before it did", n, len(ps))
	}
}

// An error of one statement rolls back the others if COMMIT was not sent with them.
func TestPipeline_Errors(t *testing.T) {
	t.Parallel()
	d := newC(t)
	d.Exec(t, "INSERT INTO c VALUES (1)")
	ctx := t.Context()
	oops := errors.New("oops")
	var before, after *postgres.Queued[int64]
	first := func(b *postgres.Batch) { before = postgres.QueueExec(b, insertC, 2) }
	next := func(b *postgres.Batch) { after = postgres.QueueExec(b, insertC, 3) }
	for _, c := range []struct {
		name      string
		fn        func(b *postgres.Batch) error
		want      error
		text      string
		committed bool // if COMMIT is sent with the statements
	}{
		{"First", batchOf(queueSQL(insertC, 1), next), postgres.ErrUnique, "constraint c_pkey", false},
		{"Second", batchOf(first, queueSQL(insertC, 1), next), postgres.ErrUnique, "constraint c_pkey", false},
		{"Unprepared", batchOf(first, queueSQL("SELECT * FROM nope"), next), nil, "nope", false},
		{"Unencoded", batchOf(first, queueSQL(insertC, struct{}{}), next), nil, "struct", false},
		{"OfTheFunction", func(b *postgres.Batch) error { return errors.Join(batchOf(first, next)(b), oops) }, oops, "", false},
		{"OfARow", batchOf(first, func(b *postgres.Batch) {
			queueMany(b, "SELECT generate_series(1, 3)").Each(func(n int) error {
				if n == 2 {
					return oops
				}
				return nil
			})
		}, next), oops, "", true},
		{"NotFound", batchOf(first, func(b *postgres.Batch) { d.Queries.QueueGetAccount(b, 1) }, next), postgres.ErrNotFound, "GetAccount", true},
	} {
		for _, opts := range []postgres.TxOptions{{}, readsBack(t), {NoMarker: true}} {
			before, after = nil, nil
			err := postgres.Pipeline(ctx, d.Router, opts, c.fn)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: err = %v, want %v %q", c.name, err, c.want, c.text)
			}
			goesAlong := opts.ReadBack != nil || opts.NoMarker
			stored := d.Count(t, "SELECT count(*) FROM c") > 1
			committed := c.committed && goesAlong
			if stored != committed || errors.Is(err, postgres.ErrCommitted) != committed {
				t.Errorf("%s: stored %v, err = %v; want both to say %v", c.name, stored, err, committed)
			}
			if errors.Is(err, postgres.ErrCommitUnknown) {
				t.Errorf("%s: err = %v, although the outcome is known", c.name, err)
			}
			if _, skipped := after.Get(); skipped == nil {
				t.Errorf("%s: the statement after the failed one has a result", c.name)
			}
			if before != nil {
				// A statement that was rolled back has no result, although it was answered.
				n, got := before.Get()
				if committed && (n != 1 || got != nil) || !committed && got != err {
					t.Errorf("%s: the statement before the failed one: %d, %v", c.name, n, got)
				}
			}
			d.Exec(t, "DELETE FROM c WHERE n > 1")
		}
	}
	if err := postgres.Pipeline(ctx, d.Router.Pool(), postgres.TxOptions{}, batchOf()); err == nil || !strings.Contains(err.Error(), "use a Router") {
		t.Errorf("on a pool: err = %v", err)
	}
}

// Misuse of a batch is an error with a clear message.
func TestPipeline_Misuse(t *testing.T) {
	t.Parallel()
	d := newC(t)
	ctx := t.Context()
	var leaked *postgres.Batch
	var early error
	err := postgres.Pipeline(ctx, d.Router, postgres.TxOptions{}, func(b *postgres.Batch) error {
		leaked = b
		n := queueOne(b, "SELECT 1")
		queueMany(b, "SELECT 2").Each(func(int) error {
			_, err := n.Get() // it was answered, but may still be rolled back
			early = errors.Join(early, err)
			return nil
		})
		_, early = n.Get()
		return nil
	})
	if err != nil || early == nil || strings.Count(early.Error(), "read it after Pipeline has returned") != 2 {
		t.Errorf("err = %v, and too early: %v", err, early)
	}
	late := postgres.QueueExec(leaked, insertC, 1)
	if _, err := late.Get(); !errors.Is(err, pgx.ErrTxClosed) || d.Count(t, "SELECT count(*) FROM c") != 0 {
		t.Errorf("queued after the end: err = %v, want ErrTxClosed", err)
	}
	for _, opts := range []postgres.TxOptions{{}, readsBack(t), {ReadOnly: true}} {
		if err := postgres.Pipeline(ctx, d.Router, opts, batchOf()); err != nil {
			t.Errorf("an empty batch: %v", err)
		}
	}
	// A run that is repeated leaves nothing behind.
	d.Exec(t, "CREATE SEQUENCE runs")
	var runs []*postgres.Queued[int]
	err = postgres.Pipeline(ctx, d.Router, postgres.TxOptions{}, func(b *postgres.Batch) error {
		runs = append(runs, queueOne(b, "SELECT nextval('runs')"))
		if len(runs) < 2 {
			postgres.QueueExec(b, "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
		}
		return nil
	})
	if err != nil || len(runs) != 2 {
		t.Fatalf("err = %v after %d runs", err, len(runs))
	}
	if n, err := runs[0].Get(); err == nil || !strings.Contains(err.Error(), "was repeated") {
		t.Errorf("the first run: %d, %v", n, err)
	}
	if n, err := runs[1].Get(); err != nil || n != 2 {
		t.Errorf("the second run: %d, %v", n, err)
	}
}

// If a row cannot be read, the results after it cannot be read either, including that of
// COMMIT.
func TestPipeline_UnreadableRow(t *testing.T) {
	t.Parallel()
	d := newC(t)
	ctx := t.Context()
	var lost *postgres.Queued[time.Time]
	var first, second *postgres.Queued[int64]
	bad := func(b *postgres.Batch) {
		lost = postgres.QueueOne(b, func(n *time.Time) []any { return []any{n} }, "INSERT INTO c VALUES ($1) RETURNING n", 1)
	}
	err := postgres.Pipeline(ctx, d.Router, postgres.TxOptions{ReadBack: func(tx postgres.DBTX) error {
		recalled := 0
		err := tx.QueryRow(ctx, "SELECT count(*) FROM c").Scan(&recalled)
		second.Set(int64(recalled))
		return err
	}}, batchOf(
		func(b *postgres.Batch) { first = postgres.QueueExec(b, insertC, 3) }, bad,
		func(b *postgres.Batch) { second = postgres.QueueExec(b, insertC, 2) },
	))
	if n, got := second.Get(); err != nil || got != nil || n != 3 {
		t.Errorf("err = %v, recalled %d rows, %v; want 3", err, n, got)
	}
	// A result that was not read back is lost, even if its answer had arrived.
	_, got := lost.Get()
	if n, err := first.Get(); got == nil || err == nil || !strings.Contains(err.Error(), "read it back in TxOptions.ReadBack") {
		t.Errorf("not read back: %d, %v and %v", n, err, got)
	}
	d.Exec(t, "DELETE FROM c")
	err = postgres.Pipeline(ctx, d.Router, postgres.TxOptions{NoMarker: true}, batchOf(bad))
	if _, got := lost.Get(); !errors.Is(err, postgres.ErrCommitUnknown) || !errors.Is(got, postgres.ErrCommitUnknown) {
		t.Errorf("without a marker: err = %v and %v, want ErrCommitUnknown", err, got)
	}
	oops := errors.New("oops")
	d.Exec(t, "DELETE FROM c")
	err = postgres.Pipeline(ctx, d.Router, postgres.TxOptions{ReadBack: func(postgres.DBTX) error { return oops }}, batchOf(bad))
	if n := d.Count(t, "SELECT count(*) FROM c"); !errors.Is(err, postgres.ErrCommitted) || !errors.Is(err, oops) || n != 1 {
		t.Errorf("err = %v and %d rows, want ErrCommitted and 1", err, n)
	}
}

// If the function or the callback of a row ends in any way, the transaction ends, too.
func TestPipeline_PanicAndGoexit(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(){
		"Panic":  func() { panic("oops") },
		"Goexit": runtime.Goexit,
	} {
		for _, when := range []string{"before", "in the middle"} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				d := newC(t)
				ctx := t.Context()
				var all sync.WaitGroup
				returned := false
				var got any
				all.Go(func() {
					defer func() { got = recover() }()
					_ = postgres.Pipeline(ctx, d.Router, postgres.TxOptions{}, func(b *postgres.Batch) error {
						postgres.QueueExec(b, insertC, 1)
						if when == "before" {
							leave()
						}
						queueMany(b, "INSERT INTO c SELECT generate_series(2, 4000) RETURNING n").Each(func(int) error { leave(); return nil })
						postgres.QueueExec(b, insertC, -1)
						return nil
					})
					returned = true
				})
				all.Wait()
				if returned || name == "Panic" && got != "oops" {
					t.Errorf("returned %v, recovered %v", returned, got)
				}
				// The pool's only connection was released.
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
	for _, opts := range []postgres.TxOptions{{}, readsBack(t), {NoMarker: true}, {ReadOnly: true}} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := postgres.Pipeline(ctx, d.Router, opts, batchOf(queueSQL("SELECT 1")))
		if !errors.Is(err, context.Canceled) || errors.Is(err, postgres.ErrCommitUnknown) {
			t.Errorf("before: err = %v, want Canceled and nothing else", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		write := queueSQL(insertC, 1)
		if opts.ReadOnly {
			write = queueSQL("SELECT 1")
		}
		began := time.Now()
		err = postgres.Pipeline(ctx, d.Router, opts, batchOf(write, queueSQL("SELECT pg_sleep(60)")))
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
	// A pipeline has the sum of its statements' timeouts.
	slow := testdata.Open(t, postgres.Config{URL: d.URL, MaxConns: 1, QueryTimeout: 50 * time.Millisecond})
	err := onceSent(t.Context(), func() error {
		return postgres.Pipeline(t.Context(), slow.Router, readsBack(t), batchOf(queueSQL("SELECT pg_sleep(60)")))
	})
	if !errors.Is(err, postgres.ErrTimeout) {
		t.Errorf("err = %v, want ErrTimeout", err)
	}
}

// A failure inside a transaction rolls back the pipeline only.
func TestPipeline_Nested(t *testing.T) {
	t.Parallel()
	d := newC(t)
	ctx := t.Context()
	err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		if err := postgres.Pipeline(ctx, tx, postgres.TxOptions{}, batchOf(queueSQL(insertC, 1), queueSQL(insertC, 2))); err != nil {
			return err
		}
		if err := postgres.Pipeline(ctx, tx, postgres.TxOptions{}, batchOf(queueSQL(insertC, 3), queueSQL(insertC, 1))); !errors.Is(err, postgres.ErrUnique) {
			t.Errorf("err = %v, want ErrUnique", err)
		}
		return postgres.InTx(ctx, tx, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			return postgres.Pipeline(ctx, tx, postgres.TxOptions{}, batchOf(queueSQL(insertC, 4), queueSQL(insertC, 5)))
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
		for n, opts := range []postgres.TxOptions{{}, readsBack(t), {NoMarker: true}} {
			d.Exec(t, "ALTER SEQUENCE runs RESTART")
			err := postgres.Pipeline(t.Context(), d.Router, opts, batchOf(queueSQL(insertC, n), queueSQL(fails)))
			if rows := d.Count(t, "SELECT count(*) FROM c"); err != nil || rows != n+1 {
				t.Errorf("err = %v, %d rows, want %d", err, rows, n+1)
			}
		}
	})

	t.Run("QueueWithCommit", func(t *testing.T) {
		t.Parallel()
		d := newC(t)
		d.Exec(t, `CREATE SEQUENCE runs; CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF nextval('runs') < 3 THEN RAISE SQLSTATE '40001'; END IF; RETURN NULL; END $$;
			CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON c DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fails()`)
		runs := 0
		err := postgres.Pipeline(t.Context(), d.Router, readsBack(t), func(b *postgres.Batch) error {
			runs++
			postgres.QueueExec(b, insertC, 1)
			return nil
		})
		if n := d.Count(t, "SELECT count(*) FROM c"); err != nil || runs != 3 || n != 1 {
			t.Errorf("err = %v, %d runs, %d rows; want one row at the third run", err, runs, n)
		}
	})

	t.Run("AfterAMigrationUnderPreparedStatements", func(t *testing.T) {
		t.Parallel()
		d := newC(t)
		read := batchOf(queueSQL("SELECT 1"), queueSQL("SELECT * FROM c"))
		for i := range 3 {
			if err := postgres.Pipeline(t.Context(), d.Router, readsBack(t), read); err != nil {
				t.Fatal(err)
			}
			d.Exec(t, fmt.Sprintf("ALTER TABLE c ADD COLUMN c%d int", i))
		}
	})

	t.Run("BrokenConnections", func(t *testing.T) {
		t.Parallel()
		d := newC(t)
		runs := 0
		err := postgres.Pipeline(t.Context(), d.Router, postgres.TxOptions{}, batchOf(queueSQL(insertC, 1), func(b *postgres.Batch) {
			second := queueSQL("SELECT pg_terminate_backend(pg_backend_pid())")
			if runs++; runs == 3 {
				second = queueSQL(insertC, 2)
			}
			second(b)
		}))
		if n := d.Count(t, "SELECT count(*) FROM c"); err != nil || runs != 3 || n != 2 {
			t.Errorf("err = %v, %d runs, %d rows; want two rows at the third run", err, runs, n)
		}
	})

	// The answer is lost before COMMIT was reached. Under the same marker, the next run
	// finds that the first one has not committed.
	t.Run("BrokenWithTheCommit", func(t *testing.T) {
		t.Parallel()
		d := newC(t)
		runs := 0
		err := postgres.Pipeline(t.Context(), d.Router, readsBack(t), batchOf(queueSQL(insertC, 1), func(b *postgres.Batch) {
			second := queueSQL("SELECT pg_terminate_backend(pg_backend_pid())")
			if runs++; runs == 3 {
				second = queueSQL(insertC, 2)
			}
			second(b)
		}))
		if n := d.Count(t, "SELECT count(*) FROM c"); err != nil || runs != 3 || n != 2 {
			t.Errorf("err = %v, %d runs, %d rows; want two rows at the third run", err, runs, n)
		}
		if n := d.Count(t, "SELECT count(*) FROM commit_markers"); n != 1 {
			t.Errorf("%d markers, want 1", n)
		}
		err = postgres.Pipeline(t.Context(), d.Router, postgres.TxOptions{NoMarker: true},
			batchOf(queueSQL(insertC, 3), queueSQL("SELECT pg_terminate_backend(pg_backend_pid())")))
		if !errors.Is(err, postgres.ErrCommitUnknown) {
			t.Errorf("without a marker: err = %v, want ErrCommitUnknown", err)
		}
	})
}

func TestPipeline_Session(t *testing.T) {
	t.Parallel()
	url := testdata.NewURL(t)
	// With any replica, the session queries the position.
	d := testdata.Open(t, postgres.Config{URL: url, ReplicaURLs: []string{url}})
	d.Exec(t, "CREATE TABLE c (n int)")
	for _, opts := range []postgres.TxOptions{{}, readsBack(t), {NoMarker: true}} {
		ctx, session := postgres.WithSession(t.Context())
		if err := postgres.Pipeline(ctx, d.Router, opts, batchOf(queueSQL(insertC, 1), queueSQL(insertC, 2))); err != nil {
			t.Fatal(err)
		}
		end := uint64(d.Count(t, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"))
		if at := positionOf(t, session.Token()); at == 0 || at > end {
			t.Errorf("the session has seen %d, and the log's end is %d", at, end)
		}
	}
	// It sees the writes of another transaction.
	ctx, session := postgres.WithSession(t.Context())
	if err := postgres.Pipeline(ctx, d.Router, postgres.TxOptions{ReadOnly: true, Replica: true}, batchOf(queueSQL("SELECT n FROM c"))); err != nil || session.Token() == "" {
		t.Errorf("err = %v, token %q", err, session.Token())
	}
}

// TestSession_RolledBack reads in a transaction that is rolled back. The session has seen
// those rows, so a replica without them must not run the next read.
func TestSession_RolledBack(t *testing.T) {
	t.Parallel()
	url := testdata.NewURL(t)
	d := testdata.Open(t, postgres.Config{URL: url, ReplicaURLs: []string{url}})
	ctx, session := postgres.WithSession(t.Context())
	conflict := errors.New("another version")
	read := func(tx postgres.DBTX) error { return errors.Join(stmt(ctx, "SELECT 1")(tx), conflict) }
	if err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, read); !errors.Is(err, conflict) {
		t.Fatal(err)
	}
	if got, want := session.Token(), unknownToken(0, 0, 0); got != want {
		t.Errorf("token %q, want one with an unknown position, %q", got, want)
	}
	if err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, stmt(ctx, "SELECT 1")); err != nil || positionOf(t, session.Token()) == 0 {
		t.Errorf("token %q after a transaction that committed; err = %v", session.Token(), err)
	}
}

// Stats, logs and metrics contain each statement of a pipeline by its name.
func TestPipeline_Observed(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	u := d.CreateAccount(t)
	ctx, stats := postgres.WithStats(t.Context())
	err := d.Queries.Pipeline(ctx, postgres.TxOptions{}, func(b *postgres.Batch) error {
		d.Queries.QueueGetAccount(b, u.ID)
		d.Queries.QueueGetAccount(b, u.ID)
		d.Queries.QueueGetOverview(b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := stats.Total(); n != 4 {
		t.Errorf("%d statements, want three and the COMMIT", n)
	}
	if name, n := stats.Most(); name != "GetAccount" || n != 2 {
		t.Errorf("most often %s, %d times", name, n)
	}
}
