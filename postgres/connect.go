package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/dsn"
)

// connectBackoff limits the first pause between attempts to connect; the limit
// doubles with each, up to connectBackoffMax, and the pause is a random part of
// it ("full jitter"), so that a hundred processes do not come at once.
const (
	connectBackoff    = 200 * time.Millisecond
	connectBackoffMax = 5 * time.Second
)

// warmTimeout bounds how long the first connections are kept from those who
// want to use them.
const warmTimeout = time.Second

// Connect opens the pools and waits for the primary's first connection. A
// server that cannot be reached, is still starting or has no free connection is
// tried again up to ConnectRetries times; a wrong password, database,
// certificate or connection string is final at once. The error says what is
// wrong and how to mend it (see Diagnose), on one line, and never holds the
// password.
func Connect(ctx context.Context, cfg Config) (*Router, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	primary, err := cfg.openPool(ctx, settingPrimary, cfg.URL)
	if err != nil {
		return nil, err
	}
	r := newRouter(cfg, primary.pool)
	primary.observer, primary.server, primary.closing = r.observer, primaryName, &r.closed
	r.hung = primary.hung
	if len(cfg.ReplicaURLs) > 0 {
		primary.meet = r.replicas.histories.meetPrimary
	}
	if r.hosts = primary.hosts; r.hosts != nil {
		r.hosts.observer, r.hosts.reset = r.observer, primary.leave
		r.replicas.sign = r.hosts.hint
	}
	if err := r.openReplicas(ctx); err != nil {
		r.Close()
		return nil, err
	}
	if err := primary.awaitServer(ctx); err != nil {
		// In the background, for it waits for the attempts to connect.
		go r.Close()
		return nil, err
	}
	r.start()
	return r, nil
}

// openReplicas opens a pool for each replica. One that does not answer costs
// nothing until it does.
func (r *Router) openReplicas(ctx context.Context) error {
	for _, url := range r.cfg.ReplicaURLs {
		k, err := r.cfg.openPool(ctx, settingReplicas, url)
		if err != nil {
			return err
		}
		k.observer, k.meet, k.closing = r.observer, meetReplica, &r.closed
		k.server = r.replicas.add(k.pool, newBulkhead(r.cfg, r.registry))
		k.begin()
	}
	return nil
}

// firstKey marks the context of awaitServer's attempts.
type firstKey struct{}

// awaitServer returns when the server has let us in and nothing about it is
// wrong that would only show later, or with the reason why not.
func (k *keeper) awaitServer(ctx context.Context) error {
	ctx = context.WithValue(ctx, firstKey{}, true)
	for attempt := 1; ; attempt++ {
		err := k.enter(ctx)
		if err == nil {
			return nil
		}
		if !Diagnose(err).Passing || attempt > k.cfg.ConnectRetries || ctx.Err() != nil {
			return k.connectError(err)
		}
		limit := connectPause(attempt)
		k.cfg.Logger.WarnContext(ctx, "database does not answer yet", "attempt", attempt, "again_within", limit, "error", oneLine(err))
		if !pause(ctx, rand.N(limit)) {
			return k.connectError(err)
		}
	}
}

// connectPause is the longest pause after an attempt to connect, the first being 1.
func connectPause(attempt int) time.Duration {
	return min(connectBackoffMax, connectBackoff<<min(attempt-1, 10))
}

// enter makes the first connection and looks around with it.
func (k *keeper) enter(ctx context.Context) error {
	// The timeout is that of one address. Every host of the connection string
	// has its turn, and what stopped them is known before this bound is.
	hosts := 1 + len(k.config.ConnConfig.Fallbacks)
	bounded, cancel := context.WithTimeout(ctx, time.Duration(hosts)*k.config.ConnConfig.ConnectTimeout+time.Second)
	defer cancel()
	conn, err := k.pool.Acquire(bounded)
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := k.lookAround(bounded, conn.Conn()); err != nil {
		return err
	}
	if k.config.MinConns > 1 {
		go k.warm(ctx)
	}
	return nil
}

// warm makes the connections that MinConns asks for, which the pool did not get
// before the server had answered and would not make until its next look.
func (k *keeper) warm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), warmTimeout)
	defer cancel()
	// Not where requests have made them meanwhile: this would hold the last ones.
	for k.pool.Stat().TotalConns() < k.config.MinConns {
		conn, err := k.pool.Acquire(ctx)
		if err != nil {
			return // whoever needs a connection will be told why there is none
		}
		// Held to the end, so that each is another one.
		defer conn.Release()
	}
}

// connectError is what Connect returns for err.
func (k *keeper) connectError(err error) error {
	where := MaskURL(k.config.ConnString())
	if where == "" {
		where = dsn.Describe(k.config)
	}
	typed := wrap("connect", err)
	var e *Error
	if errors.As(typed, &e) {
		e.Err = withoutConfig(e.Err)
	}
	d := Diagnose(err)
	return &connectError{where: where, text: oneLine(err), diagnosis: d, err: typed}
}

// connectError says where, why and how to mend it.
type connectError struct {
	where, text string
	diagnosis   Diagnosis
	err         error
}

func (e *connectError) Error() string {
	s := fmt.Sprintf("connect to %s: %s", e.where, e.diagnosis.What)
	if e.text != "" {
		s += " (" + e.text + ")"
	}
	if e.diagnosis.Mend != "" {
		s += ": " + e.diagnosis.Mend
	}
	return s
}

func (e *connectError) Unwrap() error { return e.err }

// withoutConfig leaves out of an error to connect the configuration that
// pgconn puts in, and with it the password.
func withoutConfig(err error) error {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return connect.Unwrap()
	}
	return err
}
