//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// TestCounts_Killed kills a server that folds counts, backends and postmasters with SIGKILL under
// writers and another process that folds. In every snapshot, the kept counts must be the numbers of
// rows.
func TestCounts_Killed(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "server")
	if out, err := exec.Command("go", "build", "-o", exe, "../../cmd/server").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := newCluster(t, clusterConfig{})
	_, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: 8})
	acts := store.New(q)
	var users []int64
	for i := range 5 {
		u, err := q.CreateUser(t.Context(), db.CreateUserParams{Username: fmt.Sprint("first", i), Email: "e", Tags: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, u.ID)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var written, folded atomic.Int64
	loop := func(f func(ctx context.Context, n int) error, done *atomic.Int64) {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				// Not ctx, so that the last call ends like the others.
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
				if f(ctx, n) == nil { // it may fail, because the database is killed
					done.Add(1)
				}
				cancel()
				time.Sleep(5 * time.Millisecond) // keeps the tables small, so that comparing takes less than a second
			}
		})
	}
	for w := range 4 {
		loop(func(ctx context.Context, n int) error { return writeCounted(ctx, q, users, w, n) }, &written)
	}
	loop(func(ctx context.Context, _ int) error {
		n, err := acts.FoldCounts(ctx)
		if err == nil && n == 0 {
			err = errors.New("nothing was folded")
		}
		return err
	}, &folded)
	stop := sync.OnceFunc(func() { cancel(); all.Wait() })
	defer stop()

	s := startServer(t, exe, "DATABASE_URL="+c.primary.url(), "POOL_MAX_CONNS=2")
	check := func(when string) {
		t.Helper()
		var found []*db.ListCountDifferencesRow
		var err error
		if !poll(startLimit, func() bool {
			found, err = acts.CheckCounts(t.Context(), 5)
			return err == nil
		}) {
			t.Fatalf("%s: %v", when, err)
		}
		for _, d := range found {
			t.Errorf("%s: %+v", when, *d)
		}
	}
	for round := range times(2, 200) {
		w, f := written.Load(), folded.Load()
		eventually(t, startLimit, "rows are written and counts are folded", func() bool { return written.Load() >= w+20 && folded.Load() > f })
		victim := []string{"server", "backend", "postmaster"}[round%3]
		switch victim {
		case "server":
			s.kill()
			s = startServer(t, exe, "DATABASE_URL="+c.primary.url(), "POOL_MAX_CONNS=2")
		case "backend":
			c.primary.killBackend(t)
		case "postmaster":
			c.primary.kill(t)
			c.primary.start(t)
		}
		check(fmt.Sprintf("round %d, %s killed", round+1, victim))
	}
	stop()
	s.kill()
	c.primary.waitForBackends(t)
	if _, err := acts.FoldCounts(t.Context()); err != nil {
		t.Error(err)
	}
	check("at the end")
	t.Logf("%d writes and %d folds succeeded", written.Load(), folded.Load())
}

// writeCounted is a write that changes counts.
func writeCounted(ctx context.Context, q *db.Queries, users []int64, writer, n int) error {
	user := users[rand.IntN(len(users))]
	post, err := q.CreatePost(ctx, db.CreatePostParams{UserID: user, Title: "t", Content: "c", Tags: []string{fmt.Sprint("tag", n%7)}})
	if err != nil {
		return err
	}
	switch n % 4 {
	case 0:
		_, err = q.DeletePost(ctx, db.DeletePostParams{ID: post.ID})
	case 1:
		_, err = q.UpdatePost(ctx, db.UpdatePostParams{ID: post.ID, Tags: []string{"changed"}})
	case 2:
		err = q.InTx(ctx, func(q *db.Queries) error {
			u, err := q.CreateUser(ctx, db.CreateUserParams{Username: fmt.Sprint(writer, " ", n, " ", rand.Int64()), Email: "e", Tags: []string{}})
			if err != nil {
				return err
			}
			_, err = q.CreatePost(ctx, db.CreatePostParams{UserID: u.ID, Title: "t", Content: "c", Tags: []string{}})
			if err == nil && n%8 == 2 {
				_, err = q.DeleteUser(ctx, db.DeleteUserParams{ID: u.ID}) // and the post
			}
			return err
		})
	}
	return err
}
