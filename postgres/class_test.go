package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"quern/pgtest"
	"quern/postgres"
)

// Statements of class bulk, which wait until the test releases them, and others.
const (
	bulkWait   = "-- name: BulkWait :many\nSELECT pg_advisory_lock_shared(1)::text"
	bulkQuick  = "-- name: BulkQuick :one\nSELECT 1"
	bulkWrite  = "-- name: BulkWrite :exec\nINSERT INTO c (n) VALUES (1)"
	bulkCopy   = `copy "c" ( "n" ) from stdin binary;`
	otherClass = "-- name: Other :one\nSELECT 2"
)

func classed(class string) []postgres.Statement {
	return []postgres.Statement{
		{Name: "BulkWait", Kind: postgres.Many, SQL: bulkWait, Class: class, Timeout: time.Minute},
		{Name: "BulkQuick", Kind: postgres.One, SQL: bulkQuick, Class: class},
		{Name: "BulkWrite", Kind: postgres.Exec, SQL: bulkWrite, Class: class},
		{Name: "BulkCopy", Kind: postgres.CopyFrom, SQL: bulkCopy, Class: class, Timeout: time.Minute},
		{Name: "Other", Kind: postgres.One, SQL: otherClass, Class: "reports"},
	}
}

// classes is a database in which bulk statements can be made to wait.
type classes struct {
	t       *testing.T
	router  *postgres.Router
	metrics *prometheus.Registry
	free    func() // releases the waiting statements
	held    sync.WaitGroup
}

func newClasses(t *testing.T, conns int32, class string, shares map[string]string) *classes {
	t.Helper()
	return newClassesWaiting(t, conns, class, shares, 500*time.Millisecond)
}

// newClassesWaiting returns classes whose calls wait for a connection for up to acquire.
func newClassesWaiting(t *testing.T, conns int32, class string, shares map[string]string, acquire time.Duration) *classes {
	t.Helper()
	c := &classes{t: t, metrics: prometheus.NewRegistry()}
	url := pgtest.EmptyURL(t)
	admin(t, url, "CREATE TABLE c (id int, n int)")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock(1)"); err != nil {
		t.Fatal(err)
	}
	c.free = sync.OnceFunc(func() { _ = conn.Close(context.Background()) })
	c.router = open(t, postgres.Config{
		URL: url, MaxConns: conns, PoolClasses: shares, Statements: classed(class), Observers: observers(c.metrics),
		AcquireTimeout: acquire, Logger: quiet,
	})
	hold(t, c.router, int(conns)) // opens all connections, so that no call waits for one to be opened
	t.Cleanup(func() { c.free(); c.held.Wait() })
	return c
}

// of returns a metric of a class on the primary.
func (c *classes) of(metric, class string) int {
	c.t.Helper()
	return int(gather(c.t, c.metrics)["quern_class_"+metric+"{class="+class+",server=primary}"])
}

