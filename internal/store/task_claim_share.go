package store

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

const (
	// maxPlaces is how many tasks a shared claim leases at most. With more, the first of its
	// callers would wait for the last.
	maxPlaces = 1000

	// claimPatience is how long a call waits for the claim before it. After that the call is
	// executed individually, because that claim may never end.
	claimPatience = 2 * time.Second

	// claimTimeout bounds a shared claim, which has no caller's deadline.
	claimTimeout = 10 * time.Second

	// giveBackTimeout bounds the return of tasks whose caller has gone. If it is exceeded, they
	// are due again when their leases expire.
	giveBackTimeout = 10 * time.Second
)

// claimGroup merges concurrent claims of the same names. At most one is in progress: claims at
// the same time would lock rows that others have leased already, and complete later. A lone call
// is executed in its caller's goroutine and without delay. Calls that arrive meanwhile are queued,
// and executed together when it has ended.
type claimGroup struct {
	mu      sync.Mutex
	running bool // a claim is in progress
	queue   []*claimCall
}

// claimCall is a queued call and, once done is closed, its result.
type claimCall struct {
	ctx   context.Context
	claim Claim
	state atomic.Int32
	done  chan struct{}

	tasks []*db.Task
	err   error
}

// The states of a claimCall.
const (
	claimQueued int32 = iota
	claimSent
	claimAnswered
	claimGone // its caller has gone away
)

// claim leases the tasks that are due.
func (g *claimGroup) claim(ctx context.Context, s *Store, c Claim) ([]*db.Task, error) {
	g.mu.Lock()
	if !g.running {
		g.running = true
		g.mu.Unlock()
		defer g.release(s)
		return s.claimAlone(ctx, c)
	}
	call := &claimCall{ctx: ctx, claim: c, done: make(chan struct{})}
	g.queue = append(g.queue, call)
	g.mu.Unlock()

	timer := time.NewTimer(claimPatience)
	defer timer.Stop()
	select {
	case <-call.done:
		return call.tasks, call.err
	case <-ctx.Done():
	case <-timer.C:
		if call.state.CompareAndSwap(claimQueued, claimGone) {
			return s.claimAlone(ctx, c)
		}
		select {
		case <-call.done:
			return call.tasks, call.err
		case <-ctx.Done():
		}
	}
	if call.state.CompareAndSwap(claimQueued, claimGone) || call.state.CompareAndSwap(claimSent, claimGone) {
		return nil, ctx.Err()
	}
	<-call.done
	return call.tasks, call.err
}

// release ends a claim that was executed individually. Calls that were queued meanwhile are
// executed in another goroutine, so that its caller does not wait for them.
func (g *claimGroup) release(s *Store) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running = len(g.queue) > 0; g.running {
		go g.work(s)
	}
}

// work executes queued calls until there are none.
func (g *claimGroup) work(s *Store) {
	for {
		// Let calls that are about to be made join.
		runtime.Gosched()
		calls := g.dequeue()
		if len(calls) == 0 {
			return
		}
		s.claimTogether(calls)
	}
}

// dequeue returns the oldest calls, as many as one claim serves. If there are none, its caller
// must stop.
func (g *claimGroup) dequeue() (calls []*claimCall) {
	g.mu.Lock()
	defer g.mu.Unlock()
	taken, places := 0, 0
	for _, call := range g.queue {
		if places > 0 && places+call.claim.places() > maxPlaces {
			break
		}
		taken++
		if call.state.CompareAndSwap(claimQueued, claimSent) {
			places += call.claim.places()
			calls = append(calls, call)
		}
	}
	left := copy(g.queue, g.queue[taken:])
	clear(g.queue[left:])
	g.queue = g.queue[:left]
	g.running = len(calls) > 0
	return calls
}

// places is how many rows a claim may lock.
func (c Claim) places() int { return c.Limit * max(1, len(c.Names)) }

