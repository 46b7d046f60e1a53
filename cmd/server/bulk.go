package main

import (
	"context"
	"errors"
	"fmt"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// withStore calls act with a store on the database, for imports, exports and seeds.
// If the database is the embedded one and is not running, it is started for the call.
func (a *app) withStore(ctx context.Context, act func(*store.Store) error) (err error) {
	d, err := a.joinDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	cfg := a.settings.onePostgres(d.url, a.log)
	// Half of them are the share of an import, which stores its chunks on two connections.
	cfg.MaxConns = 4
	// Statements of thousands of rows are slow by design.
	cfg.SlowQuery = -1
	router, err := postgres.Connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer router.Close()
	m, err := a.newMigrator(d)
	if err != nil {
		return err
	}
	pending, err := m.Pending(ctx)
	if err := errors.Join(err, m.Close()); err != nil {
		return err
	}
	if pending > 0 {
		return fmt.Errorf("the schema is not up to date: %s pending: run `server migrate up` first", count(pending, "migration"))
	}
	return act(store.NewWithLimits(db.New(router), a.settings.limits()))
}
