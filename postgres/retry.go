package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// maxAttempts is how often a statement or a transaction runs that may be
	// repeated.
	maxAttempts = 5

	// reconnectPatience is how long attempts that never reached a server do not
	// count: about what a restart or a failover takes.
	reconnectPatience = 2 * time.Second

	// resolveTimeout bounds the search for the outcome of a lost COMMIT where the
	// context has no deadline: longer than a server takes to come back.
	resolveTimeout = 30 * time.Second

	backOffFirst = 10 * time.Millisecond
	backOffMost  = time.Second
)

// tries counts the attempts at one statement or transaction and waits between
// them. The zero value with a start is ready for use.
type tries struct {
	start     time.Time
	n         int // attempts that failed and count
	stale     int
	waits     int
	resolving time.Time // since when the outcome of a COMMIT is looked for
}

// again waits before another attempt after err, and reports whether there is
// to be one: five, or as many as fit into reconnectPatience while there is no
// server to be reached, and none once ctx has ended.
func (t *tries) again(ctx context.Context, err error) bool {
	var e *Error
	if !errors.As(err, &e) || !e.unreached || time.Since(t.start) > reconnectPatience {
		t.n++
	}
	return t.n < maxAttempts && t.backOff(ctx)
}

// stalePlan reports whether to try again at once after a prepared statement
// was refused because a migration changed what it returns: nothing ran, and
// each connection of the pool says so once, or twice if a type was replaced that
// arguments are encoded by.
func (t *tries) stalePlan(ctx context.Context, conns int32) bool {
	t.stale++
	return t.stale <= 2*int(conns)+1 && ctx.Err() == nil
}

// resolve waits before another look for the outcome of a COMMIT, and reports
// whether there is time for one. The first doubt starts the clock.
func (t *tries) resolve(ctx context.Context) bool {
	if t.resolving.IsZero() {
		t.resolving = time.Now()
	}
	return time.Since(t.resolving) < resolveTimeout && t.backOff(ctx)
}

// backOff waits a random time whose limit doubles with each wait ("full
// jitter": callers that met do not meet again), and reports whether the context
// is still alive.
func (t *tries) backOff(ctx context.Context) bool {
	limit := min(backOffMost, backOffFirst<<min(t.waits, 10))
	t.waits++
	return pause(ctx, rand.N(limit))
}

// repeat sends a statement again that ended with err, as often as that is safe and
// there is time, and returns the rows of the attempt that succeeded.
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
			// The time was up while it was tried again: that is not the
			// statement's fault.
			err = refused
		}
		if e := (*Error)(nil); errors.As(err, &e) && e.unreached {
			refused = e
		}
		switch {
		case where.replica != nil && !definite(err) && bounded.Err() == nil:
			// The replica failed: retry on the primary.
			router.observer.retry(s.Name, "replica")
			where, refused = route{reason: reasonFailed}, nil
		case errors.Is(err, errReplicaHasIt):
			where, refused = router.choose(r.session), nil
		case stalePlan(err) && try.stalePlan(bounded, router.cfg.MaxConns):
			router.observer.retry(s.Name, "stale_plan")
		case repeatable(s, err) && try.again(bounded, err):
			router.observer.retry(s.Name, "connection")
			if s.Route == Replica {
				// A replica may be back that was not there a moment ago.
				where = router.choose(r.session)
			}
		default:
			return nil, r.giveUp(doubt, err)
		}
		next := &boundRows{}
		next.begin(router, r.ctx, s, r.args)
		next.autocommit, next.deadline, next.where = true, r.deadline, where
		if err = next.attempt(); err == nil {
			next.delivered = true
			return next, nil
		}
	}
}

// giveUp returns the error of a statement whose last attempt ended with err. An
// earlier one may have been applied, unless doubt is nil.
func (r *boundRows) giveUp(doubt, err error) error {
	if doubt != nil && doubt != err {
		err = errors.Join(doubt, err)
	}
	if doubt != nil {
		r.router.observer.resolved("unknown")
	}
	return err
}

// repeatable reports whether a statement that ended with err did nothing, or
// may be done twice. A write whose connection broke is ErrCommitUnknown, and so
// is one that this server refused because its connection to another one broke;
// other errors of the kind came before it was sent, or from a server that
// refused it.
func repeatable(s *statement, err error) bool {
	if errors.Is(err, ErrCommitUnknown) {
		return s.Retry
	}
	return errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrPoolExhausted) && !errors.Is(err, errLead)
}

// definite reports whether err is the statement's own fault and would be the
// same on any server.
func definite(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Code == "" {
		return false
	}
	return e.Kind == nil || e.Kind == ErrInvalidValue || e.Kind == ErrNotFound
}
