// Package migrate applies the migrations of a project, which are goose files
// (.sql) in an fs.FS, and reports their status. It wraps goose's Provider. Its
// connections are set up like those of a postgres.Router, its lock in the
// database names the holder, all files are checked before any of them is applied,
// and its errors have hints.
//
//	New, Config    migrate.go, config.go  a Migrator with its own connections
//	Up, Down, …    migrate.go             apply and undo, one process at a time
//	Status         status.go              which migrations are applied or pending
//	PlanUp, …      plan.go                what Up, Down and To would run
//	Baseline       baseline.go            records migrations as applied without running them
//	History        history.go             which migrations ran, when and how long
//	Check, …       sum.go                 checksums, double and missing numbers
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
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

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

	files      fs.FS
	lock       *sessionLock
	logger     *slog.Logger
	outOfOrder bool // may be applied
	history    bool // is recorded
	retries    int  // of a migration that timed out waiting for a lock
}

// New returns a Migrator with its own connections. It does not connect yet.
func New(cfg Config) (*Migrator, error) {
	cfg = cfg.withDefaults()
	cc, prepare, err := postgres.Config{URL: cfg.URL, Pooler: cfg.Pooler, Logger: cfg.Logger}.ConnConfig()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkFiles(cfg.FS), checkSum(cfg.FS, cfg.Sums)); err != nil {
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
	return &Migrator{
		db: db, provider: provider, store: store, files: cfg.FS, lock: locker, logger: cfg.Logger,
		outOfOrder: cfg.AllowOutOfOrder, history: cfg.History, retries: cfg.LockRetries,
	}, nil
}

// Close closes the Migrator's connections.
func (m *Migrator) Close() error { return m.db.Close() }

// Up applies all pending migrations in order. It returns those that it applied,
// even if one fails.
func (m *Migrator) Up(ctx context.Context) ([]Result, error) {
	return m.run(ctx, func() ([]*goose.MigrationResult, error) { return m.provider.Up(ctx) })
}

// run applies or undoes migrations, and records those that it ran. It retries if one of them
// timed out waiting for a lock.
func (m *Migrator) run(ctx context.Context, act func() ([]*goose.MigrationResult, error)) (all []Result, err error) {
	defer func() { m.record(ctx, all) }()
	for try := 0; ; try++ {
		results, failed := act()
		failed = m.explain(ctx, failed)
		var ran []Result
		ran, err = m.migrated(results, failed)
		all = append(all, ran...)
		if try >= m.retries || !m.lockedOut(failed) {
			return all, err
		}
		pause := lockPause << try
		m.logger.WarnContext(ctx, "a migration waited too long for a lock and was rolled back: it is tried again", "pause", pause, "error", err)
		select {
		case <-ctx.Done():
			return all, err
		case <-time.After(pause):
		}
	}
}

// lockPause is the first pause before a migration is tried again. Meanwhile, the statements
// that queued for the lock after it can proceed.
const lockPause = time.Second

// lockedOut reports whether a migration timed out waiting for a lock and was rolled back as a
// whole.
func (m *Migrator) lockedOut(err error) bool {
	partial := (*goose.PartialError)(nil)
	return errors.As(err, &partial) && isLockTimeout(err) && !m.withoutTransaction(partial.Failed)
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
	if late := outOfOrderError(status); late != nil {
		return late
	}
	return err
}

// outOfOrderError names the migrations that are out of order, if there are any.
func outOfOrderError(status []Status) error {
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
		return nil
	}
	return fmt.Errorf("%s: out of order: version %d is already applied: give it a higher number, "+
		"or run `migrate up --allow-out-of-order` if it does not conflict with later migrations", strings.Join(files, ", "), last)
}

// Down undoes the last migration.
func (m *Migrator) Down(ctx context.Context) ([]Result, error) {
	return m.run(ctx, func() ([]*goose.MigrationResult, error) { return list(m.provider.Down(ctx)) })
}

// Redo undoes the last migration and applies it again.
func (m *Migrator) Redo(ctx context.Context) ([]Result, error) {
	down, err := m.Down(ctx)
	if err != nil {
		return down, err
	}
	up, err := m.run(ctx, func() ([]*goose.MigrationResult, error) { return list(m.provider.UpByOne(ctx)) })
	return append(down, up...), err
}

// To applies or undoes migrations until version is the last applied one. If
// version is 0, it undoes all.
func (m *Migrator) To(ctx context.Context, version int64) ([]Result, error) {
	if err := m.checkVersion(version); err != nil {
		return nil, err
	}
	current, _, err := m.Version(ctx)
	if err != nil {
		return nil, err
	}
	if version < current {
		results, err := m.run(ctx, func() ([]*goose.MigrationResult, error) { return m.provider.DownTo(ctx, version) })
		if current, _, failed := m.Version(ctx); err == nil && failed == nil && current > version {
			// goose undoes migrations in the order in which they were applied, and stops at the
			// first one whose version is not above the target.
			err = fmt.Errorf("migrate to %d: version %d is still applied, because it was applied out of order: undo it with `migrate down`", version, current)
		}
		return results, err
	}
	return m.run(ctx, func() ([]*goose.MigrationResult, error) { return m.provider.UpTo(ctx, version) })
}

// checkVersion refuses a version that no file has. 0 is before the first one.
func (m *Migrator) checkVersion(version int64) error {
	if version == 0 || slices.ContainsFunc(m.provider.ListSources(), func(s *goose.Source) bool { return s.Version == version }) {
		return nil
	}
	return fmt.Errorf("migrate to %d: no such version: `migrate status` lists them", version)
}

// Version returns the last applied migration, or 0 for none, and the last one in
// the directory.
func (m *Migrator) Version(ctx context.Context) (current, latest int64, err error) {
	current, latest, err = m.provider.GetVersions(ctx)
	return current, latest, postgres.WrapError("migrate", err)
}
