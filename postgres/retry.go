package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// maxAttempts is how often a statement or a transaction runs if it may be repeated.
	maxAttempts = 5

	// reconnectPatience is how long attempts that reached no server are not counted. A
	// restart or a failover takes about this long.
	reconnectPatience = 2 * time.Second

	// resolveTimeout bounds resolving a lost COMMIT if the context has no deadline. A
	// server takes less time to come back.
	resolveTimeout = 30 * time.Second

	backOffFirst = 10 * time.Millisecond
	backOffMost  = time.Second
)

// tries counts the attempts of one statement or transaction and waits between them. The
// zero value with a start is ready for use.
type tries struct {
	start     time.Time
	n         int // failed attempts that count
	stale     int
	waits     int
	resolving time.Time // when resolving a lost COMMIT began
}

// again waits before the next attempt after err, and reports whether to make it. There are
// five attempts, or as many as fit into reconnectPatience while no server can be reached.
// There are none once ctx has ended.
func (t *tries) again(ctx context.Context, err error) bool {
	var e *Error
	if !errors.As(err, &e) || !e.unreached || time.Since(t.start) > reconnectPatience {
		t.n++
	}
	return t.n < maxAttempts && t.backOff(ctx)
}

// stalePlan reports whether to try again immediately after a migration has invalidated a
// prepared statement. Nothing was executed. Each connection of the pool reports the error once,
// or twice if the migration has replaced a type with which arguments are encoded.
func (t *tries) stalePlan(ctx context.Context, conns int32) bool {
	t.stale++
	return t.stale <= 2*int(conns)+1 && ctx.Err() == nil
}

// resolve waits before the next attempt to resolve a lost COMMIT, and reports whether there
// is time for it. The first call starts the clock.
func (t *tries) resolve(ctx context.Context) bool {
	if t.resolving.IsZero() {
		t.resolving = time.Now()
	}
	return time.Since(t.resolving) < resolveTimeout && t.backOff(ctx)
}

// backOff waits a random time whose limit doubles with each wait ("full jitter", so that
// callers that collided do not collide again). It reports whether the context is still
// alive.
func (t *tries) backOff(ctx context.Context) bool {
	limit := min(backOffMost, backOffFirst<<min(t.waits, 10))
	t.waits++
	return pause(ctx, rand.N(limit))
}

// repeat retries a statement that ended with err, as long as that is safe and there is time. It
// returns the rows of the attempt that succeeded.
func (r *boundRows) repeat(err error) (*boundRows, error) {
	router, s := r.router, r.statement
	bounded, cancel := context.WithDeadline(r.ctx, r.deadline)
	defer cancel()
	var doubt error    // of an earlier attempt that may have been applied
	var refused *Error // of the last attempt, if it reached no server
	try := tries{start: r.start}
	for where := r.where; ; {
		if errors.Is(err, ErrCommitUnknown) {
			doubt = err
		}
		if refused != nil && errors.Is(err, ErrTimeout) {
			// The time was up during a retry, so the statement is not at fault.
			err = refused
		}
		if e := (*Error)(nil); errors.As(err, &e) && e.unreached {
			refused = e
		}
		switch {
		case errors.Is(err, errOperator):
			return nil, r.giveUp(doubt, err)
		case where.replica != nil && !definite(err) && bounded.Err() == nil:
			// The replica failed; retry on the primary.
			router.observer.retry(s.Name, "replica")
			where, refused = route{reason: reasonFailed}, nil
		case errors.Is(err, errReplicaHasIt):
			where, refused = router.choose(r.session), nil
		case stalePlan(err) && try.stalePlan(bounded, router.cfg.MaxConns):
			router.observer.retry(s.Name, "stale_plan")
		case repeatable(s, err) && try.again(bounded, err):
			router.observer.retry(s.Name, "connection")
			if s.Route == Replica {
				// A replica may be available again.
				where = router.choose(r.session)
			}
		default:
			return nil, r.giveUp(doubt, err)
		}
		next := &boundRows{}
		next.called(router, r.ctx, s, r.args)
		next.autocommit, next.deadline, next.where, next.confirms = true, r.deadline, where, doubt != nil
		if err = next.attempt(); err == nil {
			next.delivered = true
			return next, nil
		}
	}
}

// giveUp returns the error of a statement whose last attempt ended with err. If doubt is
// not nil, an earlier attempt may have been applied.
func (r *boundRows) giveUp(doubt, err error) error {
	if doubt != nil && doubt != err {
		err = errors.Join(doubt, err)
	}
	if doubt != nil {
		r.router.observer.resolved("unknown")
	}
	return err
}

// repeatable reports whether a statement that ended with err did nothing, or may be executed
// twice. A write ends with ErrCommitUnknown if its connection broke, or if this server rejected
// it because a connection to another server broke. Other errors of the kind ErrUnavailable
// occurred before the statement was sent, or the server rejected it.
func repeatable(s *statement, err error) bool {
	if errors.Is(err, ErrCommitUnknown) {
		return s.Retry
	}
	return errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrPoolExhausted) && !errors.Is(err, errLead)
}

// definite reports whether err is caused by the statement itself and would be the same on
// any server.
func definite(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Code == "" {
		return false
	}
	return e.Kind == nil || e.Kind == ErrInvalidValue || e.Kind == ErrNotFound
}
