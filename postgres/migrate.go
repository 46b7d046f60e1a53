package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// MigrateConfig says which migrations to apply where.
type MigrateConfig struct {
	// URL names the server, as in Config.
	URL string

	// FS holds the migrations, goose files at its root.
	FS fs.FS

	// Pooler is what stands before the server. Through a pooler that gives each
	// transaction another session, Status, Version and Pending work, and what
	// changes the schema must not be called: the lock that lets migrations
	// through one by one is a session's. Defaults to PoolerNone.
	Pooler Pooler

	// LockTimeout bounds a migration's wait for a lock. Statements that come
	// behind a waiting ALTER wait with it, so that a long wait is an outage.
	// Defaults to 5s.
	LockTimeout time.Duration

	// LockWait bounds the wait for another session that migrates. Defaults to 5m.
	LockWait time.Duration

	// AllowOutOfOrder applies pending migrations that are older than the last one
	// that was applied, too. Without it they are an error, because they may not fit
	// to what came after them. Defaults to off.
	AllowOutOfOrder bool

	// Logger receives a line for each migration. Defaults to slog.Default().
	Logger *slog.Logger
}

// MigrationResult is a migration that was applied or undone.
type MigrationResult struct {
	Version   int64
	File      string
	Direction string // "up" or "down"
	Duration  time.Duration
	Empty     bool // it holds no statement for this direction
}

// MigrationStatus is one migration as the directory and the database see it.
type MigrationStatus struct {
	Version   int64
	File      string // empty when Missing
	Applied   bool
	AppliedAt time.Time // UTC; zero when not applied
	Missing   bool      // applied to the database, but not in the directory

	// OutOfOrder is set if it is pending and a newer one is applied.
	OutOfOrder bool
}

// Migrator applies and undoes migrations. Several may run at once, in one
// process or in many: a lock in the database lets them through one by one. It
// keeps its account in goose_db_version, as the goose command does.
type Migrator struct {
	db       *sql.DB
	provider *goose.Provider
	store    database.Store

	outOfOrder bool // may be applied
}

// NewMigrator returns a Migrator on connections of its own. It does not
// connect yet.
func NewMigrator(cfg MigrateConfig) (*Migrator, error) {
	setDefault(&cfg.LockTimeout, 5*time.Second)
	setDefault(&cfg.LockWait, 5*time.Minute)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	c := Config{URL: cfg.URL, Pooler: cfg.Pooler, Logger: cfg.Logger}.withDefaults()
	pc, err := c.poolConfig()
	if err != nil {
		return nil, err
	}
	if err := checkMigrations(cfg.FS); err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	newHosts(c, pc).guard(&pc.ConnConfig.Config)
	lockTimeout := "SET lock_timeout = " + strconv.FormatInt(cfg.LockTimeout.Milliseconds(), 10)
	options := c.options(settingPrimary, cfg.URL)
	db := stdlib.OpenDB(*pc.ConnConfig, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		if err := options.PrepareSession(ctx, conn); err != nil {
			return err
		}
		if cfg.Pooler == PoolerTransaction {
			return nil // it would be left to whoever gets that session next
		}
		_, err := conn.Exec(ctx, lockTimeout)
		return err
	}))
	locker, err := newMigrationLock(cfg)
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

// Up applies every migration that is pending, in order, and returns those it
// applied, also when one fails.
func (m *Migrator) Up(ctx context.Context) ([]MigrationResult, error) {
	results, err := m.provider.Up(ctx)
	return migrated(results, m.explain(ctx, err))
}

// explain says which migrations are out of order, if an error is about that.
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
	return fmt.Errorf("%s: out of order: version %d is applied already: give it a number above that, "+
		"or run `migrate up --allow-out-of-order` if nothing that came after it is in its way", strings.Join(files, ", "), last)
}

// Down undoes the last migration.
func (m *Migrator) Down(ctx context.Context) ([]MigrationResult, error) {
	return one(m.provider.Down(ctx))
}

// Redo undoes the last migration and applies it again.
func (m *Migrator) Redo(ctx context.Context) ([]MigrationResult, error) {
	down, err := m.Down(ctx)
	if err != nil {
		return down, err
	}
	up, err := one(m.provider.UpByOne(ctx))
	return append(down, up...), err
}

// To applies or undoes migrations until version is the last applied; 0 undoes
// all.
func (m *Migrator) To(ctx context.Context, version int64) ([]MigrationResult, error) {
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
			// goose goes back in the order of application, and stops at the first
			// version that may stay.
			err = fmt.Errorf("migrate to %d: version %d is still applied, because it was not applied in the order of the numbers: undo it with `migrate down`", version, current)
		}
		return results, err
	}
	results, err := m.provider.UpTo(ctx, version)
	return migrated(results, m.explain(ctx, err))
}

