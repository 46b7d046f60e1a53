package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"

	"quern/postgres"
)

// Result is a migration that was applied or undone.
type Result struct {
	Version   int64
	File      string
	Direction string // "up" or "down"
	Duration  time.Duration
	Empty     bool // it has no statement for this direction
}

// list returns the result of one migration in the form in which goose returns those of several.
func list(result *goose.MigrationResult, err error) ([]*goose.MigrationResult, error) {
	if result == nil {
		return nil, err
	}
	return []*goose.MigrationResult{result}, err
}

var errNothingToUndo = errors.New("migrate: nothing to undo: no migration is applied")

// isLockTimeout reports whether a statement waited longer than LockTimeout for a lock.
func isLockTimeout(err error) bool {
	pgErr := (*pgconn.PgError)(nil)
	return errors.As(err, &pgErr) && pgErr.Code == pgerrcode.LockNotAvailable
}

var noTransaction = regexp.MustCompile(`(?im)^\s*--\s*\+goose\s+no\s+transaction\b`)

// withoutTransaction reports whether a migration has the annotation NO TRANSACTION.
func (m *Migrator) withoutTransaction(r *goose.MigrationResult) bool {
	text, err := fs.ReadFile(m.files, path.Base(r.Source.Path))
	return err == nil && noTransaction.Match(text)
}

// migrated converts goose's results and errors.
func (m *Migrator) migrated(results []*goose.MigrationResult, err error) ([]Result, error) {
	failed, bare := "", false
	if partial := (*goose.PartialError)(nil); errors.As(err, &partial) {
		results = partial.Applied
		failed = " " + path.Base(partial.Failed.Source.Path)
		err = partial.Err
		if bare = m.withoutTransaction(partial.Failed); bare {
			err = fmt.Errorf("%w: it runs without a transaction, so the statements before this one stay: "+
				"undo them, or write them with IF NOT EXISTS, and run it again; "+
				"an index that CREATE INDEX CONCURRENTLY left INVALID must be dropped first (`doctor` names it)", err)
		}
	}
	out := make([]Result, 0, len(results))
	for _, r := range results {
		out = append(out, Result{
			Version: r.Source.Version, File: path.Base(r.Source.Path),
			Direction: r.Direction, Duration: r.Duration, Empty: r.Empty,
		})
	}
	if err == nil {
		return out, nil
	}
	if errors.Is(err, goose.ErrNoNextVersion) {
		return out, errNothingToUndo
	}
	if isLockTimeout(err) && !bare {
		return out, fmt.Errorf("migrate%s: it waited too long for a lock that another session holds and was rolled back: "+
			"run it again when the load is lower: %w", failed, err)
	}
	return out, postgres.WrapError("migrate"+failed, err)
}
