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

// foldBatch is how many deltas one transaction folds, so that it stays short. A delta has up to
// 32 posts.
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

// A fold rewrites a row for each user and tag of its deltas, which is most of its cost. So it
// waits until there are many, or some time has passed.
const (
	// foldPause is the time between two looks at the deltas, plus or minus half.
	foldPause = 500 * time.Millisecond
	// foldAt is the number of changes that are folded at once. Reads add them, at 1 to 2 ms for
	// each thousand, and are meant to take less than 5 ms.
	foldAt = 2000
	// foldInterval is how long fewer changes wait, so that an idle database has none.
	foldInterval = 5 * time.Second
)

// Folded reports a look at the deltas.
type Folded struct {
	Unfolded int64         // number of changes that were not folded; at most those of a million deltas of each kind
	Took     time.Duration // duration of the fold; 0 if nothing was folded
}

// fold folds the counts at intervals. It reports each look to b.Folded.
func (s *Store) fold(ctx context.Context, b Background) {
	failing := false
	settled := time.Now() // the last time that nothing was left to fold
	// Jitter prevents that many processes fold at once.
	for pause(ctx, foldPause/2+rand.N(foldPause)) {
		least := int64(foldAt)
		if time.Since(settled) >= foldInterval {
			least = 1
		}
		none, err := s.foldOnce(ctx, least, b.Folded)
		if err != nil && ctx.Err() == nil && !failing {
			// Reads stay exact, but get slower. One message is enough until it works again.
			b.Logger.WarnContext(ctx, "counts could not be folded: reads of statistics get slower until it works again", slog.Any("error", err))
		}
		failing = err != nil
		if none {
			settled = time.Now()
		}
	}
}

// foldOnce folds the counts if there are at least as many changes, and reports whether none are
// left.
func (s *Store) foldOnce(ctx context.Context, least int64, report func(Folded)) (none bool, err error) {
	n, err := s.q.CountUnfolded(ctx)
	if err != nil {
		return false, err
	}
	f := Folded{Unfolded: n.Posts + n.Users}
	none = f.Unfolded == 0
	if f.Unfolded >= least {
		begin := time.Now()
		_, err = s.FoldCounts(ctx)
		none = err == nil
		f.Took = time.Since(begin)
	}
	if report != nil {
		report(f)
	}
	return none, err
}
