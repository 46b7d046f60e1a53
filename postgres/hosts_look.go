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
	// hostPoll is the time between two checks of a host, and so the time within which a
	// promotion is detected. Checking three hosts costs 0.04 % of a core.
	hostPoll = time.Second

	// hostSilence bounds a check. If a host does not answer within it, its connection is
	// replaced.
	hostSilence = time.Second

	// hostRefused is the pause after a server has rejected the role, because of a wrong
	// password for example. The server logs each attempt, and some servers lock the
	// account.
	hostRefused = 30 * time.Second

	// hintPause is the least time between two hints that are followed. Tokens come from
	// clients, which must not be able to cause frequent checks.
	hintPause = 200 * time.Millisecond

	// primaryGone is how long the primary must be silent before a second server on the same
	// timeline replaces it. The two cannot be ordered, so a short silence must not move
	// writes to another history.
	primaryGone = 10 * time.Second

	// firstLooks bounds the checks of all hosts before the first connection is used. Only a
	// host that drops packets takes that long.
	firstLooks = 2 * time.Second
)

// serverState is a server's answer to a check. The zero value means no answer.
type serverState struct {
	system   int64 // system identifier of the cluster, which its standbys share
	timeline int64 // 0 in recovery
	started  int64 // start time of the postmaster in Unix microseconds, which identifies one run of one server
}

// history returns the history of the server's run as a primary.
func (s serverState) history() history { return history{uint32(s.timeline), s.started} }

// lookAtState queries a server's serverState. In recovery, no function returns the timeline
// to an ordinary role.
const lookAtState = "SELECT (SELECT system_identifier FROM pg_control_system()), " +
	"CASE WHEN pg_is_in_recovery() THEN 0 ELSE " + sqlTimeline + " END, " + sqlStarted

// look queries the server of a connection in one round trip.
func look(ctx context.Context, conn *pgconn.PgConn) (serverState, error) {
	results, err := conn.Exec(ctx, lookAtState).ReadAll()
	if err != nil {
		return serverState{}, err
	}
	var s serverState
	for i, field := range []*int64{&s.system, &s.timeline, &s.started} {
		if *field, err = strconv.ParseInt(string(results[0].Rows[0][i]), 10, 64); err != nil {
			return serverState{}, fmt.Errorf("check the server: %w", err)
		}
	}
	return s, nil
}

// start begins watching the hosts, each through a separate connection.
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

// watch checks x until ctx ends.
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

// refusesRole reports whether a server rejects the role, which does not change by itself. A
// server that is shutting down, starting or full is tried again without that pause.
func refusesRole(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (pgerrcode.IsInvalidAuthorizationSpecification(refused.Code) ||
		pgerrcode.IsInvalidCatalogName(refused.Code) || refused.Code == pgerrcode.InsufficientPrivilege)
}

// follow checks x through one connection until it breaks.
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
		// Check all hosts at the same time, because waking the process costs more than a
		// check.
		x.wait(ctx, hostPoll-time.Since(h.began)%hostPoll)
	}
	return ctx.Err()
}

func lookWithin(ctx context.Context, conn *pgconn.PgConn) (serverState, error) {
	ctx, cancel := context.WithTimeout(ctx, hostSilence)
	defer cancel()
	return look(ctx, conn)
}

// lookByDeadline is lookWithin for a connection that is only used for checks. It uses the
// socket's deadline, because pgconn starts a goroutine per context.
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

// wait waits until the next check is due, or for a hint.
func (x *host) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-x.wake:
	}
}

// hint requests an immediate check of all hosts, because a token or a replica has shown a
// higher timeline than the primary's. It never blocks.
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
		default: // a check is due already
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

// lookAtAll checks every host once.
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
