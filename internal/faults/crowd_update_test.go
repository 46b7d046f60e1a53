//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// The kinds of findings of updates.
const (
	wrongUpdate   = "an update was answered otherwise than alone"
	lostUpdate    = "an update was acknowledged and is not stored"
	doubledUpdate = "an update is stored more than once, or was reported as failed and is stored"
	unknownUpdate = "an idempotent update has an unknown outcome"
)

// changes are the results of updates of users. Each update increments the version of its user,
// so the version shows how many were stored.
type changes struct {
	findings
	ids []int64

	mu     sync.Mutex
	emails map[int64]map[int32]string // of acknowledged updates, by user and version
	doubts map[int64]int32            // updates with an unknown outcome
	next   atomic.Int64
}

// newChanges adds n users.
func newChanges(t testing.TB, n *node, users int) *changes {
	t.Helper()
	ids := ask[[]int64](t, n, `
		WITH added AS (
			INSERT INTO users (username, email) SELECT 'change ' || $2 || ' of ' || i, 'x' FROM generate_series(1, $1) AS i RETURNING id
		)
		SELECT array_agg(id) FROM added`, users, fmt.Sprint(serials.Add(1)))
	return &changes{ids: ids, emails: map[int64]map[int32]string{}, doubts: map[int64]int32{}}
}

// update makes one update and records its result. Of a hundred updates, two break a CHECK, two
// require another version, and two are of a user that does not exist. excused reports whether
// the update may have failed for a reason that is not its own.
func (c *changes) update(ctx context.Context, q *db.Queries, excused func(error) bool) {
	n := c.next.Add(1)
	id, email := c.ids[rand.IntN(len(c.ids))], fmt.Sprintf("%d@x", n)
	arg := db.UpdateUserParams{ID: id, Email: &email}
	var refusal error
	switch n % 50 {
	case 0:
		arg.SetAge, arg.Age, refusal = true, new(int32(200)), postgres.ErrCheck
	case 1:
		arg.IfVersion, refusal = new(int32(-1)), postgres.ErrNotFound
	case 2:
		arg.ID, refusal = -n, postgres.ErrNotFound
	}
	u, err := q.UpdateUser(ctx, arg)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(err, postgres.ErrCommitUnknown) && excused(err):
		c.doubts[id]++
	case err != nil && excused(err), refusal != nil && errors.Is(err, refusal):
	case err != nil || refusal != nil:
		c.add(wrongUpdate, "update %d, which is to be refused with %v: %v", n, refusal, err)
	case u.ID != id || u.Email != email:
		c.add(wrongUpdate, "update %d of user %d to %s returned %+v", n, id, email, u)
	case c.emails[id][u.Version] != "":
		c.add(wrongUpdate, "two updates of user %d returned version %d", id, u.Version)
	default:
		if c.emails[id] == nil {
			c.emails[id] = map[int32]string{}
		}
		c.emails[id][u.Version] = email
	}
}

// check compares the results with the stored rows.
func (c *changes) check(t testing.TB, n *node) {
	t.Helper()
	type stored struct {
		ID      int64
		Version int32
		Email   string
	}
	acknowledged, doubts := 0, int32(0)
	for _, row := range ask[[]stored](t, n, `
		SELECT jsonb_agg(jsonb_build_object('ID', id, 'Version', version, 'Email', email)) FROM users WHERE id = ANY($1)`, c.ids) {
		known, doubt := c.emails[row.ID], c.doubts[row.ID]
		acknowledged, doubts = acknowledged+len(known), doubts+doubt
		least := 1 + int32(len(known))
		switch email, latest := known[row.Version], slices.Max(append(versionsOf(known), 1)); {
		case row.Version < least, row.Version < latest, email != "" && email != row.Email:
			c.add(lostUpdate, "user %d has %+v after %d acknowledged updates, up to version %d", row.ID, row, len(known), latest)
		case row.Version > least+doubt:
			c.add(doubledUpdate, "user %d has version %d after %d acknowledged updates and %d in doubt", row.ID, row.Version, len(known), doubt)
		}
	}
	t.Logf("%d updates: %d acknowledged, %d in doubt", c.next.Load(), acknowledged, doubts)
}

func versionsOf(emails map[int32]string) (versions []int32) {
	for v := range emails {
		versions = append(versions, v)
	}
	return versions
}

