package postgres_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quern/pgtest"
	"quern/postgres"
)

func TestPoolSize(t *testing.T) {
	t.Parallel()
	for cores, want := range map[int][2]int32{1: {2, 4}, 2: {2, 4}, 3: {3, 6}, 16: {16, 32}} {
		if least, most := postgres.PoolFor(cores); least != want[0] || most != want[1] {
			t.Errorf("%d to %d connections on %d cores, want %d to %d", least, most, cores, want[0], want[1])
		}
	}
	least, most := postgres.DefaultPool()
	if wantLeast, wantMost := postgres.PoolFor(runtime.GOMAXPROCS(0)); least != wantLeast || most != wantMost {
		t.Errorf("%d to %d connections on this machine, want %d to %d", least, most, wantLeast, wantMost)
	}
	t.Run("MinConnsAreMade", func(t *testing.T) {
		t.Parallel()
		r := open(t, postgres.Config{URL: pgtest.EmptyURL(t), MaxConns: 6})
		eventually(t, "3 connections", func() bool { return r.Pool().Stat().IdleConns() >= 3 })
	})
	t.Run("LargerThanTheServer", func(t *testing.T) {
		t.Parallel()
		address := pgtest.EmptyURL(t)
		role := roleName()
		admin(t, address, "CREATE ROLE "+role+" LOGIN PASSWORD 'x' CONNECTION LIMIT 7")
		t.Cleanup(func() { admin(t, address, "DROP ROLE "+role) })
		for _, tt := range []struct {
			address string
			most    int32
			warns   bool
		}{
			{address, 4, false},
			{address, 5000, true},
			{as(t, address, role, "x"), 6, false},
			{as(t, address, role, "x"), 7, true},
		} {
			var log bytes.Buffer
			r := open(t, postgres.Config{URL: tt.address, MaxConns: tt.most, MinConns: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			r.Close()
			if strings.Contains(log.String(), "POOL_MAX_CONNS") != tt.warns {
				t.Errorf("%d connections: warns %v, want %v: %s", tt.most, !tt.warns, tt.warns, log.String())
			}
		}
	})
}

// dieIdle makes the server close the idle connections of a pool, and checks that no
// statement uses one of them.
func dieIdle(t *testing.T, r *postgres.Router, address string, n counts) {
	t.Helper()
	most := int(r.Config().MaxConns)
	dead := n.of("dead")
	var pids []string
	for _, pid := range hold(t, r, most) {
		pids = append(pids, fmt.Sprint(pid))
	}
	admin(t, address, "SELECT pg_terminate_backend(pid, 5000) FROM unnest('{"+strings.Join(pids, ",")+"}'::int[]) AS pid")
	for range 10 * most {
		if _, err := r.Exec(t.Context(), "SELECT 1"); err != nil {
			t.Errorf("a statement used a dead connection: %v", err)
		}
	}
	hold(t, r, most)
	if got := n.of("dead") - dead; got != most {
		t.Errorf("%d dead connections were detected, want %d", got, most)
	}
}

func TestIdleConnectionsThatDied(t *testing.T) {
	t.Parallel()
	n := newCounts()
	address := pgtest.EmptyURL(t)
	r := open(t, postgres.Config{URL: address, MaxConns: 4, Observers: observers(n)})
	dieIdle(t, r, address, n)
	// A connection is pinged only if it has been idle for a minute. Without a limit, the
	// ping would wait for a server that does not answer.
	if limit := r.Pool().Config().PingTimeout; limit <= 0 || limit > 5*time.Second {
		t.Errorf("the ping of an idle connection may take %v", limit)
	}
}

func TestServerRestarts(t *testing.T) {
	t.Parallel()
	server := ownServer(t, nil)
	r := open(t, postgres.Config{URL: server.URL(), MaxConns: 4})
	hold(t, r, 4)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	startServer(t, server.Dir(), nil) // on the same port
	var failed atomic.Int64
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range 10 {
				var one int
				if err := r.QueryRow(t.Context(), "SELECT 1").Scan(&one); err != nil {
					failed.Add(1)
					t.Log(err)
				}
			}
		})
	}
	all.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of 100 reads failed after the restart", failed.Load())
	}
}

