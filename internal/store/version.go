package store

import (
	"cmp"
	"context"

	"quern/internal/db"
	"quern/postgres"
)

// current reads the row with the given id, and fails with ErrVersionMismatch
// when a version is given that the row does not have. It reads in a
// transaction because a read outside of one may be answered by a replica,
// which may not know the version the caller saw. It is one round trip.
func current[T any](
	ctx context.Context, s *Store, id int64, version *int32,
	get func(*db.Queries, context.Context, int64) (T, error), versionOf func(T) int32,
) (row T, err error) {
	err = s.q.Pipeline(ctx, postgres.TxOptions{ReadOnly: true}, func(q *db.Queries) error {
		if row, err = get(q, ctx, id); err != nil {
			return err
		}
		if version != nil && versionOf(row) != *version {
			return ErrVersionMismatch
		}
		return nil
	})
	return row, err
}

// notChanged says why a statement with that version changed no row: there is
// none, or someone was faster.
func notChanged[T any](
	ctx context.Context, s *Store, id int64, version *int32,
	get func(*db.Queries, context.Context, int64) (T, error), versionOf func(T) int32,
) error {
	_, err := current(ctx, s, id, version, get, versionOf)
	// A row that is there now and fits came about between the two looks.
	return cmp.Or(err, ErrVersionMismatch)
}