// updateAll makes a crowd make n updates.
func (c *changes) updateAll(t testing.TB, q *db.Queries, callers, n int, excused func(error) bool) {
	crowd(callers, func(int) {
		for c.next.Load() < int64(n) {
			c.update(t.Context(), q, excused)
		}
	})
}

// TestCrowdUpdates makes a crowd update users, several callers the same one. Each caller must get
// the result of its own update, and each acknowledged update must be stored exactly once.
func TestCrowdUpdates(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	router, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns})
	for _, users := range []int{1000, 30} {
		r := newChanges(t, c.primary, users)
		r.updateAll(t, q, crowdSize, times(3000, 50_000), never)
		r.check(t, c.primary)
		r.findings.check(t)
	}
	for _, variant := range []struct {
		name  string
		scan  scanner
		wrong string
	}{
		{"MixingUp", mixing(), wrongUpdate},
		{"TogetherOrNot", together(), wrongUpdate},
		{"Twice", twice, doubledUpdate},
	} {
		t.Run(variant.name, func(t *testing.T) {
			r := newChanges(t, c.primary, 30)
			r.updateAll(t, db.New(&meddled{router, variant.scan}), crowdSize, 500, never)
			r.check(t, c.primary)
			t.Log("the check found:", &r.findings)
			r.require(t, variant.wrong)
		})
	}
}

// twice sends an update twice and returns the first answer.
func twice(c *meddledCall, dest []any) error {
	if err := c.run(dest); err != nil {
		return err
	}
	return c.run(slices.Clone(dest))
}

var updateText = regexp.MustCompile(`(?is)\bupdate\s+(users|tasks)\b`)

// TestCrowdLostUpdates loses the answers to updates of a crowd in every possible way. No update
// is stored twice, although UpdateUser is not idempotent. CompleteTask is, so its batches are
// repeated, and its outcome is known unless the server does not answer in time.
func TestCrowdLostUpdates(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	lossy := func(t *testing.T, how fault, share float64) (*proxy, *postgres.Router) {
		p := proxyTo(t, c.primary.address())
		limit := 10 * time.Second
		if how == hang {
			limit = commitWait
		}
		router, _ := connect(t, postgres.Config{
			URL: c.primary.urlVia(p.address()), MaxConns: crowdConns, MinConns: crowdConns, QueryTimeout: limit,
		})
		p.lose(func(sql string) bool { return updateText.MatchString(sql) }, sometimes(how, share))
		return p, router
	}
	for _, how := range allFaults {
		t.Run(string(how), func(t *testing.T) {
			p, router := lossy(t, how, 0.15)
			r := newChanges(t, c.primary, 100)
			r.updateAll(t, db.New(router), 64, times(300, 3000), broken)
			completed := completeAll(t, c.primary, db.New(router), times(300, 3000), how == hang)
			c.primary.waitForBackends(t)
			r.check(t, c.primary)
			r.findings.check(t)
			completed.check(t)
			if p.losses() == 0 {
				t.Error("no update met an accident: the test shows nothing")
			}
		})
	}
	t.Run("Naive", func(t *testing.T) {
		_, router := lossy(t, dropAnswer, 0.5)
		r := newChanges(t, c.primary, 100)
		r.updateAll(t, db.New(&meddled{router, repeating}), 64, 300, broken)
		c.primary.waitForBackends(t)
		r.check(t, c.primary)
		t.Log("the check found:", &r.findings)
		r.require(t, doubledUpdate)
	})
}

