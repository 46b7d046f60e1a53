//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/store"
	"quern/postgres"
)

// TestLostClaims loses the COMMITs of claims that several callers share. No call fails because of
// that, and no task is leased without a call that returned it.
func TestLostClaims(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	q := open(t, c.primary.url())
	var tasks, returned atomic.Int64
	type claimers struct {
		store  *store.Store
		worker string
	}
	opened := atomic.Int64{}
	loseAnswers(t, c, isCommit, times(3, 25),
		func(t testing.TB, url string) claimers {
			return claimers{store.New(open(t, url)), fmt.Sprint("w", opened.Add(1))}
		},
		func(ctx context.Context, with claimers, name string, _ int) {
			const crowd = 16
			add := make([]store.NewTask, crowd)
			for i := range add {
				add[i] = store.NewTask{Name: "n", Payload: []byte("{}")}
			}
			if _, err := store.New(q).CreateTasks(t.Context(), add); err != nil {
				t.Error(err)
				return
			}
			tasks.Add(crowd)
			var all sync.WaitGroup
			for range crowd {
				all.Go(func() {
					got, err := with.store.ClaimTasks(ctx, store.Claim{Worker: with.worker, Limit: 1, Lease: time.Hour})
					returned.Add(int64(len(got)))
					switch {
					case err == nil:
					case ctx.Err() != nil && errors.Is(err, ctx.Err()), errors.Is(err, postgres.ErrTimeout):
						// The caller's own deadline.
					default:
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			all.Wait()
		})
	running := func() (n int64) {
		tx, err := q.GetOverview(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return tx.Running
	}
	if !poll(20*time.Second, func() bool { return running() == returned.Load() }) {
		t.Errorf("%d tasks are leased, and calls returned %d", running(), returned.Load())
	}
	t.Logf("%d tasks, %d returned by claims", tasks.Load(), returned.Load())
	if returned.Load() == 0 {
		t.Error("no claim returned a task: the test shows nothing")
	}
}
