package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/pressly/goose/v3/database"
)

// Baseline records all migrations up to a version as applied, without running them. It is for a
// database whose schema was made in another way but equals that of these migrations. `quern
// drift` can check that afterwards. Baseline fails if a migration is already recorded. It
// returns the versions that it recorded.
func (m *Migrator) Baseline(ctx context.Context, version int64) (versions []int64, err error) {
	if err := m.checkVersion(version); err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, errors.New("baseline: version 0 is an empty schema: name the last migration that the database has")
	}
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := m.lock.SessionLock(ctx, conn); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.lock.SessionUnlock(context.WithoutCancel(ctx), conn)) }()
	applied, err := m.applied(ctx)
	if err != nil {
		return nil, err
	}
	for v, is := range applied {
		if is {
			return nil, fmt.Errorf("baseline: version %d is recorded as applied: a baseline is for a database without migrations: see `migrate status`", v)
		}
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	defer func() {
		if failed := tx.Rollback(); !errors.Is(failed, sql.ErrTxDone) {
			err = errors.Join(err, failed)
		}
	}()
	if applied == nil {
		if err := m.store.CreateVersionTable(ctx, tx); err != nil {
			return nil, fmt.Errorf("baseline: %w", err)
		}
		if err := m.store.Insert(ctx, tx, database.InsertRequest{Version: 0}); err != nil {
			return nil, fmt.Errorf("baseline: %w", err)
		}
	}
	for _, source := range m.provider.ListSources() {
		if source.Version > version {
			continue
		}
		if err := m.store.Insert(ctx, tx, database.InsertRequest{Version: source.Version}); err != nil {
			return nil, fmt.Errorf("baseline: %w", err)
		}
		versions = append(versions, source.Version)
	}
	return versions, tx.Commit()
}
