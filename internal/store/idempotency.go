package store

import (
	"bytes"
	"context"
	"errors"

	"quern/internal/db"
	"quern/postgres"
)

var (
	// ErrKeyReused says that an idempotency key came with another request
	// before.
	ErrKeyReused = errors.New("the idempotency key belongs to another request")

	// ErrKeyInFlight says that the first request with an idempotency key has
	// not ended yet, and that this one has waited for it long enough.
	ErrKeyInFlight = errors.New("the first request with the idempotency key is still under way")
)

// Keyed is a request that is meant to take effect once, however often it is
// sent.
type Keyed struct {
	Key  string // up to 255 characters
	Hash []byte // of the whole request: another request is not answered with this one's answer

	// Class is the class of work that the transaction belongs to. Defaults to
	// postgres.DefaultClass.
	Class string
}

// Once runs fn in a transaction, unless a request with the same key has
// succeeded before: then it returns what fn returned that time, which has to be
// JSON, and that it did so. The key, its response and whatever fn does are
// committed together or not at all, so that a request can be repeated until it
// is answered, whatever became of the connection or of the process that took it
// first. An error of fn leaves no trace of the key.
//
// It fails with ErrKeyReused when the key came with another hash, and with
// ErrKeyInFlight when another transaction has held the key for two seconds. As
// with InTx, fn may run more than once. Keys are remembered for a day or longer.
func (s *Store) Once(
	ctx context.Context, r Keyed, fn func(q *db.Queries) (response []byte, err error),
) (response []byte, replayed bool, err error) {
	defer annotate(&err, "once for an idempotency key")
	err = s.q.InTxWith(ctx, postgres.TxOptions{Class: r.Class}, func(q *db.Queries) error {
		earlier, err := reserve(ctx, q, r)
		if err != nil {
			return err
		}
		if replayed = earlier != nil; replayed {
			if !bytes.Equal(earlier.RequestHash, r.Hash) {
				return ErrKeyReused
			}
			response = earlier.Response
			return nil
		}
		if response, err = fn(q); err != nil {
			return err
		}
		return q.QueueWithCommit(ctx, func(b *postgres.Batch) error {
			q.QueueSetIdempotencyResponse(b, db.SetIdempotencyResponseParams{Key: r.Key, Response: response})
			return nil
		})
	})
	if err != nil {
		return nil, false, err
	}
	return response, replayed, nil
}

// reserve takes the key for this transaction, or returns the request that has it.
func reserve(ctx context.Context, q *db.Queries, r Keyed) (*db.GetIdempotencyKeyRow, error) {
	for {
		n, err := q.ReserveIdempotencyKey(ctx, db.ReserveIdempotencyKeyParams{Key: r.Key, RequestHash: r.Hash})
		if errors.Is(err, postgres.ErrTimeout) && ctx.Err() == nil {
			return nil, ErrKeyInFlight
		}
		if err != nil || n > 0 {
			return nil, err
		}
		earlier, err := q.GetIdempotencyKey(ctx, r.Key)
		if errors.Is(err, postgres.ErrNotFound) {
			// Swept between the two statements: it is free now.
			continue
		}
		return earlier, err
	}
}

// sweepBatch is how many rows a sweep deletes in one statement.
const sweepBatch = 1000

// SweepIdempotencyKeys forgets the keys that are older than a day by the
// server's clock, some at a time, and returns how many there were.
func (s *Store) SweepIdempotencyKeys(ctx context.Context) (swept int64, err error) {
	defer annotate(&err, "sweep idempotency keys")
	for {
		n, err := s.q.DeleteIdempotencyKeys(ctx, sweepBatch)
		swept += n
		if err != nil || n < sweepBatch {
			return swept, err
		}
	}
}
