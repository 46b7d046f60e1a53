package store

import (
	"bytes"
	"context"
	"errors"

	"quern/internal/db"
	"quern/postgres"
)

var (
	// ErrKeyReused: another request was sent with this idempotency key.
	ErrKeyReused = errors.New("the idempotency key belongs to another request")

	// ErrKeyInFlight: the first request with this idempotency key is still running, and
	// this one has waited long enough.
	ErrKeyInFlight = errors.New("the first request with the idempotency key is still running")
)

// Keyed identifies a request that must take effect once, even if it is sent several times.
type Keyed struct {
	Key  string // up to 300 characters; see Token.Key
	Hash []byte // of the whole request, so that a different request does not get its response

	// Class is the class of the transaction. Defaults to postgres.DefaultClass.
	Class string
}

// Once runs fn in a transaction, unless a request with the same key has succeeded before.
// In that case it returns the response of that request, which must be JSON, and true. The
// key, its response and the changes of fn are committed together or not at all. So a
// request can be repeated until it is answered, even if the connection or the first process
// was lost. If fn returns an error, the key is not stored.
//
// It returns ErrKeyReused if the key was used with another hash, and ErrKeyInFlight if
// another transaction has held the key for two seconds. As with InTx, fn may run more than
// once. Keys are stored for at least a day.
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

// reserve stores the key in this transaction, or returns the request that has it.
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
			// It was swept between the two statements, so it is free now.
			continue
		}
		return earlier, err
	}
}

// sweepBatch is how many rows a sweep deletes in one statement.
const sweepBatch = 1000

// SweepIdempotencyKeys deletes the keys that are older than a day by the server's clock, in
// batches, and returns how many.
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
