package store

import (
	"context"
	"iter"

	"quern/internal/db"
)

// PageUserPosts calls each with the posts of a page of a user's, in the order of
// their ids and as they come: when it fails, each may have had some of them. A
// page of long posts ends early, after 8 MiB, and then has a Next, or a Prev when
// it is turned back. It fails with postgres.ErrNotFound when there is no such user, which it asks only
// when the page is empty.
func (s *Store) PageUserPosts(ctx context.Context, userID int64, r PageRequest[int64], each func(db.Post)) (ends Ends[int64], err error) {
	defer annotate(&err, "page the posts of user %d", userID)
	statement, stop := context.WithCancel(ctx)
	defer stop()
	end := &pageEnd[db.Post]{size: postSize, stop: stop}
	return eachOfPage(r, func(p db.Post) int64 { return p.ID }, func(key int64, back bool, limit int64) iter.Seq2[db.Post, error] {
		p := db.ListPostsByUserAfterParams{UserID: userID, Key: key, RowLimit: limit}
		rows := s.q.ListPostsByUserAfterStream(statement, p)
		if back {
			rows = s.q.ListPostsByUserBeforeStream(statement, db.ListPostsByUserBeforeParams(p))
		}
		return IfNone(rows, func() error {
			_, err := s.q.GetUser(ctx, userID)
			return err
		})
	}, end, each)
}

// postSize is about how much text a post has.
func postSize(p db.Post) int {
	n := len(p.Title) + len(p.Content)
	for _, tag := range p.Tags {
		n += len(tag)
	}
	return n
}
