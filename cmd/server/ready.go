package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"quern/internal/api"
	"quern/postgres"
	"quern/postgres/migrate"
)

const (
	// readyTimeout bounds one answer: probes give up after a second by default
	// in Kubernetes and most load balancers.
	readyTimeout = time.Second
	// migratedFor is how long "no migration pending" is believed. It changes
	// with a rollback elsewhere only, so that many probes need not ask each
	// time; but it does change, so that once is not enough either.
	migratedFor = time.Second
)

const errDraining = api.NotReady("draining")

// readiness says whether requests should be sent here.
type readiness struct {
	router   *postgres.Router
	migrator *migrate.Migrator
	turn     chan struct{} // held by the check under way
	draining atomic.Bool
	migrated atomic.Int64 // when no migration was pending, in Unix nanoseconds
}

func newReadiness(router *postgres.Router, migrator *migrate.Migrator) *readiness {
	return &readiness{router: router, migrator: migrator, turn: make(chan struct{}, 1)}
}

// check returns nil when the primary answers and takes writes, no migration is pending and the
// process is not about to end. A pool that is full of slow work is no reason not
// to be ready: to take the process out of rotation moves its load to the others
// and answers none of it. Checks run one at a time, because the migrator makes
// a connection for each that does not find one.
func (r *readiness) check(ctx context.Context) error {
	if r.draining.Load() {
		return errDraining
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := r.router.Ready(ctx); err != nil {
		if errors.Is(err, postgres.ErrReadOnly) {
			return api.NotReady(postgres.ErrReadOnly.Error())
		}
		return err
	}
	if time.Since(time.Unix(0, r.migrated.Load())) < migratedFor {
		return nil
	}
	pending, err := r.migrator.Pending(ctx)
	if err != nil {
		return err
	}
	if pending > 0 {
		return api.NotReady(count(pending, "migration") + " pending: run `server migrate up`")
	}
	r.migrated.Store(time.Now().UnixNano())
	return nil
}

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