// hold runs n calls that wait, and returns once all of them do.
func (c *classes) hold(n int, run func(ctx context.Context) error) {
	c.t.Helper()
	for range n {
		c.held.Go(func() {
			if err := run(c.t.Context()); err != nil && c.t.Context().Err() == nil {
				c.t.Errorf("held: %v", err)
			}
		})
	}
	conn, err := pgx.Connect(c.t.Context(), c.router.Config().URL)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	eventually(c.t, "all wait", func() bool {
		var waiting int
		err := conn.QueryRow(c.t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").Scan(&waiting)
		return err == nil && waiting == n
	})
}

func (c *classes) wait(ctx context.Context) error {
	_, err := c.router.Exec(ctx, bulkWait)
	return err
}

// point is a read of class default.
func (c *classes) point() error {
	var n int
	return c.router.QueryRow(c.t.Context(), "SELECT 1").Scan(&n)
}

func (c *classes) quick(ctx context.Context) error {
	var n int
	return c.router.QueryRow(ctx, bulkQuick).Scan(&n)
}

// wantRefused checks that err says that class bulk has no connection left.
func wantRefused(t *testing.T, err error) {
	t.Helper()
	var e *postgres.Error
	if !errors.Is(err, postgres.ErrPoolExhausted) || !errors.Is(err, postgres.ErrUnavailable) || !errors.As(err, &e) || e.Class != "bulk" {
		t.Errorf("err = %v, want ErrPoolExhausted of class bulk", err)
	} else if !strings.Contains(err.Error(), "class bulk") {
		t.Errorf("err = %v, want its class named", err)
	}
}

func TestClasses_Shares(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		conns int32
		share string // of bulk; empty means the default
		want  int
	}{
		{1, "", 0},
		{1, "100%", 0},
		{2, "", 1},
		{2, "100%", 1},
		{3, "", 1},
		{4, "", 2},
		{4, "10%", 1},
		{4, "90%", 3},
		{4, "100%", 3},
		{4, "3", 3},
		{4, "70", 3},
		{33, "50%", 16},
	} {
		metrics := prometheus.NewRegistry()
		cfg := postgres.Config{URL: pgtest.EmptyURL(t), MaxConns: tt.conns, MinConns: 1, Statements: classed("bulk"), Observers: observers(metrics), Logger: quiet}
		if tt.share != "" {
			cfg.PoolClasses = map[string]string{"bulk": tt.share}
		}
		open(t, cfg)
		got := gather(t, metrics)
		if limit := got["quern_class_connections_limit{class=bulk,server=primary}"]; int(limit) != tt.want {
			t.Errorf("bulk=%s of %d connections is %v, want %d", tt.share, tt.conns, limit, tt.want)
		}
		if limit := got["quern_class_connections_limit{class=default,server=primary}"]; int32(limit) != tt.conns {
			t.Errorf("class default may use %v of %d connections", limit, tt.conns)
		}
	}
	for class, share := range map[string]string{"bulk": "0", "reports": "", "a": "x", "b": "101%", "c": "-1", "d": "%", "default": "50%", "Bulk": "1", "a b": "1"} {
		_, err := postgres.Connect(t.Context(), postgres.Config{PoolClasses: map[string]string{class: share}})
		if err == nil || !strings.HasPrefix(err.Error(), "POOL_CLASSES ") {
			t.Errorf("%s=%s: err = %v, want one that names POOL_CLASSES", class, share, err)
		}
	}
}

// copyRows returns the rows of a COPY that waits until the test releases it.
func (c *classes) copyRows(ctx context.Context) pgx.CopyFromSource {
	begun := false
	return pgx.CopyFromFunc(func() ([]any, error) {
		if begun {
			return nil, nil
		}
		begun = true
		conn, err := pgx.Connect(ctx, c.router.Config().URL)
		if err != nil {
			return nil, err
		}
		defer conn.Close(context.Background())
		_, err = conn.Exec(ctx, "SELECT pg_advisory_lock_shared(1)")
		return []any{int32(1)}, err
	})
}

// ways returns all calls that hold a connection.
func (c *classes) ways() map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Exec": c.wait,
		"Stream": func(ctx context.Context) error {
			for _, err := range postgres.Stream(ctx, c.router, func(s *string) []any { return []any{s} }, bulkWait) {
				return err
			}
			return nil
		},
		"InTx": func(ctx context.Context) error {
			return postgres.InTx(ctx, c.router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				_, err := tx.Exec(ctx, bulkWait)
				return err
			})
		},
		"InTxSavepoint": func(ctx context.Context) error {
			return postgres.InTx(ctx, c.router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				return postgres.InTx(ctx, tx, postgres.TxOptions{}, func(tx postgres.DBTX) error {
					_, err := tx.Exec(ctx, bulkWait)
					return err
				})
			})
		},
		"InTxOptions": func(ctx context.Context) error {
			return postgres.InTx(ctx, c.router, postgres.TxOptions{Class: "bulk"}, func(tx postgres.DBTX) error {
				_, err := tx.Exec(ctx, "SELECT pg_advisory_lock_shared(1)")
				return err
			})
		},
		"Pipeline": func(ctx context.Context) error {
			return postgres.Pipeline(ctx, c.router, postgres.TxOptions{}, batchOf(queueSQL("SELECT 1"), queueSQL(bulkWait)))
		},
		"CopyFrom": func(ctx context.Context) error {
			_, err := c.router.CopyFrom(ctx, pgx.Identifier{"c"}, []string{"n"}, c.copyRows(ctx))
			return err
		},
	}
}

