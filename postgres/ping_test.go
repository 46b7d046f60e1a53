package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/pgtest"
	"quern/postgres"
)

// TestReady checks the primary while the pool is full, from many goroutines. One connection
// is enough, and it is kept.
func TestReady(t *testing.T) {
	t.Parallel()
	n := newCounts()
	address := pgtest.EmptyURL(t)
	r := open(t, postgres.Config{URL: address, MaxConns: 2, MinConns: 2, AcquireTimeout: 50 * time.Millisecond, Observers: observers(n), Logger: quiet})
	for range 2 {
		conn, err := r.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	if err := r.Ping(t.Context()); err == nil {
		t.Error("the pool is not full, so the test cannot fail")
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 10 {
				if err := r.Ready(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if made := n.of("ok"); made != 3 {
		t.Errorf("%d connections were opened, want the pool's two and one more", made)
	}

	// A connection that died is replaced, and does not count as one of the pool's destroyed
	// connections.
	admin(t, address, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	if err := r.Ready(t.Context()); err != nil {
		t.Errorf("with its connection dead: %v", err)
	}
	for _, reason := range []string{"dead", "broken", "shutdown", "fatal", "timeout"} {
		if lost := n.of(reason); lost != 0 {
			t.Errorf("%d connections were destroyed: %s", lost, reason)
		}
	}
	if made := n.of("ok"); made != 4 {
		t.Errorf("%d connections were opened, want one more", made)
	}
}

// TestReady_Close leaves no connection open, and opens none afterwards.
func TestReady_Close(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	r := open(t, postgres.Config{URL: address, MaxConns: 2, Logger: quiet})
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := r.Ready(t.Context()); err == nil {
		t.Error("a closed Router is ready")
	}
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	eventually(t, "all connections are closed", func() bool {
		var n int
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").Scan(&n)
		return err == nil && n == 0
	})
}

// TestReady_NoPool is not ready if the kept connection answers but the pool cannot open
// one.
func TestReady_NoPool(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	role := roleName()
	admin(t, address, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'x'", role))
	t.Cleanup(func() { admin(t, address, "DROP ROLE "+role) })
	r := open(t, postgres.Config{URL: as(t, address, role, "x"), MaxConns: 2, MinConns: 1, AcquireTimeout: 50 * time.Millisecond, Logger: quiet})
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	admin(t, address, fmt.Sprintf("ALTER ROLE %s NOLOGIN", role))
	r.Pool().Reset()
	eventually(t, "it is not ready", func() bool { return r.Ready(t.Context()) != nil })
	admin(t, address, fmt.Sprintf("ALTER ROLE %s LOGIN", role))
	eventually(t, "it is ready", func() bool { return r.Ready(t.Context()) == nil })
}

// TestReady_Silent ends with its context while the network is silent, and is ready again
// afterwards.
func TestReady_Silent(t *testing.T) {
	t.Parallel()
	w, address := newWire(t, pgtest.EmptyURL(t))
	r := open(t, postgres.Config{URL: address, MaxConns: 2, Logger: quiet})
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.silence(true)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			began := time.Now()
			if err := r.Ready(ctx); err == nil || time.Since(began) > patience/2 {
				t.Errorf("err = %v behind %v, want the deadline's", err, time.Since(began))
			}
		})
	}
	all.Wait()
	w.silence(false)
	eventually(t, "it is ready", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return r.Ready(ctx) == nil
	})
}

// TestReady_ReadOnly sets default_transaction_read_only in every place, before and after
// the connection of Ready is opened.
func TestReady_ReadOnly(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	database, role := databaseOf(t, address), roleName()
	admin(t, address, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'x'", role))
	t.Cleanup(func() { admin(t, address, "DROP ROLE "+role) })
	ready := func(r *postgres.Router, want error) {
		t.Helper()
		for range 2 { // on a kept connection, too
			if err := r.Ready(t.Context()); !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("Ready: %v, want %v", err, want)
			}
		}
	}
	r := open(t, postgres.Config{URL: as(t, address, role, "x")})
	ready(r, nil)
	for _, where := range []string{"ROLE " + role, "DATABASE " + database, "ROLE " + role + " IN DATABASE " + database, "ROLE ALL IN DATABASE " + database} {
		admin(t, address, "ALTER "+where+" SET default_transaction_read_only = on")
		ready(r, postgres.ErrReadOnly)
		fresh := open(t, postgres.Config{URL: as(t, address, role, "x")})
		ready(fresh, postgres.ErrReadOnly)
		ready(open(t, postgres.Config{URL: as(t, address, role, "x", "default_transaction_read_only", "off")}), nil)
		admin(t, as(t, address, "", "", "default_transaction_read_only", "off"), "ALTER "+where+" RESET default_transaction_read_only")
		ready(r, nil)
		ready(fresh, nil)
	}
	// The more specific setting takes precedence.
	admin(t, address, "ALTER DATABASE "+database+" SET default_transaction_read_only = on", "ALTER ROLE "+role+" SET default_transaction_read_only = off")
	ready(r, nil)
	ready(open(t, postgres.Config{URL: as(t, address, role, "x", "default_transaction_read_only", "on")}), postgres.ErrReadOnly)
	admin(t, as(t, address, "", "", "default_transaction_read_only", "off"), "ALTER DATABASE "+database+" RESET ALL")
}
