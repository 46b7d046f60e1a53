package postgres_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/pgtest"
	"quern/postgres"
)

const sleep = "-- name: Sleep :exec\nSELECT pg_sleep(10)"

func TestCancelledStatements(t *testing.T) {
	t.Parallel()

	t.Run("KeepTheirConnections", func(t *testing.T) {
		t.Parallel()
		n := newCounts()
		r := open(t, postgres.Config{URL: pgtest.EmptyURL(t), MaxConns: 4, Observers: observers(n)})
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for range 50 {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
					if i%2 == 0 { // a client that goes away
						ctx, cancel = context.WithCancel(t.Context())
						time.AfterFunc(20*time.Millisecond, cancel)
					}
					_, err := r.Exec(ctx, sleep)
					switch {
					case err == nil, i%2 == 0 && !errors.Is(err, context.Canceled):
						t.Errorf("err = %v", err)
					case i%2 == 1 && !errors.Is(err, postgres.ErrTimeout):
						t.Logf("err = %v", err) // the connection was lost, or none was free
					}
					cancel()
				}
			})
		}
		all.Wait()
		// Before the fix, each call opened a connection. On a busy machine,
		// some answers come too late.
		if got := r.Pool().Stat().NewConnsCount(); got > 4+100 {
			t.Errorf("200 cancelled statements opened %d connections on a pool of 4", got)
		}
		t.Logf("connections opened: %d, lost to timeouts: %d", r.Pool().Stat().NewConnsCount(), n.of("timeout"))
	})

	// A late request to cancel must not cancel the next statement.
	t.Run("HitNoOtherStatement", func(t *testing.T) {
		t.Parallel()
		r := open(t, postgres.Config{URL: pgtest.EmptyURL(t), MaxConns: 1})
		cancelled := 0
		for i := range 200 {
			// The context ends at about the same time as the statement. On a busy machine the
			// statement takes longer, so half of the calls allow for that.
			most := []time.Duration{8 * time.Millisecond, 60 * time.Millisecond}[i%2]
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond+rand.N(most))
			if _, err := r.Exec(ctx, "SELECT pg_sleep(0.007)"); err != nil {
				cancelled++
			}
			cancel()
			if _, err := r.Exec(t.Context(), "SELECT 1"); err != nil {
				t.Fatalf("the statement after a cancelled one: %v", err)
			}
		}
		if cancelled == 0 || cancelled == 200 {
			t.Errorf("%d of 200 were cancelled, so the test does not test cancelling", cancelled)
		}
		t.Logf("cancelled: %d of 200, connections opened: %d", cancelled, r.Pool().Stat().NewConnsCount())
	})

	// The request is sent while the statement runs, and arrives when it is over.
	for _, lateness := range []time.Duration{15 * time.Millisecond, 80 * time.Millisecond} {
		t.Run("HitNoOtherStatement/Late"+lateness.String(), func(t *testing.T) {
			t.Parallel()
			w, address := newWire(t, pgtest.EmptyURL(t))
			w.lateness = lateness
			r := open(t, postgres.Config{URL: address, MaxConns: 1})
			for range 10 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				_, _ = r.Exec(ctx, "SELECT pg_sleep(0.014)")
				cancel()
				if _, err := r.Exec(t.Context(), "SELECT pg_sleep(0.1)"); err != nil {
					t.Fatalf("the statement after a cancelled one: %v", err)
				}
			}
			if n := w.dropped.Load(); n > 0 {
				t.Errorf("%d requests to cancel were closed before they were answered", n)
			}
		})
	}
}

// atDeadline runs calls that get no answer, and checks when they return. It does not count
// the time that the machine needs to wake a goroutine.
func atDeadline(t *testing.T, r *postgres.Router, calls map[string]func(ctx context.Context) error) {
	t.Helper()
	// The code takes 50 ms. A machine that runs other tests as well adds the time to
	// schedule several goroutines several times. internal/faults measures that and is
	// strict.
	const patience, grace = 200 * time.Millisecond, 500 * time.Millisecond
	for name, call := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		start := time.Now()
		late := make(chan time.Duration, 1)
		time.AfterFunc(patience+grace/2, func() { late <- time.Since(start) - patience - grace/2 })
		err := call(ctx)
		took := time.Since(start)
		cancel()
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if took > patience+grace+<-late {
			t.Errorf("%s: returned %v after its deadline, want at most %v (%v)", name, took-patience, grace, err)
		}
		t.Logf("%s: %v after its deadline", name, (took - patience).Round(time.Millisecond))
	}
}

func callsOf(r *postgres.Router) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Exec":     func(ctx context.Context) error { _, err := r.Exec(ctx, sleep); return err },
		"QueryRow": func(ctx context.Context) error { var s string; return r.QueryRow(ctx, sleep).Scan(&s) },
		"Query": func(ctx context.Context) error {
			rows, err := r.Query(ctx, sleep)
			if err != nil {
				return err
			}
			rows.Close()
			return rows.Err()
		},
		"InTx": func(ctx context.Context) error {
			return postgres.InTx(ctx, r, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				_, err := tx.Exec(ctx, sleep)
				return err
			})
		},
	}
}

