package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/postgres/internal/conn"
)

const (
	// directTxPerCore is how many pipelines may run alone, per core, before others are queued.
	// They are twice as many as calls of a statement, because a COMMIT mostly waits for the
	// disk, and the server flushes several with one write.
	directTxPerCore = 4

	// maxSharers is how many pipelines one transaction is shared by at most. With 64, the
	// round trip and the flush of the WAL are a small part of the cost already, and the first
	// pipeline does not wait long for the last.
	maxSharers = 64

	// maxSharedSize is the size in bytes of the arguments of one pipeline, above which it
	// runs alone. A larger one would delay the others, and a batch of them would take memory.
	maxSharedSize = 64 << 10
)

// txCoalescer coalesces concurrent pipelines with TxOptions.Coalesce. If only a few are
// outstanding, each runs alone, without delay. If there are more, they are queued until a
// shared transaction has ended. All queued pipelines then share the next one.
//
// A shared transaction is the first run of each of its pipelines. Each has its own marker in
// it. So if the answer is lost, each caller resolves its own outcome, as if it had been alone.
// If the transaction is rolled back, because of one of them or for any other reason, nothing
// of it is used, and a pipeline that is not shared again runs alone.
//
// A shared transaction has a separate deadline and does not use any caller's context, so
// cancelling one caller does not affect the others.
type txCoalescer struct {
	router    *Router
	begin     string
	direct    int64 // how many pipelines may run alone before others are queued
	most      int   // how many shared transactions may run at a time
	shareable sync.Map

	outstanding atomic.Int64 // pipelines that are queued or running, alone or shared

	mu      sync.Mutex
	queue   []*sharer
	running int // workers
}

// openTxCoalescers makes a coalescer of pipelines for each way to begin their transactions.
func (r *Router) openTxCoalescers() {
	if !*r.cfg.CoalesceTransactions {
		return
	}
	cores, conns := runtime.GOMAXPROCS(0), int(r.cfg.MaxConns)
	r.txCoalescers = map[pgx.TxIsoLevel]*txCoalescer{}
	for _, level := range []pgx.TxIsoLevel{"", pgx.ReadCommitted} {
		r.txCoalescers[level] = &txCoalescer{
			router: r, begin: TxOptions{Isolation: level}.begin(),
			direct: int64(min(directTxPerCore*cores, conns)), most: min(batchesPerCore*cores, max(1, conns/2)),
		}
	}
}

// txCoalescerOf returns the coalescer for pipelines with the given options. It is nil if
// they are not coalesced.
func (r *Router) txCoalescerOf(opts TxOptions) *txCoalescer {
	switch {
	case !opts.Coalesce, opts.ReadOnly, opts.Replica, opts.ReadBack == nil && !opts.NoMarker, opts.Class != "" && opts.Class != DefaultClass:
		return nil
	}
	return r.txCoalescers[opts.Isolation]
}

// errAlone: the pipeline is not shared, and nothing of it is stored.
var errAlone = errors.New("the pipeline must run alone")

// run runs the pipeline that fn queues in a shared transaction, and reads its results. It
// returns errAlone if the pipeline must run alone, because only a few are outstanding, it
// cannot be shared, or the shared transaction was rolled back.
func (co *txCoalescer) run(ctx context.Context, opts TxOptions, runs *pipelineRuns, fn func(b *Batch) error) error {
	if co.outstanding.Load() <= co.direct {
		return errAlone
	}
	m, b := &runs.marker, runs.next()
	if err := b.fill(fn); err != nil {
		return err
	}
	if !co.canShare(b) {
		return errAlone
	}
	s := newSharer(ctx, co.router, b)
	if m.usable(opts) {
		s.marker = *m.value()
	}
	if !co.enqueue(s) {
		return &Error{Kind: ErrPoolExhausted, Statement: "begin", Err: fmt.Errorf("%d transactions are waiting already", maxQueued)}
	}
	err := s.await()
	switch {
	case err == nil:
		return s.read()
	case err == errAlone:
		co.router.observer.retry("transaction", "shared")
	case errors.Is(err, ErrCommitUnknown):
		s.lost(err)
		m.doubt(err, commitLostTogether)
	}
	return err
}

// setsOthers matches a statement that would change how the statements of other callers in
// the same transaction are executed.
var setsOthers = regexp.MustCompile(`(?i)\bset_config\b|^(\s|--[^\n]*\n)*(SET|RESET|BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|PREPARE|DISCARD)\b`)

