package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// idleTests is short so that the tests are, too. The default is 5 s.
const idleTests = 200 * time.Millisecond

// TestMaxIdle makes functions hold their transaction in every place where they can.
func TestMaxIdle(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	log := &syncBuffer{}
	d := testdata.Open(t, postgres.Config{
		URL: testdata.NewURL(t), MaxConns: 1, TxMaxIdle: idleTests, AcquireTimeout: 10 * time.Second,
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	d.Exec(t, "CREATE TABLE held (n int)")
	insert := stmt(ctx, "INSERT INTO held VALUES (1)")
	// wait returns once another call has got the one connection that the function holds.
	wait := func() { d.Count(t, "SELECT 1") }
	for name, closure := range map[string]step{
		"BeforeItsFirstStatement": func(tx postgres.DBTX) error { wait(); return insert(tx) },
		"BetweenStatements":       func(tx postgres.DBTX) error { return errors.Join(insert(tx), then(wait), insert(tx)) },
		"BeforeItsCommit":         func(tx postgres.DBTX) error { return errors.Join(insert(tx), then(wait)) },
		"WithinItsRows": func(tx postgres.DBTX) error {
			rows, err := tx.Query(ctx, "INSERT INTO held SELECT generate_series(1, 10) RETURNING n")
			if err != nil {
				return err
			}
			rows.Next()
			wait()
			for rows.Next() {
			}
			rows.Close()
			return rows.Err()
		},
		"WithinASavepoint": func(tx postgres.DBTX) error {
			return errors.Join(insert(tx), inSavepoint(ctx, tx, func(tx postgres.DBTX) error { return errors.Join(insert(tx), then(wait)) }))
		},
		"BeforeACopy": func(tx postgres.DBTX) error {
			wait()
			_, err := tx.CopyFrom(ctx, []string{"held"}, []string{"n"}, &numbers{until: 3})
			return err
		},
		"BehindAnErrorOfItsOwn": func(tx postgres.DBTX) error {
			wait()
			_ = insert(tx)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			begun := time.Now()
			err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				runs++
				return closure(tx)
			})
			if !errors.Is(err, postgres.ErrIdleInTransaction) || !errors.Is(err, postgres.ErrTimeout) || runs != 1 {
				t.Errorf("err = %v after %d runs, want ErrIdleInTransaction after one", err, runs)
			}
			if took := time.Since(begun); took < idleTests {
				t.Errorf("it lost its connection after %v, before its time", took)
			}
		})
	}
	t.Run("Pipeline", func(t *testing.T) {
		err := postgres.Pipeline(ctx, d.Router, postgres.TxOptions{}, func(b *postgres.Batch) error {
			postgres.QueueExec(b, "INSERT INTO held VALUES (1)")
			return then(wait)
		})
		if !errors.Is(err, postgres.ErrIdleInTransaction) {
			t.Errorf("err = %v, want ErrIdleInTransaction", err)
		}
	})
	if n := d.Count(t, "SELECT count(*) FROM held"); n != 0 {
		t.Errorf("%d rows are stored", n)
	}
	lines := regexp.MustCompile(`holder=(\S+)`).FindAllStringSubmatch(log.String(), -1)
	if len(lines) != 8 {
		t.Errorf("%d warnings, want 8: %s", len(lines), log)
	}
	for _, line := range lines {
		if !strings.HasPrefix(line[1], "postgres/hold_test.go:") {
			t.Errorf("the holder is %s", line[1])
		}
	}
	// The same through generated code: the reported line must be its caller's.
	err := d.Queries.InTx(ctx, func(q *db.Queries) error { wait(); return nil })
	if !errors.Is(err, postgres.ErrIdleInTransaction) || !strings.Contains(err.Error(), "postgres/hold_test.go:") {
		t.Errorf("err = %v, want one that names this file", err)
	}
}

func then(f func()) error {
	f()
	return nil
}

// numbers are rows of one column for a COPY.
type numbers struct{ n, until int }

