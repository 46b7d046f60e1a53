package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/internal/dsn"
)

// hosts keeps the pool off a server that was replaced by another one, if the connection
// string names several hosts. Every promotion starts a higher timeline. So if two servers
// of a cluster both accept writes, the one on the higher timeline is the primary, and
// writes to the other one are lost.
//
// The floor is the highest timeline seen. When it rises, the pool is reset. From then on,
// connections to a server below the floor are rejected. The floor lasts as long as the process.
// Only a server can raise it. A token or a replica that shows a higher timeline only causes an
// immediate check of all hosts.
//
// Equal timelines cannot be ordered, because two standbys that are promoted separately
// start the same one. The pool then stays on its server, and the other one is reported.
//
// A nil *hosts does nothing. It is nil if the connection string names one host, and with a
// pooler, because a pooler changes its server connections without notice.
type hosts struct {
	all      []*host
	logger   *slog.Logger
	observer *observer // set before the first connection, as is reset
	reset    func()    // the pool's Leave; nil without a pool

	floor   atomic.Int64 // the highest timeline
	hinted  atomic.Int64 // time of the last hint that was followed, in Unix nanoseconds
	watched atomic.Bool
	stop    context.CancelFunc
	began   time.Time
	done    sync.WaitGroup

	mu       sync.Mutex
	system   int64         // the cluster: system identifier of the first server connected to
	primary  serverState   // the server that the pool writes to
	seen     time.Time     // when a check last saw it
	stranded bool          // only servers below the floor are left
	era      chan struct{} // closed and replaced when the floor rises
}

// host is one host of the connection string.
type host struct {
	name   string         // host:port
	config *pgconn.Config // connects to this host only
	wake   chan struct{}  // receives hints

	// Guarded by hosts.mu.
	state   serverState // zero if the last check was not answered
	at      time.Time   // time of that check
	problem hostProblem
	err     error // why the last check was not answered
}

// newHosts returns the hosts that the pool's connection string names, or nil.
func newHosts(c Config, pc *pgxpool.Config) *hosts {
	var list []*host
	for _, h := range dsn.Hosts(&pc.ConnConfig.Config) {
		h.Config.ValidateConnect = nil // standbys and old primaries are checked, too
		list = append(list, &host{name: h.Name, config: h.Config, wake: make(chan struct{}, 1)})
	}
	if len(list) < 2 || c.Pooler != PoolerNone {
		return nil
	}
	return &hosts{
		all: list, logger: c.Logger, observer: &observer{logger: c.Logger}, era: make(chan struct{}),
	}
}

// guard makes connections of cc reject servers that must not be written to. This costs one
// round trip per new connection.
func (h *hosts) guard(cc *pgconn.Config) {
	if h == nil {
		return
	}
	attrs := cc.ValidateConnect // target_session_attrs
	cc.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		var wanted error
		if attrs != nil {
			wanted = attrs(ctx, conn)
		}
		// A server that is not preferred is used if there is no other.
		if second := (*pgconn.NotPreferredError)(nil); wanted != nil && !errors.As(wanted, &second) {
			return wanted
		}
		seen, err := look(ctx, conn)
		if err == nil {
			asked := time.Now()
			if !h.watched.Load() || h.second(seen) {
				h.lookAtAll(ctx)
			}
			err = h.admit(conn.Conn().RemoteAddr().String(), seen, asked)
		} else if answered := (*pgconn.PgError)(nil); errors.As(err, &answered) {
			// Without EXECUTE on the functions of the check, nothing is known and nothing
			// can be rejected. Doctor reports it.
			err = nil
		}
		if err != nil {
			return err
		}
		conn.CustomData()[stateKey] = seen
		return wanted
	}
}

// stateKey is the key of a connection's serverState in its custom data.
const stateKey = "quern.state"

// serverOf returns the state of a connection's server when the connection was made, or zero
// if it was not checked.
func serverOf(conn *pgconn.PgConn) serverState {
	s, _ := conn.CustomData()[stateKey].(serverState)
	return s
}

// outdated reports whether the server of a connection has fallen below the floor. A
// transaction there must not be committed, because the commit would be lost.
func (h *hosts) outdated(conn *pgconn.PgConn) bool {
	if h == nil {
		return false
	}
	seen := serverOf(conn)
	return seen.timeline != 0 && seen.timeline < h.floor.Load()
}

// errOutdated is the error of a transaction whose server has been replaced.
var errOutdated = &Error{
	Kind: ErrUnavailable, Statement: "commit",
	Err: errors.New("another server has become the primary while the transaction was running: it was rolled back"),
}

// second reports whether a server on the floor's timeline differs from the known run of the
// primary. It is then either a second primary, or the primary after a restart.
func (h *hosts) second(seen serverState) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return seen.timeline != 0 && seen.timeline == h.floor.Load() && seen != h.primary
}

// admit decides about a new connection of the pool to the server at address. The server
// answered its check before the time asked.
func (h *hosts) admit(address string, seen serverState, asked time.Time) error {
	h.mu.Lock()
	var then []func()
	if h.system == 0 {
		// If the hosts belong to several clusters, nothing says which one is meant. The
		// first server that accepts a connection of the pool decides.
		h.system = seen.system
		then = h.checkAll()
	}
	err := h.fence(seen, asked)
	switch floor := h.floor.Load(); {
	case err != nil || seen.timeline == 0:
	case seen.timeline > floor:
		then = append(then, h.raise(address, seen))
	case seen != h.primary:
		h.primary, h.seen = seen, time.Now() // after a restart
	}
	h.mu.Unlock()
	runAll(then)
	return err
}

