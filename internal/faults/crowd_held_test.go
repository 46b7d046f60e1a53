//go:build linux

package faults

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// TestCrowdHeldUp makes two callers insert rows that an open transaction
// blocks: a username that it may still release, and a post of a user that it
// may delete. They wait until their short deadline. Other calls may wait with
// them, but none of them may fail.
func TestCrowdHeldUp(t *testing.T) {
	checkLeaks(t)
	const patience = 2 * time.Second
	r := holdUp(t, patience, func(router *postgres.Router) *db.Queries { return db.New(router) }, nil)
	r.findings.check(t)
	t.Run("Naive", func(t *testing.T) {
		r := holdUp(t, patience/4, func(router *postgres.Router) *db.Queries { return db.New(&meddled{router, inLine()}) },
			func(f *findings) func() bool { return f.seen(lateCall) })
		t.Log("the check found:", &r.findings)
		r.require(t, lateCall)
	})
}

// holdUp makes a crowd insert rows, some of which are blocked, until it is
// over. limit is the deadline of a statement. Calls that are not blocked must
// be answered within it.
func holdUp(t *testing.T, limit time.Duration, open func(*postgres.Router) *db.Queries, until func(*findings) func() bool) *receipts {
	t.Helper()
	c := newCluster(t, clusterConfig{settings: quick})
	router, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns, QueryTimeout: limit})
	r := newReceipts(t, c.primary, "a", 7)
	r.others = true
	victim, err := q.CreateUser(t.Context(), newUser())
	if err != nil {
		t.Fatal(err)
	}
	letGo := hold(t, c.primary, victim.ID)
	q = open(router)
	held := []func(ctx context.Context) error{
		func(ctx context.Context) error {
			_, err := q.CreateUser(ctx, db.CreateUserParams{Username: "held", Email: "x", Tags: []string{}})
			return err
		},
		func(ctx context.Context) error {
			_, err := q.CreatePost(ctx, db.CreatePostParams{UserID: victim.ID, Title: "held", Tags: []string{}})
			return err
		},
	}
	over := span(limit, 5*limit)
	if until != nil {
		over = until(&r.findings)
	}
	var place, slowest atomic.Int64
	crowd(32, func(caller int) {
		for !over() {
			if caller < len(held) {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				if err := held[caller](ctx); !errors.Is(err, postgres.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) {
					r.add(acceptedWrong, "the blocked inserts: %v", err)
				}
				cancel()
				continue
			}
			began := time.Now()
			got := r.place(t.Context(), q, int(place.Add(1)))
			took := time.Since(began)
			raise(&slowest, int64(took))
			if took > limit {
				r.add(lateCall, "%v: %v", took, got.err)
			}
		}
	})
	t.Logf("the slowest of %d that were not held up took %v", place.Load(), time.Duration(slowest.Load()).Round(time.Millisecond))
	letGo()
	c.primary.waitForBackends(t)
	r.check(t, c.primary, never)
	return r
}

// hold opens a transaction that has inserted the user "held" and deleted
// another one. It returns a function that rolls it back.
func hold(t *testing.T, n *node, victim int64) (letGo func()) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := n.dial(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, "INSERT INTO users (username, email) VALUES ('held', 'x')")
	}
	if err == nil {
		_, err = tx.Exec(ctx, "DELETE FROM users WHERE id = $1", victim)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(tx.Rollback(ctx), conn.Close(ctx)); err != nil {
			t.Error(err)
		}
	}
}
