package store

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// foldBatch is how many deltas one transaction folds, so that it stays short.
const foldBatch = 5000

// FoldCounts adds the deltas of posts and users to the kept counts, in batches, and returns
// how many. A batch is a transaction. It blocks neither writers nor readers: every snapshot
// has a delta either as a delta or in the counts. If another process is folding, it leaves
// the deltas to that process.
func (s *Store) FoldCounts(ctx context.Context) (folded int64, err error) {
	defer annotate(&err, "fold counts")
	for _, f := range []struct {
		lock func(*db.Queries, context.Context) (bool, error)
		fold func(*db.Queries, context.Context, int64) (int64, error)
	}{
		{(*db.Queries).LockPostTotals, (*db.Queries).FoldPosts},
		{(*db.Queries).LockUserTotals, (*db.Queries).FoldUsers},
	} {
		for n := int64(foldBatch); n == foldBatch; folded += n {
			n = 0
			err := s.InTx(ctx, func(q *db.Queries) (err error) {
				if _, err = f.lock(q, ctx); err == nil {
					n, err = f.fold(q, ctx, foldBatch)
				}
				return err
			})
			if err != nil && !errors.Is(err, postgres.ErrNotFound) {
				return folded, err
			}
		}
	}
	return folded, nil
}

// CheckCounts returns up to limit kept counts that differ from the number of rows, all in
// one snapshot. It reads all users and posts.
func (s *Store) CheckCounts(ctx context.Context, limit int) (differences []*db.ListCountDifferencesRow, err error) {
	defer annotate(&err, "check counts")
	return s.q.ListCountDifferences(ctx, int64(limit))
}

// foldPause is the time between two folds, plus or minus half. Reads add the deltas since
// the last fold, at about 1 ms for each thousand.
const foldPause = time.Second

// Folded reports a look at the deltas.
type Folded struct {
	Unfolded int64         // number of deltas before the fold, at most a million of each kind
	Took     time.Duration // duration of the fold; 0 if there was nothing to fold
}

// fold folds the counts at intervals. It reports each look to b.Folded.
func (s *Store) fold(ctx context.Context, b Background) {
	failing := false
	// Jitter prevents that many processes fold at once.
	for pause(ctx, foldPause/2+rand.N(foldPause)) {
		err := s.foldOnce(ctx, b.Folded)
		if err != nil && ctx.Err() == nil && !failing {
			// Reads stay exact, but get slower. One message is enough until it works again.
			b.Logger.WarnContext(ctx, "counts could not be folded: reads of statistics get slower until it works again", slog.Any("error", err))
		}
		failing = err != nil
	}
}

func (s *Store) foldOnce(ctx context.Context, report func(Folded)) error {
	n, err := s.q.CountUnfolded(ctx)
	if err != nil {
		return err
	}
	f := Folded{Unfolded: n.Posts + n.Users}
	if f.Unfolded > 0 {
		begin := time.Now()
		_, err = s.FoldCounts(ctx)
		f.Took = time.Since(begin)
	}
	if report != nil {
		report(f)
	}
	return err
}
