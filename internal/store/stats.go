package store

import (
	"context"
	"fmt"
	"math"

	"quern/internal/db"
)

// UserStatsKey is a position in the list of UserStats.
type UserStatsKey struct {
	PostCount int64
	ID        int64
}

// UserStatsRequest requests up to Limit users with more than MinPosts posts, after After or
// from the start.
type UserStatsRequest struct {
	MinPosts int64
	Limit    int // at least 1
	After    *UserStatsKey
}

// UserStatsPage is a page of the list. Next is the key to pass as After for the next page,
// or nil if there is none.
type UserStatsPage struct {
	Items []*db.ListUserStatsRow
	Next  *UserStatsKey
}

// UserStats returns a page of the users with more than MinPosts posts, those with the most
// posts first. The counts are kept by the writers, so the cost grows with the page and not
// with the table. If a user's count changes between two pages, the user may be on both of
// them or on neither.
func (s *Store) UserStats(ctx context.Context, r UserStatsRequest) (p UserStatsPage, err error) {
	defer annotate(&err, "user stats")
	if r.Limit < 1 {
		return p, fmt.Errorf("the limit is %d: set it to 1 or more", r.Limit)
	}
	after := UserStatsKey{PostCount: math.MaxInt64}
	if r.After != nil {
		after = *r.After
	}
	p.Items, err = s.q.ListUserStats(ctx, db.ListUserStatsParams{
		MinPosts: r.MinPosts, AfterCount: after.PostCount, AfterID: after.ID, RowLimit: int64(r.Limit) + 1,
	})
	if err == nil && len(p.Items) > r.Limit {
		p.Items = p.Items[:r.Limit]
		last := p.Items[r.Limit-1]
		p.Next = &UserStatsKey{PostCount: last.PostCount, ID: last.ID}
	}
	return p, err
}