// A demoted primary rejects writes but still answers.
func TestReadOnlyServerIsLeft(t *testing.T) {
	t.Parallel()
	n := newCounts()
	var log bytes.Buffer
	r := open(t, postgres.Config{
		URL: pgtest.EmptyURL(t), MaxConns: 8, Observers: observers(n), Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if _, err := r.Exec(t.Context(), "CREATE TABLE t (n int)"); err != nil {
		t.Fatal(err)
	}
	demote := func() {
		hold(t, r, 8)
		conns := r.Pool().AcquireAllIdle(t.Context())
		for _, c := range conns {
			if _, err := c.Exec(t.Context(), "SET default_transaction_read_only = on"); err != nil {
				t.Fatal(err)
			}
			c.Release()
		}
		if len(conns) != 8 {
			t.Fatalf("%d connections, want 8", len(conns))
		}
	}

	// A connection that is older than a second is closed, and after three of them the pool
	// closes all others.
	demote()
	eventually(t, "a write works", func() bool {
		_, err := r.Exec(t.Context(), "INSERT INTO t VALUES (1)")
		return err == nil
	})
	if resets := strings.Count(log.String(), "replacing all connections"); n.of("read_only") != 3 || resets != 1 {
		t.Errorf("%d connections were closed and the pool reset %d times, want 3 and 1", n.of("read_only"), resets)
	}

	// An error of a transaction that is declared read-only says nothing about the server.
	lost := n.of("read_only")
	for range 5 {
		_ = postgres.InTx(t.Context(), r, postgres.TxOptions{ReadOnly: true}, func(tx postgres.DBTX) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO t VALUES (1)")
			return err
		})
	}
	if n.of("read_only") != lost {
		t.Error("a read-only transaction closed its connection")
	}
}

func TestConnectionsEndInTime(t *testing.T) {
	t.Parallel()
	r := open(t, postgres.Config{URL: pgtest.EmptyURL(t), MaxConns: 2, MaxConnLifetime: 30 * time.Millisecond})
	eventually(t, "a connection is replaced because of its age", func() bool {
		if err := r.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r.Pool().Stat().MaxLifetimeDestroyCount() > 0
	})
	r = open(t, postgres.Config{URL: pgtest.EmptyURL(t), MaxConns: 2, MaxConnIdle: 30 * time.Millisecond})
	hold(t, r, 2)
	eventually(t, "an idle connection above POOL_MIN_CONNS is closed", func() bool {
		return r.Pool().Stat().MaxIdleDestroyCount() > 0
	})
}

func TestSocketOptions(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("TCP_USER_TIMEOUT is Linux's")
	}
	r := open(t, postgres.Config{URL: pgtest.EmptyURL(t), MaxConns: 1})
	conn, err := r.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	raw, err := conn.Conn().PgConn().Conn().(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]struct{ level, option, want int }{
		"TCP_USER_TIMEOUT": {syscall.IPPROTO_TCP, 18, 10_000},
		"SO_KEEPALIVE":     {syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		"TCP_KEEPIDLE":     {syscall.IPPROTO_TCP, 4, 5},
	} {
		var got int
		var err error
		if cerr := raw.Control(func(fd uintptr) { got, err = syscall.GetsockoptInt(int(fd), o.level, o.option) }); cerr != nil {
			t.Fatal(cerr)
		}
		if err != nil || got != o.want {
			t.Errorf("%s is %d (%v), want %d", name, got, err, o.want)
		}
	}
}

func BenchmarkAcquire(b *testing.B) {
	r, err := postgres.Connect(b.Context(), postgres.Config{URL: pgtest.EmptyURL(b), MaxConns: 1, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.Run("Peek", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			conn, err := r.Pool().Acquire(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			conn.Release()
		}
	})
	b.Run("Ping", func(b *testing.B) {
		for b.Loop() {
			if err := r.Ping(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