// TestClasses fills the share of class bulk by every kind of call. Class default is not
// affected, and further bulk statements are rejected with a specific error.
func TestClasses(t *testing.T) {
	t.Parallel()
	for name := range maps.Keys((&classes{}).ways()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClasses(t, 4, "bulk", nil)
			way := c.ways()[name]
			c.hold(2, way)
			for range 20 {
				if err := c.point(); err != nil {
					t.Fatalf("class default: %v", err)
				}
			}
			wantRefused(t, c.quick(t.Context()))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			wantRefused(t, way(ctx))
			if used, waiting, refused := c.of("connections", "bulk"), c.of("waiting", "bulk"), c.of("refused_total", "bulk"); used != 2 || waiting != 0 || refused != 2 {
				t.Errorf("%d connections used, %d calls wait and %d were rejected, want 2, 0 and 2", used, waiting, refused)
			}
			c.free()
			c.held.Wait()
			if err := c.quick(t.Context()); err != nil {
				t.Errorf("after the others have ended: %v", err)
			}
			eventually(t, "all connections are free", func() bool { return c.of("connections", "bulk") == 0 })
		})
	}

	// The control: without classes, the same calls take every connection.
	t.Run("Control", func(t *testing.T) {
		t.Parallel()
		c := newClasses(t, 4, "", nil)
		c.hold(4, c.wait)
		if err := c.point(); !errors.Is(err, postgres.ErrPoolExhausted) {
			t.Errorf("err = %v, want ErrPoolExhausted: the test cannot fail", err)
		}
	})
}

// TestClasses_LastConnection sets shares for two classes that add up to the whole pool. One
// connection must be left.
func TestClasses_LastConnection(t *testing.T) {
	t.Parallel()
	c := newClasses(t, 3, "bulk", map[string]string{"bulk": "100%", "reports": "100%"})
	c.hold(2, c.wait)
	var n int
	err := c.router.QueryRow(t.Context(), otherClass).Scan(&n)
	if e := (*postgres.Error)(nil); !errors.As(err, &e) || e.Kind != postgres.ErrPoolExhausted || e.Class != "reports" {
		t.Errorf("err = %v, want ErrPoolExhausted of class reports", err)
	}
	if err := c.point(); err != nil {
		t.Error(err)
	}

	t.Run("PoolOfOne", func(t *testing.T) {
		t.Parallel()
		c := newClassesWaiting(t, 1, "bulk", map[string]string{"bulk": "100%"}, patience)
		began := time.Now()
		err := c.quick(t.Context())
		wantRefused(t, err)
		if !strings.Contains(err.Error(), "POOL_MAX_CONNS") || time.Since(began) > patience/2 {
			t.Errorf("err = %v behind %v, want the setting named, and no wait for a connection", err, time.Since(began))
		}
		if err := c.point(); err != nil {
			t.Error(err)
		}
	})
}

// TestClasses_Queue fills the queue of a class. The next call must be rejected immediately,
// and queued calls must run in order.
func TestClasses_Queue(t *testing.T) {
	t.Parallel()
	const queue = 16 // of a share of one
	c := newClasses(t, 2, "bulk", nil)
	// These calls wait long, so only a connection ends their wait.
	r := open(t, postgres.Config{
		URL: c.router.Config().URL, MaxConns: 2, Statements: classed("bulk"), Observers: observers(c.metrics2()), AcquireTimeout: patience, Logger: quiet,
	})
	c.router = r
	c.hold(1, c.wait)
	var waiting sync.WaitGroup
	for range queue {
		waiting.Go(func() {
			if err := c.quick(t.Context()); err != nil {
				t.Errorf("a call that waited: %v", err)
			}
		})
	}
	eventually(t, "all wait", func() bool { return c.of("waiting", "bulk") == queue })
	began := time.Now()
	wantRefused(t, c.quick(t.Context()))
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it was rejected after %v, want no wait for a connection", took)
	}

	// A cancelled call leaves the queue, and gets the error of its context.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.quick(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, postgres.ErrPoolExhausted) {
		t.Errorf("err = %v, want context.Canceled", err)
	}
	c.free()
	waiting.Wait()
}