// Version returns the last applied migration, 0 for none, and the last in the
// directory.
func (m *Migrator) Version(ctx context.Context) (current, latest int64, err error) {
	current, latest, err = m.provider.GetVersions(ctx)
	return current, latest, wrap("migrate", err)
}

// Pending returns how many migrations of the directory are not applied. It does
// not wait for a session that migrates.
func (m *Migrator) Pending(ctx context.Context) (int, error) {
	applied, err := m.applied(ctx)
	n := 0
	for _, source := range m.provider.ListSources() {
		if !applied[source.Version] {
			n++
		}
	}
	return n, err
}

// applied returns the versions that are applied. goose's own Status takes the
// migration lock, so that readiness would end in every process while one of them
// migrates; and it creates the table of versions.
func (m *Migrator) applied(ctx context.Context) (map[int64]bool, error) {
	list, err := m.store.ListMigrations(ctx, m.db)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == pgerrcode.UndefinedTable {
		return nil, nil // nothing was ever applied
	}
	if err != nil {
		return nil, wrap("migrate status", err)
	}
	applied := make(map[int64]bool)
	for _, a := range list {
		// Version 0 is goose's own first row.
		applied[a.Version] = a.Version != 0 && a.IsApplied
	}
	return applied, nil
}

// Status returns every migration of the directory and of the database, in the
// order of versions. It does not wait for a session that migrates.
func (m *Migrator) Status(ctx context.Context) ([]MigrationStatus, error) {
	applied, err := m.applied(ctx)
	if err != nil {
		return nil, err
	}
	var status []MigrationStatus
	for _, source := range m.provider.ListSources() {
		s := MigrationStatus{Version: source.Version, File: path.Base(source.Path), Applied: applied[source.Version]}
		if s.Applied {
			found, err := m.store.GetMigration(ctx, m.db, s.Version)
			if err != nil {
				return nil, wrap("migrate status", err)
			}
			s.AppliedAt = found.Timestamp.UTC()
		}
		delete(applied, source.Version)
		status = append(status, s)
	}
	for version, is := range applied {
		if is {
			status = append(status, MigrationStatus{Version: version, Applied: true, Missing: true})
		}
	}
	slices.SortFunc(status, func(a, b MigrationStatus) int { return cmp.Compare(a.Version, b.Version) })
	newer := false
	for i := range slices.Backward(status) {
		status[i].OutOfOrder = newer && !status[i].Applied
		newer = newer || status[i].Applied
	}
	return status, nil
}

func one(result *goose.MigrationResult, err error) ([]MigrationResult, error) {
	if result == nil {
		return migrated(nil, err)
	}
	return migrated([]*goose.MigrationResult{result}, err)
}

// migrated puts goose's results and errors into our words.
func migrated(results []*goose.MigrationResult, err error) ([]MigrationResult, error) {
	failed := ""
	if partial := (*goose.PartialError)(nil); errors.As(err, &partial) {
		results = partial.Applied
		failed = " " + path.Base(partial.Failed.Source.Path)
		err = partial.Err
	}
	out := make([]MigrationResult, 0, len(results))
	for _, r := range results {
		out = append(out, MigrationResult{
			Version: r.Source.Version, File: path.Base(r.Source.Path),
			Direction: r.Direction, Duration: r.Duration, Empty: r.Empty,
		})
	}
	if err == nil {
		return out, nil
	}
	if errors.Is(err, goose.ErrNoNextVersion) {
		return out, errors.New("migrate: nothing to undo: no migration is applied")
	}
	if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) && pgErr.Code == pgerrcode.LockNotAvailable {
		return out, fmt.Errorf("migrate%s: it waited too long for a lock that others hold and was undone: "+
			"run it again at a calmer time: %w", failed, err)
	}
	return out, wrap("migrate"+failed, err)
}

var migrationName = regexp.MustCompile(`^(\d+)_.*\.sql$`)

const migrationTemplate = `-- What it locks, and for how long.

-- +goose Up

-- +goose Down
`

// CreateMigration writes an empty migration with the next number into dir and
// returns its path. name is its description in words or in snake_case.
func CreateMigration(dir, name string) (string, error) {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	if len(words) == 0 {
		return "", fmt.Errorf("create migration %q: give it a name of letters, like add_posts_index", name)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("create migration: %w", err)
	}
	next := 1
	for _, e := range entries {
		if m := migrationName.FindStringSubmatch(e.Name()); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return "", fmt.Errorf("create migration: %s: %w", e.Name(), err)
			}
			next = max(next, n+1)
		}
	}
	// sqlc and goose read the files in the order of their names: pad.
	file := filepath.Join(dir, fmt.Sprintf("%05d_%s.sql", next, strings.Join(words, "_")))
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", fmt.Errorf("create migration: %w", err)
	}
	_, err = f.WriteString(migrationTemplate)
	return file, errors.Join(err, f.Close())
}