// checkAll evaluates the checks made before the cluster was known. It starts with the
// highest timeline, because starting on it is not a change.
func (h *hosts) checkAll() (then []func()) {
	order := slices.SortedFunc(slices.Values(h.all), func(x, y *host) int { return cmp.Compare(y.state.timeline, x.state.timeline) })
	for _, x := range order {
		then = append(then, h.check(x, serverState{})...)
	}
	return then
}

// runAll runs actions that were decided while h.mu was held but must not run under it,
// because logging may block and resetting the pool takes locks.
func runAll(then []func()) {
	for _, f := range then {
		f()
	}
}

// fence returns why a server must not be written to, or nil.
func (h *hosts) fence(seen serverState, asked time.Time) error {
	floor := h.floor.Load()
	switch {
	case seen.system != h.system:
		return &fencedError{otherCluster, fmt.Sprintf("its system identifier is %d, not %d", seen.system, h.system)}
	case seen.timeline == 0: // target_session_attrs decides about standbys
	case seen.timeline < floor:
		return &fencedError{olderTimeline, fmt.Sprintf("it is on timeline %d, and the cluster has reached timeline %d", seen.timeline, floor)}
	case seen.timeline == floor && seen != h.primary && slices.ContainsFunc(h.all, func(x *host) bool {
		return x.problem == equalTimeline && x.state == seen || x.state == h.primary && x.at.After(asked)
	}):
		return &fencedError{equalTimeline, fmt.Sprintf("another server is the primary of timeline %d", floor)}
	}
	return nil
}

// raise makes the timeline of seen the floor, and its server the primary.
func (h *hosts) raise(name string, seen serverState) func() {
	from := h.floor.Swap(seen.timeline)
	h.primary, h.seen = seen, time.Now()
	if from == 0 { // the first server, so nothing has changed
		return func() {}
	}
	close(h.era)
	h.era = make(chan struct{})
	return func() {
		h.observer.happened(TimelineRaised{Host: name, Timeline: seen.timeline, Before: from})
		h.logger.Warn("a server on a higher timeline is the primary: all connections are replaced by connections to it",
			"host", name, "timeline", seen.timeline, "before", from)
		if h.reset != nil {
			h.reset()
		}
		// Find out immediately whether the old primary still accepts writes.
		h.wake()
	}
}

// observed records the result of checking x, or the error.
func (h *hosts) observed(x *host, seen serverState, err error) {
	h.mu.Lock()
	before, silent := x.state, x.err != nil
	x.state, x.err = seen, err
	if seen == h.primary {
		h.seen = time.Now()
	}
	then := h.check(x, before)
	x.at = time.Now()
	if (err != nil) != silent {
		then = append(then, func() { h.logAnswers(x.name, err) })
	}
	then = append(then, h.checkStranded())
	h.mu.Unlock()
	runAll(then)
}

// check evaluates the state of x. The previous check, at x.at, saw the state before.
func (h *hosts) check(x *host, before serverState) (then []func()) {
	seen := x.state
	if h.system == 0 {
		return nil
	}
	if seen.system == h.system && seen.timeline > h.floor.Load() {
		then = append(then, h.raise(x.name, seen))
	}
	problem := h.problemOf(x, before)
	if problem == noProblem && x.problem == equalTimeline && seen == h.primary {
		then = append(then, func() {
			h.logger.Error("the primary is gone, and connections now go to the other server of its timeline: "+
				"writes that only the primary had are missing there", "host", x.name, "timeline", seen.timeline)
		})
	}
	if problem != noProblem && problem != x.problem {
		text := problem.describe(seen, h.system, h.floor.Load())
		then = append(then, func() {
			h.observer.happened(HostRefused{Host: x.name, Problem: string(problem)})
			h.logger.Error("a host of DATABASE_URL must not be written to", "host", x.name, "problem", text)
			if problem == equalTimeline && h.reset != nil {
				h.reset() // close the connections made to it so far
			}
		})
	}
	x.problem = problem
	return then
}

func (h *hosts) problemOf(x *host, before serverState) hostProblem {
	seen, floor := x.state, h.floor.Load()
	switch {
	case seen == serverState{}:
		return noProblem
	case seen.system != h.system:
		return otherCluster
	case seen.timeline == 0, seen == h.primary:
		return noProblem
	case seen.timeline < floor:
		return olderTimeline
	}
	// A run on the floor's timeline other than the primary's is a second primary, or the same
	// server after a restart. Two hosts may name one server.
	i := slices.IndexFunc(h.all, func(y *host) bool { return y.state == h.primary })
	switch {
	case i < 0 && (x.problem != equalTimeline || time.Since(h.seen) > primaryGone):
		h.primary, h.seen = seen, time.Now()
		return noProblem
	case i < 0:
		return x.problem
	case before == seen && h.all[i].at.After(x.at):
		// x was the same before and after the primary was seen, so both are alive.
		return equalTimeline
	}
	return x.problem
}

// checkStranded logs if only servers below the floor are left.
func (h *hosts) checkStranded() func() {
	floor := h.floor.Load()
	stranded := slices.ContainsFunc(h.all, func(x *host) bool { return x.problem == olderTimeline }) &&
		!slices.ContainsFunc(h.all, func(x *host) bool { return x.state.system == h.system && x.state.timeline >= floor })
	changed := stranded != h.stranded
	h.stranded = stranded
	return func() {
		if stranded && changed {
			h.logger.Error("writes are refused: no host of DATABASE_URL is the primary of the cluster's timeline: "+
				"start that server; if it is lost, restart this process", "timeline", floor)
		}
	}
}

func (h *hosts) logAnswers(name string, err error) {
	if err == nil {
		h.logger.Info("a host of DATABASE_URL answers", "host", name)
		return
	}
	h.logger.Info("a host of DATABASE_URL does not answer", "host", name, "error", oneLine(err))
}
