//go:build linux

package faults

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestProxySeesCommits sends COMMIT in every form that a client may use.
func TestProxySeesCommits(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	p := proxyTo(t, c.primary.address())
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, c.primary.urlVia(p.address()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, form := range []struct {
		name string
		want int
		send func() error
	}{
		{"simple", 1, func() error { _, err := conn.Exec(ctx, "COMMIT"); return err }},
		{"among others", 1, func() error { _, err := conn.Exec(ctx, "BEGIN; SELECT 1; Commit"); return err }},
		{"of a transaction", 1, func() error {
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, "SELECT 1"); return err })
		}},
		{"prepared", 1, func() error { _, err := conn.Exec(ctx, "commit", pgx.QueryExecModeCacheStatement); return err }},
		{"prepared before", 1, func() error { _, err := conn.Exec(ctx, "commit", pgx.QueryExecModeCacheStatement); return err }},
		{"unnamed", 1, func() error { _, err := conn.Exec(ctx, "commit", pgx.QueryExecModeExec); return err }},
		{"in a batch", 1, func() error {
			b := &pgx.Batch{}
			b.Queue("begin")
			b.Queue("SELECT 1")
			b.Queue("commit")
			return conn.SendBatch(ctx, b).Close()
		}},
		{"a savepoint is none", 0, func() error {
			_, err := conn.Exec(ctx, "BEGIN; SAVEPOINT a; RELEASE a; ROLLBACK -- no commit")
			return err
		}},
	} {
		picked := 0
		p.lose(isCommit, func(int) fault { picked++; return passOn })
		if err := form.send(); err != nil {
			t.Errorf("%s: %v", form.name, err)
		}
		p.lose(nil, nil) // takes the proxy's lock, so that picked can be read
		if picked != form.want {
			t.Errorf("%s: %d COMMITs were seen, want %d", form.name, picked, form.want)
		}
	}
}

// TestLeaksAreSeen leaves a connection open. checkLeaks must find it.
func TestLeaksAreSeen(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	routines, files := goroutines(), descriptors()
	p := proxyTo(t, c.primary.address())
	conn, err := pgx.Connect(t.Context(), c.primary.urlVia(p.address()))
	if err != nil {
		t.Fatal(err)
	}
	if len(added(routines, goroutines())) == 0 {
		t.Error("no goroutine is seen")
	}
	if len(added(files, descriptors())) == 0 {
		t.Error("no descriptor is seen")
	}
	if n := len(c.primary.backends(t)); n != 1 {
		t.Errorf("%d clients of the server are seen, want 1", n)
	}
	if p.open() != 1 {
		t.Error("the proxy's client is not seen")
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