// claimTogether answers each of the calls.
func (s *Store) claimTogether(calls []*claimCall) {
	tasks, err := s.claimBatch(calls)
	if err != nil && len(calls) > 1 && !shared(err) {
		// Nothing is leased, because of one of the calls, such as one whose worker has too long a
		// name. Halving finds it at little cost to the others.
		half := len(calls) / 2
		s.claimTogether(calls[:half])
		s.claimTogether(calls[half:])
		return
	}
	var unclaimed []*db.Task
	for i, call := range calls {
		call.err = err
		if err == nil {
			call.tasks = tasks[i]
		}
		if !call.state.CompareAndSwap(claimSent, claimAnswered) && err == nil {
			unclaimed = append(unclaimed, tasks[i]...)
		}
		close(call.done)
	}
	if len(unclaimed) > 0 {
		go s.giveBack(unclaimed)
	}
}

// shared reports whether each of the calls would fail with err, and not only one of them.
func shared(err error) bool {
	return errors.Is(err, postgres.ErrCommitUnknown) || errors.Is(err, postgres.ErrUnavailable) ||
		errors.Is(err, postgres.ErrPoolExhausted) || errors.Is(err, postgres.ErrTimeout)
}

// claimBatch leases tasks to the workers of several calls. The transaction commits after the
// leases have been received, and its marker resolves a COMMIT whose answer is lost. So a
// connection that breaks fails no call, and leaves no task with a lease that no worker knows of.
func (s *Store) claimBatch(calls []*claimCall) (tasks [][]*db.Task, err error) {
	var p db.ClaimTasksByNameBatchParams
	callers := make([]context.Context, len(calls))
	for i, call := range calls {
		callers[i] = call.ctx
		p.Workers = append(p.Workers, call.claim.Worker)
		p.LeaseSeconds = append(p.LeaseSeconds, call.claim.Lease.Seconds())
		p.FirstPlaces = append(p.FirstPlaces, p.MaxTasks+1)
		p.MaxTasks += int64(call.claim.Limit)
	}
	p.Names = calls[0].claim.Names
	ctx, end := postgres.Share(callers)
	defer func() { end(err) }()
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	err = s.InTx(ctx, func(q *db.Queries) error {
		tasks = make([][]*db.Task, len(calls))
		rows, err := claimRows(ctx, q, p)
		for _, r := range rows {
			tasks[r.Call-1] = append(tasks[r.Call-1], &r.Task)
		}
		return err
	})
	return tasks, err
}

// claimRows leases tasks of the given names, or of any.
func claimRows(ctx context.Context, q *db.Queries, p db.ClaimTasksByNameBatchParams) ([]*db.ClaimTasksBatchRow, error) {
	if len(p.Names) == 0 {
		return q.ClaimTasksBatch(ctx, db.ClaimTasksBatchParams{
			Workers: p.Workers, LeaseSeconds: p.LeaseSeconds, MaxTasks: p.MaxTasks, FirstPlaces: p.FirstPlaces,
		})
	}
	named, err := q.ClaimTasksByNameBatch(ctx, p)
	rows := make([]*db.ClaimTasksBatchRow, len(named))
	for i, r := range named {
		rows[i] = (*db.ClaimTasksBatchRow)(r)
	}
	return rows, err
}

// giveBack makes tasks pending again that were leased for a caller who has gone. It uses none of
// their attempts.
func (s *Store) giveBack(tasks []*db.Task) {
	var p db.GiveBackTasksParams
	for _, t := range tasks {
		p.Ids, p.Workers, p.Attempts = append(p.Ids, t.ID), append(p.Workers, *t.Worker), append(p.Attempts, t.Attempts)
	}
	ctx, cancel := context.WithTimeout(context.Background(), giveBackTimeout)
	defer cancel()
	// If it fails, the tasks are due again when their leases expire.
	if n, err := s.q.GiveBackTasks(ctx, p); err == nil && n > 0 {
		s.AnnounceTasks()
	}
}