func (r *numbers) Next() bool             { r.n++; return r.n <= r.until }
func (r *numbers) Values() ([]any, error) { return []any{r.n}, nil }
func (r *numbers) Err() error             { return nil }

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestMaxIdle_Server disables the client's check. The server has the same limit, for this
// transaction only, and the connection that it closes must not go back to the pool.
func TestMaxIdle_Server(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 1})
	setting := func(db postgres.DBTX) (s string) {
		if err := db.QueryRow(ctx, "SELECT current_setting('idle_in_transaction_session_timeout')").Scan(&s); err != nil {
			t.Error(err)
		}
		return s
	}
	before := setting(d.Router)
	for _, c := range []struct {
		options postgres.TxOptions
		want    string
	}{
		{postgres.TxOptions{}, "5s"},
		{postgres.TxOptions{MaxIdle: 1500 * time.Millisecond}, "1500ms"},
		{postgres.TxOptions{MaxIdle: -1}, before},
		{postgres.TxOptions{ReadOnly: true}, "5s"},
	} {
		err := postgres.InTx(ctx, d.Router, c.options, func(tx postgres.DBTX) error {
			if got := setting(tx); got != c.want {
				t.Errorf("%+v: the server has %s, want %s", c.options, got, c.want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if got := setting(d.Router); got != before {
			t.Errorf("%+v: afterwards the server has %s, want %s", c.options, got, before)
		}
	}
	err := postgres.InTx(ctx, d.Router, postgres.TxOptions{MaxIdle: -1}, func(tx postgres.DBTX) error {
		if err := stmt(ctx, "SET LOCAL idle_in_transaction_session_timeout = 10")(tx); err != nil {
			return err
		}
		eventually(t, "the server has closed the connection", func() bool {
			_, err := tx.Exec(ctx, "SELECT 1")
			if err != nil {
				return true
			}
			time.Sleep(20 * time.Millisecond)
			return false
		})
		return stmt(ctx, "SELECT 1")(tx)
	})
	if err == nil {
		t.Error("no error")
	}
	if err := d.Router.Ping(ctx); err != nil {
		t.Errorf("the connection was returned to the pool: %v", err)
	}
}

// TestMaxIdle_NoFalseAlarm runs a transaction that is never idle for longer than the idle
// limit.
func TestMaxIdle_NoFalseAlarm(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	// Longer than a busy machine takes to wake a goroutine, because the transaction is idle
	// for that long between two statements.
	const idle = 2 * time.Second
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 3, TxMaxIdle: idle})
	var all sync.WaitGroup
	for name, closure := range map[string]step{
		"AStatement": stmt(ctx, "SELECT pg_sleep(3)"),
		"ManyStatements": func(tx postgres.DBTX) error {
			for end := time.Now().Add(idle * 3 / 2); time.Now().Before(end); {
				if err := stmt(ctx, "SELECT 1")(tx); err != nil {
					return err
				}
			}
			return nil
		},
		"Rows": func(tx postgres.DBTX) error {
			rows, err := tx.Query(ctx, "SELECT pg_sleep(0.25) FROM generate_series(1, 12)")
			if err != nil {
				return err
			}
			for rows.Next() {
			}
			return rows.Err()
		},
	} {
		all.Go(func() {
			if err := postgres.InTx(ctx, d.Router, postgres.TxOptions{}, closure); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
}

// TestFourIdleHolders fills the pool with functions that hold their transactions forever.
// All other calls must succeed.
func TestFourIdleHolders(t *testing.T) {
	t.Parallel()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 4, TxMaxIdle: idleTests})
	ctx, release := context.WithCancel(t.Context())
	var held, all sync.WaitGroup
	held.Add(4)
	for range 4 {
		all.Go(func() {
			err := d.Queries.InTx(ctx, func(q *db.Queries) error {
				_, err := q.CreateAccount(ctx, db.CreateAccountParams{Username: rand.Text(), Email: "x", Tags: []string{}})
				held.Done()
				<-ctx.Done() // an HTTP call that never returns
				return err
			})
			if !errors.Is(err, postgres.ErrIdleInTransaction) {
				t.Errorf("err = %v, want ErrIdleInTransaction", err)
			}
		})
	}
	held.Wait()
	for i := range 20 {
		if _, err := d.Queries.CreateAccount(t.Context(), db.CreateAccountParams{Username: fmt.Sprint("after", i), Email: "x", Tags: []string{}}); err != nil {
			t.Errorf("with four idle holders: %v", err)
			break // the others would wait just as long
		}
	}
	if n := d.Count(t, "SELECT count(*) FROM accounts"); n != 20 {
		t.Errorf("%d accounts are stored, want 20", n)
	}
	release()
	all.Wait()
}

// TestSecondConnection uses the Router within a function run by InTx.
func TestSecondConnection(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 1, AcquireTimeout: time.Minute})
	within := map[string]func() error{
		"Exec":    func() error { return stmt(ctx, "SELECT 1")(d.Router) },
		"Queries": func() error { _, err := d.Queries.GetAccount(ctx, 1); return err },
		"InTx":    func() error { return d.Queries.InTx(ctx, func(*db.Queries) error { return nil }) },
		"OtherContext": func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			return stmt(ctx, "SELECT 1")(d.Router)
		},
	}
	for name, call := range within {
		begun := time.Now()
		err := d.Queries.InTx(ctx, func(*db.Queries) error { return call() })
		if !errors.Is(err, postgres.ErrWithinTransaction) || !errors.Is(err, postgres.ErrPoolExhausted) {
			t.Errorf("%s: err = %v, want ErrWithinTransaction", name, err)
		}
		if took := time.Since(begun); took > patience/2 {
			t.Errorf("%s: it took %v", name, took)
		}
		if err != nil && !strings.Contains(err.Error(), "postgres/hold_test.go:") {
			t.Errorf("%s: err = %v does not name the transaction", name, err)
		}
	}
	// Another goroutine may wait, because the transaction continues in the meantime.
	var beside sync.WaitGroup
	err := d.Queries.InTx(ctx, func(q *db.Queries) error {
		var begun sync.WaitGroup
		for range 3 {
			begun.Add(1)
			beside.Go(func() {
				begun.Done()
				if err := stmt(ctx, "SELECT 1")(d.Router); err != nil {
					t.Errorf("outside of the transaction: %v", err)
				}
				if err := d.Queries.InTx(ctx, func(q *db.Queries) error { _, err := q.ListAccountIDs(ctx, nil); return err }); err != nil {
					t.Errorf("a second transaction: %v", err)
				}
			})
		}
		begun.Wait()
		_, err := q.ListAccountIDs(ctx, nil)
		return err
	})
	beside.Wait()
	if err != nil {
		t.Error(err)
	}
}

func BenchmarkInTx(b *testing.B) {
	d := testdata.New(b)
	for _, idle := range []time.Duration{-1, 5 * time.Second} {
		b.Run(fmt.Sprint(idle), func(b *testing.B) {
			for b.Loop() {
				err := postgres.InTx(b.Context(), d.Router, postgres.TxOptions{MaxIdle: idle}, stmt(b.Context(), "SELECT 1"))
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