// metrics2 returns a new registry, from which the method of reads from then on.
func (c *classes) metrics2() *prometheus.Registry {
	c.metrics = prometheus.NewRegistry()
	return c.metrics
}

// TestClasses_Cancelled cancels calls that wait for their share. None must keep its place.
func TestClasses_Cancelled(t *testing.T) {
	t.Parallel()
	c := newClasses(t, 2, "bulk", nil)
	c.hold(1, c.wait)
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if err := c.quick(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v, want context.Canceled", err)
		}
	}
	// The error must show a caller that its deadline is over.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.quick(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, postgres.ErrPoolExhausted) {
		t.Errorf("err = %v, want ErrPoolExhausted because of context.DeadlineExceeded", err)
	}
	c.free()
	c.held.Wait()
	eventually(t, "all connections are free", func() bool { return c.of("connections", "bulk") == 0 && c.of("waiting", "bulk") == 0 })
	if err := c.quick(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestClasses_Reads fills the pool with calls of one declared read, and with transactions
// that begin with it. One connection must be left for other statements.
func TestClasses_Reads(t *testing.T) {
	t.Parallel()
	const page = "-- name: Page :many\nSELECT pg_advisory_lock_shared(1)::text"
	const another = "-- name: Another :many\nSELECT 1"
	for name, way := range map[string]func(ctx context.Context, r *postgres.Router) error{
		"Query": func(ctx context.Context, r *postgres.Router) error {
			_, err := r.Exec(ctx, page)
			return err
		},
		"InTx": func(ctx context.Context, r *postgres.Router) error {
			return postgres.InTx(ctx, r, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				_, err := tx.Exec(ctx, page)
				return err
			})
		},
		"Pipeline": func(ctx context.Context, r *postgres.Router) error {
			return postgres.Pipeline(ctx, r, postgres.TxOptions{ReadOnly: true}, batchOf(queueSQL(page), queueSQL(another)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClasses(t, 4, "bulk", nil)
			c.router = open(t, postgres.Config{
				URL: c.router.Config().URL, MaxConns: 4, AcquireTimeout: 500 * time.Millisecond, Logger: quiet, Statements: []postgres.Statement{
					{Name: "Page", Kind: postgres.Many, SQL: page, Route: postgres.Replica, Timeout: time.Minute},
					{Name: "Another", Kind: postgres.Many, SQL: another, Route: postgres.Replica},
				},
			})
			hold(t, c.router, 4)
			c.hold(3, func(ctx context.Context) error { return way(ctx, c.router) })
			if err := way(t.Context(), c.router); !errors.Is(err, postgres.ErrPoolExhausted) {
				t.Errorf("a fourth call: err = %v, want ErrPoolExhausted", err)
			}
			soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if err := way(soon, c.router); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a fourth call in a hurry: err = %v, want context.DeadlineExceeded", err)
			}
			for range 5 {
				if _, err := c.router.Exec(t.Context(), another); err != nil {
					t.Errorf("another statement: %v", err)
				}
				if err := c.point(); err != nil {
					t.Error(err)
				}
			}
			c.free()
			c.held.Wait()
			for range 10 { // no call has kept its connection
				if err := way(t.Context(), c.router); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			}
		})
	}
}