// completeAll makes a crowd complete n tasks, each once by its worker and once by a worker that
// has lost the lease. It compares the results with the stored tasks.
func completeAll(t *testing.T, n *node, q *db.Queries, tasks int, mayFail bool) *findings {
	t.Helper()
	f := &findings{}
	ids := ask[[]int64](t, n, `
		WITH added AS (
			INSERT INTO tasks (name, payload, status, worker, attempts, lease_until)
			SELECT 'n', '{}', 'running', 'worker', 2, now() + interval '1 hour' FROM generate_series(1, $1) RETURNING id
		)
		SELECT array_agg(id) FROM added`, tasks)
	results := make([]error, len(ids))
	var next atomic.Int64
	crowd(64, func(int) {
		for i := next.Add(1); i <= int64(2*len(ids)); i = next.Add(1) {
			at := int(i-1) / 2
			arg := db.CompleteTaskParams{ID: ids[at], Worker: "worker", Attempts: 2}
			if i%2 == 1 {
				arg.Attempts = 1 // of an earlier lease
			}
			task, err := q.CompleteTask(t.Context(), arg)
			switch {
			case arg.Attempts == 1:
				if !errors.Is(err, postgres.ErrNotFound) && !(broken(err) && mayFail) {
					f.add(acceptedWrong, "a worker without the lease of task %d completed it: %+v, %v", arg.ID, task, err)
				}
				continue
			case err == nil && (task.ID != arg.ID || task.Status != db.TaskStatusCompleted):
				f.add(foreignRow, "task %d was completed and %+v returned", arg.ID, task)
			case errors.Is(err, postgres.ErrCommitUnknown) && !mayFail:
				f.add(unknownUpdate, "task %d: %v", arg.ID, err)
			case err != nil && !errors.Is(err, postgres.ErrNotFound) && !(broken(err) && mayFail):
				f.add(failedCall, "task %d: %v", arg.ID, err)
			}
			results[at] = err
		}
	})
	done := ask[[]int64](t, n, `SELECT coalesce(array_agg(id), '{}') FROM tasks WHERE id = ANY($1) AND status = 'completed' AND attempts = 2`, ids)
	stored := map[int64]bool{}
	for _, id := range done {
		stored[id] = true
	}
	lost := 0
	for i, id := range ids {
		// A repetition finds the task completed: the answer is ErrNotFound, as alone.
		if ok := results[i] == nil || errors.Is(results[i], postgres.ErrNotFound); ok && !stored[id] {
			f.add(lostUpdate, "task %d: %v", id, results[i])
		}
		if results[i] != nil {
			lost++
		}
	}
	t.Logf("%d tasks, %d completed, %d with an error", len(ids), len(done), lost)
	return f
}

// TestCrowdUpdatesKilled ends backends under a crowd that completes tasks. Each task is
// completed once, and no caller is left in doubt.
func TestCrowdUpdatesKilled(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	_, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns, MinConns: crowdConns})
	ctx, cancel := context.WithCancel(t.Context())
	var killer sync.WaitGroup
	var killed atomic.Int64
	conn, err := c.primary.dial(context.WithoutCancel(ctx), database)
	if err != nil {
		t.Fatal(err)
	}
	killer.Go(func() {
		defer conn.Close(context.WithoutCancel(ctx))
		for ctx.Err() == nil {
			tag, err := conn.Exec(context.WithoutCancel(ctx), `
				SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE state = 'active' AND query LIKE '-- name: CompleteTask%' AND pid <> pg_backend_pid() LIMIT 1`)
			if err != nil {
				t.Error(err)
			}
			killed.Add(tag.RowsAffected())
			<-time.After(40 * time.Millisecond)
		}
	})
	f := completeAll(t, c.primary, q, times(5000, 50_000), false)
	cancel()
	killer.Wait()
	t.Logf("%d backends were ended", killed.Load())
	if killed.Load() == 0 {
		t.Error("no backend was ended: the test shows nothing")
	}
	f.check(t)
}

// TestCrowdUpdatesCancelled cancels one update in ten at a random moment. Other updates are not
// affected, and a cancelled one is stored at most once.
func TestCrowdUpdatesCancelled(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	router, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns})
	r := newChanges(t, c.primary, 50)
	total := int64(times(4000, 50_000))
	crowd(crowdSize, func(int) {
		for r.next.Load() < total {
			if rand.IntN(10) > 0 {
				r.update(t.Context(), q, never)
				continue
			}
			ctx, cancel := context.WithCancel(t.Context())
			timer := time.AfterFunc(rand.N(3*time.Millisecond), cancel)
			r.update(ctx, q, func(err error) bool {
				return errors.Is(err, context.Canceled) || errors.Is(err, postgres.ErrCommitUnknown)
			})
			timer.Stop()
			cancel()
		}
	})
	c.primary.waitForBackends(t)
	r.check(t, c.primary)
	r.findings.check(t)
	if n := router.Pool().Stat().AcquiredConns(); n > 0 {
		t.Errorf("%d connections are in use when all calls have returned", n)
	}
}
