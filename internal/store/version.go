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
// which may not know the version the caller saw.
func current[T any](
	ctx context.Context, s *Store, id int64, version *int32,
	get queuedByID[T], versionOf func(T) int32,
) (T, error) {
	row, err := onPrimary(ctx, s, id, get)
	if err == nil && version != nil && versionOf(row) != *version {
		err = ErrVersionMismatch
	}
	return row, err
}

// queuedByID queues a statement that reads the row with an id.
type queuedByID[T any] = func(*db.Queries, *postgres.Batch, int64) *postgres.Queued[T]

// onPrimary reads a row in a transaction of one round trip.
func onPrimary[T any](ctx context.Context, s *Store, id int64, get queuedByID[T]) (row T, err error) {
	var queued *postgres.Queued[T]
	err = s.q.Pipeline(ctx, postgres.TxOptions{ReadOnly: true}, func(b *postgres.Batch) error {
		queued = get(s.q, b, id)
		return nil
	})
	if err != nil {
		return row, err
	}
	return queued.Get()
}

// notChanged says why a statement with that version changed no row: there is
// none, or someone was faster.
func notChanged[T any](
	ctx context.Context, s *Store, id int64, version *int32,
	get queuedByID[T], versionOf func(T) int32,
) error {
	_, err := current(ctx, s, id, version, get, versionOf)
	// A row that is there now and fits came about between the two looks.
	return cmp.Or(err, ErrVersionMismatch)
}
