package postgres

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// LookLoop returns a function that checks a watched host in the same way as the check of every
// second.
func LookLoop(t testing.TB, url string) func() {
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLook(conn) })
	x := &host{wake: make(chan struct{}, 1)}
	h := &hosts{all: []*host{x}}
	return func() {
		seen, err := lookByDeadline(conn)
		if err != nil {
			t.Fatal(err)
		}
		h.observed(x, seen, nil)
		x.wait(t.Context(), time.Nanosecond)
	}
}

// SweepMarkers sweeps immediately.
func (r *Router) SweepMarkers(ctx context.Context) error { return r.sweepMarkers(ctx) }

// FindMarkers checks immediately whether the table of commit markers exists.
func (r *Router) FindMarkers(ctx context.Context) bool { return r.findMarkers(ctx) }

// Mark adds a marker, and reports whether it existed already.
func (r *Router) Mark(ctx context.Context, id pgtype.UUID) (taken bool, err error) {
	_, err = r.Exec(ctx, r.markers.create.SQL, id)
	return r.markers.taken(err), err
}

// Learn advances the session to a position of the primary, without replicas.
func (s *Session) Learn(timeline, started, position int64) {
	s.learn(knownRow{position, timeline, started}, route{}, s.currentEpoch(), &histories{observer: &observer{logger: slog.Default()}})
}

type knownRow [3]int64

func (r knownRow) Scan(dest ...any) error {
	for i := range dest {
		*dest[i].(*int64) = r[i]
	}
	return nil
}

// DirectLimit returns how many calls of a statement run individually before others are
// queued.
func (r *Router) DirectLimit(statement string) int {
	return int(r.registry.named(statement).coalescer.directLimit)
}

// SetLastBatch sets the size of the last batch of a statement.
func (r *Router) SetLastBatch(statement string, calls int64) {
	r.registry.named(statement).coalescer.lastBatch.Store(calls)
}

// Waiting returns how many calls of a statement are queued.
func (r *Router) Waiting(statement string) int {
	co := r.registry.named(statement).coalescer
	co.mu.Lock()
	defer co.mu.Unlock()
	return len(co.queue)
}

// Outstanding returns how many calls of a statement are queued or running.
func (r *Router) Outstanding(statement string) int {
	return int(r.registry.named(statement).coalescer.outstanding.Load())
}

// Rows returns how many rows the calls of a statement are changing or wait for.
func (r *Router) Rows(statement string) int {
	co := r.registry.named(statement).coalescer
	co.mu.Lock()
	defer co.mu.Unlock()
	return len(co.keys.rows)
}

// PassLimit returns how many calls of one row may run at a time.
func (r *Router) PassLimit(statement string) int {
	return int(r.registry.named(statement).coalescer.passLimit)
}

// HasCoalescer reports whether calls of a statement may be coalesced.
func (r *Router) HasCoalescer(statement string) bool {
	return r.registry.named(statement).coalescer != nil
}

// HostLook is a check of one of several hosts, with its number and the server's answer.
type HostLook struct {
	Host              int
	Timeline, Started int64
}

// HostProblems returns the problem of each of n hosts after the checks.
func HostProblems(n int, looks ...HostLook) []string {
	h := &hosts{logger: slog.New(slog.DiscardHandler), observer: &observer{}, system: 1, era: make(chan struct{})}
	for range n {
		h.all = append(h.all, &host{wake: make(chan struct{}, 1)})
	}
	for _, l := range looks {
		h.observed(h.all[l.Host], serverState{system: 1, timeline: l.Timeline, started: l.Started}, nil)
	}
	var list []string
	for _, x := range h.all {
		list = append(list, string(x.problem))
	}
	return list
}

// EndPause ends the pause of a shared statement.
func (r *Router) EndPause(statement string) {
	r.registry.named(statement).coalescer.pausedUntil.Store(1)
}

// StalePlan reports whether err means that a statement must be prepared again.
func StalePlan(err error) bool { return stalePlan(err) }

// CountStatement does the work of Stats for one statement: it checks whether the statement
// may run, and counts it.
func CountStatement(ctx context.Context, r *Router) {
	if r.overBudget(ctx, commitStatement) == nil {
		ctx.Value(statsKey{}).(*Stats).add(commitStatement.Name, 1)
	}
}

// PoolFor returns the default sizes of a pool on a machine with that many cores.
func PoolFor(cores int) (least, most int32) { return poolFor(cores) }

// ReadsOnly exports readsOnly.
func ReadsOnly(sql string) bool { return readsOnly(sql) }

// ConnectPause exports connectPause.
func ConnectPause(attempt int) time.Duration { return connectPause(attempt) }

// DirectPipelines returns how many pipelines run alone before others are queued.
func (r *Router) DirectPipelines() int { return int(r.txCoalescers[""].direct) }

// OutstandingPipelines returns how many pipelines are queued or running.
func (r *Router) OutstandingPipelines() int { return int(r.txCoalescers[""].outstanding.Load()) }

// QueuedPipelines returns how many pipelines are queued.
func (r *Router) QueuedPipelines() int {
	co := r.txCoalescers[""]
	co.mu.Lock()
	defer co.mu.Unlock()
	return len(co.queue)
}
