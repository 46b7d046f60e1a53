package main

import (
	"context"
	"errors"
	"fmt"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// withStore gives act a store on the database, which it starts and stops if
// nothing else runs it. It is for work in bulk.
func (a *app) withStore(ctx context.Context, act func(*store.Store) error) (err error) {
	d, err := a.joinDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	cfg := a.settings.onePostgres(d.url, a.log)
	// One for the work, one for what goes on in the background.
	cfg.MaxConns = 2
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
		return fmt.Errorf("the schema is not up to date, %s pending: run `server migrate up` first", count(pending, "migration"))
	}
	return act(store.NewWithLimits(db.New(router), a.settings.limits()))
}
