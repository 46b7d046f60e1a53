package store

import (
	"context"
	"errors"

	"quern/internal/db"
	"quern/postgres"
)

// ErrVersionMismatch says that what was to be changed has another version than
// the caller saw: someone was faster.
var ErrVersionMismatch = errors.New("was changed meanwhile")

// Current returns the row that get reads, and fails with ErrVersionMismatch if a
// version is given that the row does not have. It reads in a transaction because a
// read outside of one may be answered by a replica, which may not know the version
// the caller saw.
func Current[R any](ctx context.Context, q *db.Queries, ifVersion *int32, get func(*db.Queries) (R, error), versionOf func(R) int32) (row R, err error) {
	err = q.InTxWith(ctx, postgres.TxOptions{ReadOnly: true}, func(q *db.Queries) (err error) {
		row, err = get(q)
		return err
	})
	if err == nil && ifVersion != nil && versionOf(row) != *ifVersion {
		err = ErrVersionMismatch
	}
	return row, err
}