func TestEveryCallEndsByItsDeadline(t *testing.T) {
	t.Parallel()

	t.Run("BackendStopped", func(t *testing.T) {
		t.Parallel()
		n := newCounts()
		r := open(t, postgres.Config{URL: pgtest.EmptyURL(t), MaxConns: 1, AcquireTimeout: time.Minute, Observers: observers(n)})
		for name, call := range callsOf(r) {
			pid := hold(t, r, 1)[0]
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Skip(err) // not a server of this test
			}
			t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
			atDeadline(t, r, map[string]func(context.Context) error{name: call})
			// The place in the pool must be free long before pgconn's 15 s.
			start := time.Now()
			if _, err := r.Exec(t.Context(), "SELECT 1"); err != nil {
				t.Errorf("the next statement: %v", err)
			}
			if took := time.Since(start); took > 14*time.Second {
				t.Errorf("the place in the pool was freed after %v", took)
			}
		}
		if got := n.of("timeout"); got != 4 {
			t.Errorf("%d connections were closed, want 4", got)
		}
	})

	t.Run("PostmasterStopped", func(t *testing.T) {
		t.Parallel()
		server := ownServer(t, nil)
		r := open(t, postgres.Config{URL: server.URL(), MaxConns: 8})
		hold(t, r, 4) // the other connections are opened while the server does not answer
		if err := syscall.Kill(server.PID(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			atDeadline(t, r, callsOf(r))
		}
		if err := syscall.Kill(server.PID(), syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if err := r.Ping(t.Context()); err != nil {
			t.Errorf("after the network has recovered: %v", err)
		}
	})

	t.Run("NetworkBlackHoled", func(t *testing.T) {
		t.Parallel()
		w, address := newWire(t, pgtest.EmptyURL(t))
		r := open(t, postgres.Config{URL: address, MaxConns: 8, ConnectTimeout: time.Second})
		hold(t, r, 4)
		w.silence(true)
		atDeadline(t, r, callsOf(r))
		atDeadline(t, r, callsOf(r))
		w.silence(false)
		eventually(t, "calls succeed once the network has recovered", func() bool { return r.Ping(t.Context()) == nil })
	})
}

// A COMMIT that waits for a synchronous standby returns success if it is cancelled, because
// PostgreSQL has committed it locally, with a warning.
func TestCommitIsNotCancelledIntoSuccess(t *testing.T) {
	t.Parallel()
	server := ownServer(t, nil)
	admin(t, server.URL(), "CREATE TABLE t (n int)",
		"ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
	r := open(t, postgres.Config{URL: server.URL(), MaxConns: 4})
	eventually(t, "the setting is in force", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := r.Exec(ctx, "INSERT INTO t VALUES (0)")
		return errors.Is(err, postgres.ErrCommitUnknown)
	})
	use := func(ctx context.Context, f func(ctx context.Context, conn *pgxpool.Conn)) {
		conn, err := r.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// The statement's time is up while it waits for the standby, however long it took to
		// get there.
		before := waiting(t, server.URL())
		done := make(chan struct{})
		go func() {
			defer cancel()
			for waiting(t, server.URL()) <= before {
				select {
				case <-done:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
		defer close(done)
		f(ctx, conn)
	}

	// If a cancel is not confirmed within 50 ms, the connection is destroyed. On a busy
	// machine it may take another attempt to see one that was confirmed.
	eventually(t, "a cancelled COMMIT returns", func() (returned bool) {
		use(t.Context(), func(ctx context.Context, conn *pgxpool.Conn) {
			if _, err := conn.Exec(ctx, "INSERT INTO t VALUES (1)"); err != nil {
				return
			}
			returned = true
			if !postgres.Unreplicated(ctx, conn.Conn().PgConn()) {
				t.Error("a write that was cancelled in its COMMIT returned no error")
			}
			if postgres.Unreplicated(ctx, conn.Conn().PgConn()) {
				t.Error("it was reported twice")
			}
		})
		return returned
	})
	eventually(t, "the cancelled ones have ended", func() bool { return waiting(t, server.URL()) == 0 })
	use(t.Context(), func(ctx context.Context, conn *pgxpool.Conn) {
		defer postgres.Shield(conn.Conn().PgConn())()
		_, err := conn.Exec(ctx, "INSERT INTO t VALUES (2)")
		if err == nil {
			t.Error("a shielded write returned success")
		}
	})
	// The COMMIT is still waiting, and so is the statement that looks for its outcome.
	var active int
	err := r.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&active)
	if err != nil || active != 1 {
		t.Errorf("%d COMMITs wait for the standby (%v), want 1", active, err)
	}
	// The COMMIT of a pipeline is cancelled, and its success is not believed.
	use(t.Context(), func(ctx context.Context, _ *pgxpool.Conn) {
		err := postgres.Pipeline(ctx, r, postgres.TxOptions{NoMarker: true}, batchOf(queueSQL("INSERT INTO t VALUES (3)")))
		if !errors.Is(err, postgres.ErrCommitUnknown) {
			t.Errorf("a pipeline that was cancelled in its COMMIT: err = %v, want ErrCommitUnknown", err)
		}
	})
}

// waiting returns how many COMMITs wait for a synchronous standby.
func waiting(t *testing.T, address string) (n int) {
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		return 0 // the test has ended, or reports it elsewhere
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	_ = conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&n)
	return n
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	server := ownServer(t, nil)
	u, err := url.Parse(server.SocketURL())
	if err != nil {
		t.Fatal(err)
	}
	n := newCounts()
	r := open(t, postgres.Config{URL: u.String(), MaxConns: 2, Observers: observers(n)})
	dieIdle(t, r, server.URL(), n)
	// On a busy machine this may take another attempt, because a connection whose cancel is
	// not confirmed within 50 ms is destroyed.
	eventually(t, "a statement is cancelled over the socket", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		made := r.Pool().Stat().NewConnsCount()
		_, err := r.Exec(ctx, sleep)
		if err == nil {
			t.Error("a statement of 10 s succeeded within 20 ms")
		}
		return errors.Is(err, postgres.ErrTimeout) && !errors.Is(err, postgres.ErrPoolExhausted) &&
			r.Ping(t.Context()) == nil && r.Pool().Stat().NewConnsCount() == made
	})
}
