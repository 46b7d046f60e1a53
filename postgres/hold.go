package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quern/postgres/internal/conn"
)

// holdDepth is how many stack frames of a transaction are kept. That is enough to get past
// this package and the generated code to the caller that errors must name.
const holdDepth = 12

// hold is a transaction's hold on its connection. It ends with the transaction, or when its
// closure has sent nothing for maxIdle. Then the connection is closed and its place in the
// pool is free, even if the closure is still running.
type hold struct {
	router  *Router
	tx      *txConn
	maxIdle time.Duration // zero or less means no limit

	// callers are the stack frames of the running closure. known is their number.
	callers [holdDepth]uintptr
	known   atomic.Int32

	state  atomic.Int32  // whether the connection may be used
	rested atomic.Int64  // when the closure last sent something, since holdEpoch
	beats  atomic.Uint64 // incremented with each row that is read

	mu    sync.Mutex
	ended bool
	check *conn.Deadline // of the next check; nil without a limit
	first conn.Deadline  // of the first check
}

// The states of a hold.
const (
	holdIdle int32 = iota // the closure runs
	holdBusy              // a call on the connection is in progress
	holdLost              // the connection is closed, or about to be
)

// holdEpoch is the time from which times are measured, so that they fit into one word.
var holdEpoch = time.Now()

// begin begins the hold of a transaction that has its connection.
func (h *hold) begin(t *txConn) {
	h.router, h.tx, h.maxIdle = t.router, t, t.opts.MaxIdle
	if h.maxIdle == 0 {
		h.maxIdle = t.router.cfg.TxMaxIdle
	}
	t.conn.usage.holds(h)
	now := time.Now()
	h.rested.Store(int64(now.Sub(holdEpoch)))
	if h.maxIdle > 0 {
		h.arm(&h.first, now, now.Add(h.maxIdle))
	}
}

// boundIdle makes the server end the transaction if it is idle for too long (PostgreSQL
// manual, idle_in_transaction_session_timeout). It is sent together with BEGIN and ends
// with the transaction, so it also works behind a pooler.
func (t *txConn) boundIdle() {
	if t.begun || t.bounded || t.hold.maxIdle <= 0 {
		return
	}
	t.bounded = true
	sql := "set local idle_in_transaction_session_timeout = " + strconv.FormatInt(max(1, t.hold.maxIdle.Milliseconds()), 10)
	t.pending = slices.Insert(t.pending, 1, pending{kind: pendingIdleBound, sql: sql}) // after BEGIN
}

// run runs the closure of the transaction.
//
//go:noinline
func (h *hold) run(closure func(t *tx) error, t *tx) error {
	h.known.Store(int32(runtime.Callers(2, h.callers[:])))
	h.router.holds.add(h)
	return closure(t)
}

// take must be called before the connection is used, and release afterwards. It returns
// false while another call of the same transaction uses the connection, which pgx rejects.
// It returns ErrIdleInTransaction if the hold has been lost.
func (h *hold) take() (taken bool, err error) {
	if h.state.CompareAndSwap(holdIdle, holdBusy) {
		return true, nil
	}
	if h.state.Load() == holdLost {
		return false, h.err()
	}
	return false, nil
}

// takeInTime is like take, but first loses a hold that is overdue. The server has probably
// closed its connection, so a statement would only fail.
func (h *hold) takeInTime() (taken bool, err error) {
	taken, err = h.take()
	if !taken || h.maxIdle <= 0 || h.idle(time.Now()) < h.maxIdle {
		return taken, err
	}
	h.state.Store(holdLost)
	h.lose()
	return false, h.err()
}

func (h *hold) idle(now time.Time) time.Duration {
	return now.Sub(holdEpoch) - time.Duration(h.rested.Load())
}

func (h *hold) release(taken bool) {
	if taken {
		h.rested.Store(int64(time.Since(holdEpoch)))
		h.state.Store(holdIdle)
	}
}

// releaseRow is like release, but is called after each row and does not read the clock.
func (h *hold) releaseRow(taken bool) {
	if taken {
		h.beats.Add(1)
		h.state.Store(holdIdle)
	}
}

// end ends the hold with its transaction, and reports whether the connection is still open.
func (h *hold) end() bool {
	h.mu.Lock()
	h.ended = true
	check := h.check
	h.mu.Unlock()
	if check != nil {
		check.Disarm()
	}
	h.router.holds.remove(h)
	// The state is never reset, because goroutines left by the closure must not use the
	// connection.
	return h.state.Swap(holdLost) != holdLost
}