// canShare reports whether the statements of a pipeline may run in a shared transaction.
func (co *txCoalescer) canShare(b *Batch) bool {
	size := 0
	for _, s := range b.steps {
		s.statement = co.router.registry.find(s.sql)
		ok, known := co.shareable.Load(s.statement)
		if !known {
			ok = s.statement.Class == DefaultClass && !setsOthers.MatchString(s.sql)
			co.shareable.Store(s.statement, ok)
		}
		if !ok.(bool) {
			return false
		}
		for _, arg := range s.args {
			size += sizeOf(arg)
		}
	}
	return len(b.steps) > 0 && size <= maxSharedSize
}

// sizeOf returns about how many bytes an argument of variable length has.
func sizeOf(arg any) (n int) {
	switch arg := arg.(type) {
	case string:
		n = len(arg)
	case *string:
		if arg != nil {
			n = len(*arg)
		}
	case []byte:
		n = len(arg)
	case []string:
		for _, text := range arg {
			n += len(text)
		}
	case [][]byte:
		for _, bytes := range arg {
			n += len(bytes)
		}
	}
	return n
}

// enqueue queues a pipeline. It returns false if the queue is full.
func (co *txCoalescer) enqueue(s *sharer) bool {
	co.mu.Lock()
	defer co.mu.Unlock()
	if len(co.queue) >= maxQueued {
		co.queue = slices.DeleteFunc(co.queue, func(s *sharer) bool { return s.state.Load() == callCancelled })
	}
	if len(co.queue) >= maxQueued {
		return false
	}
	co.queue = append(co.queue, s)
	if co.running < co.most {
		co.running++
		go co.work()
	}
	return true
}

// work runs shared transactions until the queue is empty.
func (co *txCoalescer) work() {
	for {
		// Let calls that are about to be made join the transaction.
		runtime.Gosched()
		if co.idle() {
			return
		}
		// More pipelines are queued while this one waits for a connection. Each of them ends
		// its wait by itself.
		lease, err := co.router.acquire(context.Background(), request{class: DefaultClass, name: "begin", start: time.Now()})
		if errors.Is(err, ErrPoolExhausted) {
			continue
		}
		list := co.dequeue()
		if err != nil {
			alone(list)
			continue
		}
		co.runShared(lease, list)
	}
}

// idle reports whether the queue is empty. The worker must then stop, because it no longer
// counts as running.
func (co *txCoalescer) idle() bool {
	co.mu.Lock()
	defer co.mu.Unlock()
	if len(co.queue) > 0 {
		return false
	}
	co.running--
	return true
}

// dequeue returns the oldest pipelines whose callers still wait.
func (co *txCoalescer) dequeue() []*sharer {
	co.mu.Lock()
	defer co.mu.Unlock()
	var list []*sharer
	n := 0
	for _, s := range co.queue {
		if len(list) == maxSharers {
			break
		}
		n++
		if s.ctx.Err() == nil && s.state.CompareAndSwap(callQueued, callSent) {
			list = append(list, s)
		}
	}
	rest := copy(co.queue, co.queue[n:])
	clear(co.queue[rest:])
	co.queue = co.queue[:rest]
	return list
}

// alone makes each caller run its pipeline alone.
func alone(list []*sharer) {
	for _, s := range list {
		s.complete(errAlone)
	}
}

// await returns when the shared transaction has ended, or with an error if the caller's
// context ends first. While the pipeline is queued, it waits as long as for a connection.
func (s *sharer) await() error {
	r := s.router
	wait := &conn.Deadline{}
	wait.Begin(s.ctx, s.start, s.start.Add(r.cfg.AcquireTimeout))
	defer wait.Cancel()
	select {
	case err := <-s.done:
		return err
	case <-wait.Done():
	}
	if s.state.CompareAndSwap(callQueued, callCancelled) {
		return r.noConnection(wait, time.Time{}, request{class: DefaultClass, name: "begin"}, r.primary, r.classes, wait.Err())
	}
	select {
	case err := <-s.done:
		return err
	case <-s.ctx.Done():
	}
	// The transaction cannot be cancelled, because others share it. It usually ends within a
	// moment, and then the outcome is known.
	timer := time.NewTimer(conn.CancelTimeout)
	defer timer.Stop()
	select {
	case err := <-s.done:
		return err
	case <-timer.C:
		return &Error{Kind: ErrCommitUnknown, Statement: "commit", Err: s.ctx.Err()}
	}
}
