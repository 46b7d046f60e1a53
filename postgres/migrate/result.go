package migrate

import (
	"errors"
	"fmt"
	"path"
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

func one(result *goose.MigrationResult, err error) ([]Result, error) {
	if result == nil {
		return migrated(nil, err)
	}
	return migrated([]*goose.MigrationResult{result}, err)
}

// migrated converts goose's results and errors.
func migrated(results []*goose.MigrationResult, err error) ([]Result, error) {
	failed := ""
	if partial := (*goose.PartialError)(nil); errors.As(err, &partial) {
		results = partial.Applied
		failed = " " + path.Base(partial.Failed.Source.Path)
		err = partial.Err
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
		return out, errors.New("migrate: nothing to undo: no migration is applied")
	}
	if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) && pgErr.Code == pgerrcode.LockNotAvailable {
		return out, fmt.Errorf("migrate%s: it waited too long for a lock that another session holds and was rolled back: "+
			"run it again when the load is lower: %w", failed, err)
	}
	return out, postgres.WrapError("migrate"+failed, err)
}
