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
	// readyTimeout limits one check. By default, probes of Kubernetes and of most
	// load balancers time out after a second.
	readyTimeout = time.Second
	// migratedFor is how long "no migration is pending" is cached. It changes only if
	// another process undoes a migration, so not every probe must query it.
	migratedFor = time.Second
)

const errDraining = api.NotReady("draining")

// readiness checks whether this process should receive requests.
type readiness struct {
	router   *postgres.Router
	migrator *migrate.Migrator
	turn     chan struct{} // held by the running check
	draining atomic.Bool
	migrated atomic.Int64 // time of the last check without a pending migration, in Unix nanoseconds
}

func newReadiness(router *postgres.Router, migrator *migrate.Migrator) *readiness {
	return &readiness{router: router, migrator: migrator, turn: make(chan struct{}, 1)}
}

// check returns nil if the primary answers and accepts writes, no migration is
// pending, and the process is not shutting down. A pool that is full of slow work is
// still ready, because taking the process out of rotation would only move its load
// to the others. Checks run one at a time, because the migrator opens a connection
// for each concurrent one.
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

// count returns n and thing, in the plural unless n is 1.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
