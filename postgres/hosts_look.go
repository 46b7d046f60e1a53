package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// hostPoll is the time between two looks at a host: within it, a promotion is
	// noticed. Three hosts cost 0.04 % of a core.
	hostPoll = time.Second

	// hostSilence bounds a look. A host that does not answer within it is
	// connected to again.
	hostSilence = time.Second

	// hostRefused is the pause after a server has refused the role, such as for a
	// wrong password. It logs each attempt, and some lock the account.
	hostRefused = 30 * time.Second

	// hintPause is the least time between two hints that are followed. Tokens come
	// from clients, which must not be able to make looks frequent.
	hintPause = 200 * time.Millisecond

	// primaryGone is how long the primary must not have answered before a second
	// server of the same timeline takes its place. They cannot be ordered, so that
	// a short silence must not move the writes to another history.
	primaryGone = 10 * time.Second

	// firstLooks bounds the looks at all hosts before the first connection is
	// used. Only a host that swallows packets takes so long.
	firstLooks = 2 * time.Second
)

// serverState is what a server says of itself. The zero value is no answer.
type serverState struct {
	system   int64 // the cluster's identifier, which its standbys share
	timeline int64 // 0 in recovery
	started  int64 // when its postmaster started, in Unix microseconds: names one run of one server
}

// history is that of the server's run, as a primary.
func (s serverState) history() history { return history{uint32(s.timeline), s.started} }

// lookAtState asks a server for its serverState. In recovery no function returns
// the timeline to an ordinary role.
const lookAtState = "SELECT (SELECT system_identifier FROM pg_control_system()), " +
	"CASE WHEN pg_is_in_recovery() THEN 0 ELSE " + sqlTimeline + " END, " + sqlStarted

// look asks the server of a connection in one round trip.
func look(ctx context.Context, conn *pgconn.PgConn) (serverState, error) {
	results, err := conn.Exec(ctx, lookAtState).ReadAll()
	if err != nil {
		return serverState{}, err
	}
	var s serverState
	for i, field := range []*int64{&s.system, &s.timeline, &s.started} {
		if *field, err = strconv.ParseInt(string(results[0].Rows[0][i]), 10, 64); err != nil {
			return serverState{}, fmt.Errorf("look at the server: %w", err)
		}
	}
	return s, nil
}

// start begins to watch the hosts, each through a connection of its own.
func (h *hosts) start() {
	if h == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.stop, h.began = cancel, time.Now()
	h.watched.Store(true)
	for _, x := range h.all {
		h.done.Go(func() { h.watch(ctx, x) })
	}
}

func (h *hosts) close() {
	if h != nil && h.stop != nil {
		h.stop()
		h.done.Wait()
	}
}

// watch looks at x until ctx ends.
func (h *hosts) watch(ctx context.Context, x *host) {
	for ctx.Err() == nil {
		err := h.follow(ctx, x)
		if ctx.Err() != nil {
			return
		}
		h.observed(x, serverState{}, err)
		wait := hostPoll
		if refusesRole(err) {
			wait = hostRefused
		}
		x.wait(ctx, wait)
	}
}

// refusesRole reports whether a server refuses the role, which does not change
// by itself. One that shuts down, starts or is full is tried again at once.
func refusesRole(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (pgerrcode.IsInvalidAuthorizationSpecification(refused.Code) ||
		pgerrcode.IsInvalidCatalogName(refused.Code) || refused.Code == pgerrcode.InsufficientPrivilege)
}

// follow looks at x through one connection, until that breaks.
func (h *hosts) follow(ctx context.Context, x *host) error {
	conn, err := pgconn.ConnectConfig(ctx, x.config)
	if err != nil {
		return err
	}
	defer closeLook(conn)
	for ctx.Err() == nil {
		seen, err := lookByDeadline(conn)
		if err != nil {
			return err
		}
		h.observed(x, seen, nil)
		// All hosts in the same moment: one wake-up of the process costs more than a look.
		x.wait(ctx, hostPoll-time.Since(h.began)%hostPoll)
	}
	return ctx.Err()
}

func lookWithin(ctx context.Context, conn *pgconn.PgConn) (serverState, error) {
	ctx, cancel := context.WithTimeout(ctx, hostSilence)
	defer cancel()
	return look(ctx, conn)
}

// lookByDeadline is lookWithin for a connection that only looks: it is bounded by
// the socket's deadline, because pgconn starts a goroutine for a context.
func lookByDeadline(conn *pgconn.PgConn) (serverState, error) {
	if err := conn.Conn().SetDeadline(time.Now().Add(hostSilence)); err != nil {
		return serverState{}, err
	}
	return look(context.Background(), conn)
}

func closeLook(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), hostSilence)
	defer cancel()
	_ = conn.Close(ctx)
}

// wait waits for the next look, or for a hint.
func (x *host) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-x.wake:
	}
}

// hint asks for a look at every host at once: a token or a replica has shown a
// timeline above the primary's. It never blocks.
func (h *hosts) hint() {
	if h == nil {
		return
	}
	now, last := time.Now().UnixNano(), h.hinted.Load()
	if now-last >= int64(hintPause) && h.hinted.CompareAndSwap(last, now) {
		h.wake()
	}
}

func (h *hosts) wake() {
	for _, x := range h.all {
		select {
		case x.wake <- struct{}{}:
		default: // a look is due already
		}
	}
}

// untilRaised returns a context that also ends when the floor rises.
func (h *hosts) untilRaised(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if h == nil {
		return ctx, cancel
	}
	h.mu.Lock()
	era := h.era
	h.mu.Unlock()
	go func() {
		select {
		case <-era:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// lookAtAll looks at every host once.
func (h *hosts) lookAtAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstLooks)
	defer cancel()
	var looks sync.WaitGroup
	for _, x := range h.all {
		looks.Go(func() {
			conn, err := pgconn.ConnectConfig(ctx, x.config)
			if err != nil {
				h.observed(x, serverState{}, err)
				return
			}
			defer closeLook(conn)
			seen, err := lookByDeadline(conn)
			h.observed(x, seen, err)
		})
	}
	looks.Wait()
}
