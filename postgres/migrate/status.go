package migrate

import (
	"cmp"
	"context"
	"errors"
	"path"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres"
)

// Status is the state of one migration in the directory and the database.
type Status struct {
	Version   int64
	File      string // empty if Missing
	Applied   bool
	AppliedAt time.Time // UTC; zero if not applied
	Missing   bool      // applied to the database, but not in the directory

	// OutOfOrder is true if it is pending and a newer one is applied.
	OutOfOrder bool
}

// StatusStatement reads the columns that Status and Pending read. Pass it to
// postgres.FindMissingGrants to find the privileges that they need.
var StatusStatement = postgres.Statement{Name: "migrate status", SQL: "SELECT version_id, is_applied, tstamp FROM goose_db_version"}

// Pending returns the number of migrations of the directory that are not
// applied. It does not wait for a session that migrates.
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
// migration lock, so readiness would fail in all processes while one of them
// migrates. It also creates the table of versions.
func (m *Migrator) applied(ctx context.Context) (map[int64]bool, error) {
	list, err := m.store.ListMigrations(ctx, m.db)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == pgerrcode.UndefinedTable {
		return nil, nil // no migration was ever applied
	}
	if err != nil {
		return nil, postgres.WrapError("migrate status", err)
	}
	applied := make(map[int64]bool)
	for _, a := range list {
		// Version 0 is goose's own first row.
		applied[a.Version] = a.Version != 0 && a.IsApplied
	}
	return applied, nil
}

// Status returns every migration of the directory and of the database, sorted by
// version. It does not wait for a session that migrates.
func (m *Migrator) Status(ctx context.Context) ([]Status, error) {
	applied, err := m.applied(ctx)
	if err != nil {
		return nil, err
	}
	var status []Status
	for _, source := range m.provider.ListSources() {
		s := Status{Version: source.Version, File: path.Base(source.Path), Applied: applied[source.Version]}
		if s.Applied {
			found, err := m.store.GetMigration(ctx, m.db, s.Version)
			if err != nil {
				return nil, postgres.WrapError("migrate status", err)
			}
			s.AppliedAt = found.Timestamp.UTC()
		}
		delete(applied, source.Version)
		status = append(status, s)
	}
	for version, is := range applied {
		if is {
			status = append(status, Status{Version: version, Applied: true, Missing: true})
		}
	}
	slices.SortFunc(status, func(a, b Status) int { return cmp.Compare(a.Version, b.Version) })
	newer := false
	for i := range slices.Backward(status) {
		status[i].OutOfOrder = newer && !status[i].Applied
		newer = newer || status[i].Applied
	}
	return status, nil
}
