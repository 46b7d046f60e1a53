// Package migrate applies the migrations of a project, which are goose files
// (.sql) in an fs.FS, and reports their status. It wraps goose's Provider. Its
// connections are set up like those of a postgres.Router, its lock in the
// database names the holder, all files are checked before any of them is applied,
// and its errors have hints.
//
//	New, Config    migrate.go, config.go  a Migrator with its own connections
//	Up, Down, …    migrate.go             apply and undo, one process at a time
//	Status         status.go              which migrations are applied or pending
//	Create         create.go              an empty file with the next number
//
// lock.go serializes processes that migrate, and check.go refuses files that
// goose would split at the wrong places.
package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"quern/postgres"
)

// Migrator applies and undoes migrations. Several may be used at once, in one
// process or in many, because a lock in the database lets only one of them
// migrate at a time. It records versions in goose_db_version, like the goose
// command.
type Migrator struct {
	db       *sql.DB
	provider *goose.Provider
	store    database.Store

	outOfOrder bool // may be applied
}

// New returns a Migrator with its own connections. It does not connect yet.
func New(cfg Config) (*Migrator, error) {
	cfg = cfg.withDefaults()
	cc, prepare, err := postgres.Config{URL: cfg.URL, Pooler: cfg.Pooler, Logger: cfg.Logger}.ConnConfig()
	if err != nil {
		return nil, err
	}
	if err := checkFiles(cfg.FS); err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	lockTimeout := "SET lock_timeout = " + strconv.FormatInt(cfg.LockTimeout.Milliseconds(), 10)
	db := stdlib.OpenDB(*cc, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		if err := prepare(ctx, conn); err != nil {
			return err
		}
		if cfg.Pooler == postgres.PoolerTransaction {
			return nil // the setting would leak to the session's next client
		}
		_, err := conn.Exec(ctx, lockTimeout)
		return err
	}))
	locker, err := newLock(cfg)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, cfg.FS,
		goose.WithSessionLocker(locker), goose.WithAllowOutofOrder(cfg.AllowOutOfOrder), goose.WithDisableGlobalRegistry(true), goose.WithSlog(cfg.Logger))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the migrations: %w", err), db.Close())
	}
	store, err := database.NewStore(goose.DialectPostgres, goose.DefaultTablename)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Migrator{db: db, provider: provider, store: store, outOfOrder: cfg.AllowOutOfOrder}, nil
}

// Close closes the Migrator's connections.
func (m *Migrator) Close() error { return m.db.Close() }

// Up applies all pending migrations in order. It returns those that it applied,
// even if one fails.
func (m *Migrator) Up(ctx context.Context) ([]Result, error) {
	results, err := m.provider.Up(ctx)
	return migrated(results, m.explain(ctx, err))
}

// explain names the migrations that are out of order, if that is the reason for
// the error.
func (m *Migrator) explain(ctx context.Context, err error) error {
	if partial := (*goose.PartialError)(nil); err == nil || m.outOfOrder || errors.As(err, &partial) {
		return err
	}
	status, failed := m.Status(ctx)
	if failed != nil {
		return err
	}
	var files []string
	var last int64
	for _, s := range status {
		if s.OutOfOrder {
			files = append(files, s.File)
		}
		if s.Applied {
			last = s.Version
		}
	}
	if len(files) == 0 {
		return err
	}
	return fmt.Errorf("%s: out of order: version %d is already applied: give it a higher number, "+
		"or run `migrate up --allow-out-of-order` if it does not conflict with later migrations", strings.Join(files, ", "), last)
}

// Down undoes the last migration.
func (m *Migrator) Down(ctx context.Context) ([]Result, error) {
	return one(m.provider.Down(ctx))
}

// Redo undoes the last migration and applies it again.
func (m *Migrator) Redo(ctx context.Context) ([]Result, error) {
	down, err := m.Down(ctx)
	if err != nil {
		return down, err
	}
	up, err := one(m.provider.UpByOne(ctx))
	return append(down, up...), err
}

// To applies or undoes migrations until version is the last applied one. If
// version is 0, it undoes all.
func (m *Migrator) To(ctx context.Context, version int64) ([]Result, error) {
	known := slices.ContainsFunc(m.provider.ListSources(), func(s *goose.Source) bool { return s.Version == version })
	if version != 0 && !known {
		return nil, fmt.Errorf("migrate to %d: no such version: `migrate status` lists them", version)
	}
	current, _, err := m.Version(ctx)
	if err != nil {
		return nil, err
	}
	if version < current {
		results, err := migrated(m.provider.DownTo(ctx, version))
		if current, _, failed := m.Version(ctx); err == nil && failed == nil && current > version {
			// goose undoes migrations in the order of application and stops at the first
			// version that may stay.
			err = fmt.Errorf("migrate to %d: version %d is still applied, because it was applied out of order: undo it with `migrate down`", version, current)
		}
		return results, err
	}
	results, err := m.provider.UpTo(ctx, version)
	return migrated(results, m.explain(ctx, err))
}

// Version returns the last applied migration, or 0 for none, and the last one in
// the directory.
func (m *Migrator) Version(ctx context.Context) (current, latest int64, err error) {
	current, latest, err = m.provider.GetVersions(ctx)
	return current, latest, postgres.WrapError("migrate", err)
}