// TestClasses_InTx mixes classes in one transaction.
func TestClasses_InTx(t *testing.T) {
	t.Parallel()
	exec := func(ctx context.Context, tx postgres.DBTX, sql string) error {
		_, err := tx.Exec(ctx, sql)
		return err
	}
	// A transaction holds one connection, so its statements need no share.
	t.Run("DefaultInBulk", func(t *testing.T) {
		t.Parallel()
		c := newClasses(t, 2, "bulk", nil)
		err := postgres.InTx(t.Context(), c.router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			return errors.Join(exec(t.Context(), tx, bulkWrite), exec(t.Context(), tx, "SELECT 1"), exec(t.Context(), tx, bulkWrite))
		})
		if err != nil {
			t.Error(err)
		}
		if used := c.of("connections", "bulk"); used != 0 {
			t.Errorf("%d connections of bulk are in use afterwards", used)
		}
	})
	// A bulk statement also counts if it comes second. It must not wait, because its
	// transaction holds a connection outside the share.
	t.Run("BulkInDefault", func(t *testing.T) {
		t.Parallel()
		c := newClassesWaiting(t, 4, "bulk", map[string]string{"bulk": "1"}, patience)
		err := postgres.InTx(t.Context(), c.router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			if err := errors.Join(exec(t.Context(), tx, "SELECT 1"), exec(t.Context(), tx, bulkWrite), exec(t.Context(), tx, bulkWrite)); err != nil {
				return err
			}
			soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			wantRefused(t, c.quick(soon))
			began := time.Now()
			wantRefused(t, postgres.InTx(t.Context(), c.router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				if err := exec(t.Context(), tx, "SELECT 1"); err != nil {
					return err
				}
				return exec(t.Context(), tx, bulkWrite)
			}))
			if took := time.Since(began); took > patience/2 {
				t.Errorf("rejected after %v, want no wait for a connection", took)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := c.quick(t.Context()); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
	// A transaction with a rejected statement must not commit, even if its function ignores
	// the error.
	t.Run("Swallowed", func(t *testing.T) {
		t.Parallel()
		c := newClasses(t, 2, "bulk", nil)
		c.hold(1, c.wait)
		wantRefused(t, postgres.InTx(t.Context(), c.router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			_ = exec(t.Context(), tx, bulkWrite)
			_ = exec(t.Context(), tx, "INSERT INTO c VALUES (7)")
			return nil
		}))
		var n int
		if err := c.router.QueryRow(t.Context(), "SELECT count(*) FROM c").Scan(&n); err != nil || n != 0 {
			t.Errorf("%d rows, %v: want none", n, err)
		}
	})
	t.Run("Panics", func(t *testing.T) {
		t.Parallel()
		c := newClasses(t, 2, "bulk", nil)
		for range 3 {
			func() {
				defer func() { _ = recover() }()
				_ = postgres.InTx(t.Context(), c.router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
					panic(fmt.Sprint(exec(t.Context(), tx, bulkWrite)))
				})
			}()
		}
		if err := c.quick(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestClasses_Spare begins transactions that must not wait for a connection.
func TestClasses_Spare(t *testing.T) {
	t.Parallel()
	c := newClassesWaiting(t, 3, "bulk", map[string]string{"bulk": "1"}, patience)
	spare := func(class string) error {
		return postgres.InTx(t.Context(), c.router, postgres.TxOptions{Class: class, Spare: true}, func(tx postgres.DBTX) error {
			_, err := tx.Exec(t.Context(), bulkWrite)
			return err
		})
	}
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, postgres.ErrPoolExhausted) || !strings.Contains(err.Error(), "no connection is free") {
			t.Errorf("%s: %v, want ErrPoolExhausted", what, err)
		}
	}
	if err := spare("bulk"); err != nil {
		t.Errorf("a connection is free: %v", err)
	}
	err := postgres.InTx(t.Context(), c.router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		return postgres.InTx(t.Context(), tx, postgres.TxOptions{Spare: true}, func(postgres.DBTX) error { return nil })
	})
	refused("within a transaction", err)

	began := time.Now()
	c.hold(1, c.wait)
	refused("the share is in use", spare("bulk"))
	refused("the share of the first statement is in use", spare(""))
	conns := []*pgxpool.Conn{}
	for range 2 {
		conn, err := c.router.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	refused("the pool is full", spare("reports"))
	refused("the pool is full", spare(""))
	if took := time.Since(began); took > patience/2 {
		t.Errorf("refused after %v, want no wait for a connection", took)
	}
	for _, conn := range conns {
		conn.Release()
	}
	if n := c.of("refused_total", "bulk") + c.of("refused_total", "default"); n != 0 {
		t.Errorf("%d of them count as refused, which would be a sign of overload", n)
	}
}
