package store

import (
	"context"
	"errors"

	"quern/internal/db"
	"quern/postgres"
)

// ErrVersionMismatch: the row has another version than the caller expects, because it was
// changed in the meantime.
var ErrVersionMismatch = errors.New("version mismatch")

// Current returns the row that get reads. It returns ErrVersionMismatch if ifVersion is set
// and the row has another version. It reads in a transaction, because a read outside of one
// may run on a replica, which may not have the caller's version yet.
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