// arm schedules the next check of the hold.
func (h *hold) arm(check *conn.Deadline, now, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return
	}
	h.check = check
	beats := h.beats.Load()
	check.Arm(now, at, func() { h.look(beats) })
}

// look loses the hold if the closure has sent nothing for maxIdle.
func (h *hold) look(beats uint64) {
	now := time.Now()
	due := now.Add(h.maxIdle - h.idle(now))
	switch {
	case h.state.Load() == holdBusy:
		due = now.Add(h.maxIdle / 4)
	case h.beats.Load() != beats:
		due = now.Add(h.maxIdle)
	}
	if due.After(now) {
		h.arm(&conn.Deadline{}, now, due)
		return
	}
	if !h.state.CompareAndSwap(holdIdle, holdLost) {
		h.arm(&conn.Deadline{}, now, now.Add(h.maxIdle))
		return
	}
	h.lose()
}

// lose closes the connection and releases its place in the pool. The state already keeps
// the closure from using it.
func (h *hold) lose() {
	h.router.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn,
		"a transaction was idle for longer than TX_MAX_IDLE and lost its connection: move what it waited for out of InTx",
		slog.String("holder", h.caller()), slog.Duration("max_idle", h.maxIdle))
	h.router.holds.remove(h)
	if !h.tx.acquired() {
		return
	}
	conn.Discard(h.tx.conn.Conn.Conn().PgConn(), conn.DestroyedIdle)
	conn.CloseQuickly(h.tx.conn.Conn.Conn())
	h.tx.conn.release()
}

func (h *hold) err() error {
	return &Error{Kind: ErrIdleInTransaction, Statement: "transaction", Err: fmt.Errorf(
		"it began at %s and sent nothing for %v: %w", h.caller(), h.maxIdle, errHeld)}
}

var errHeld = errors.New("move the code that it waits for out of the transaction, or raise TX_MAX_IDLE or TxOptions.MaxIdle")

// caller returns the line that began the transaction.
func (h *hold) caller() string {
	known := h.known.Load()
	if known == 0 {
		return "unknown"
	}
	return callerOf(h.callers[:known])
}

// second returns the error of a call that needs a second connection while it holds one.
func (h *hold) second(statement string) error {
	return &Error{Kind: ErrWithinTransaction, Statement: statement, Err: fmt.Errorf(
		"it is called within the transaction that began at %s, but not on its connection, and transactions hold all %d connections: use the DBTX that InTx passes to its function",
		h.caller(), h.router.cfg.MaxConns)}
}

// begins matches functions that begin a transaction: generated ones and wrappers.
var begins = regexp.MustCompile(`\)\.(InTx|InTxWith|Pipeline)$`)

// ownFrames is the prefix of the names of this package's functions.
var ownFrames = strings.TrimSuffix(runtime.FuncForPC(reflect.ValueOf(isDone).Pointer()).Name(), "isDone")

// callerOf returns the first caller outside this package and those functions.
func callerOf(callers []uintptr) string {
	frames := runtime.CallersFrames(callers)
	last := "unknown"
	for {
		frame, more := frames.Next()
		if frame.File != "" {
			last = filepath.Join(filepath.Base(filepath.Dir(frame.File)), filepath.Base(frame.File)) + ":" + strconv.Itoa(frame.Line)
		}
		own := strings.HasPrefix(frame.Function, ownFrames)
		if !own && !begins.MatchString(frame.Function) || !more {
			return last
		}
	}
}

// holds are the transactions' holds on connections of the primary's pool.
type holds struct {
	count atomic.Int32
	mu    sync.Mutex
	all   map[*hold]bool
}

func (s *holds) add(h *hold) {
	if h.tx.where.replica != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*hold]bool{}
	}
	s.all[h] = true
	s.count.Store(int32(len(s.all)))
}

func (s *holds) remove(h *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, h)
	s.count.Store(int32(len(s.all)))
}

// within returns the hold whose closure this goroutine runs, or nil. A goroutine that the
// closure has started does not count, because its call may wait for a connection while the
// closure continues.
func (s *holds) within() *hold {
	var buffer [128]uintptr
	stack := buffer[:runtime.Callers(2, buffer[:])]
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.all {
		callers := h.callers[:h.known.Load()]
		for i := range len(stack) - len(callers) + 1 {
			if slices.Equal(stack[i:i+len(callers)], callers) {
				return h
			}
		}
	}
	return nil
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
