package store

import (
	"context"
	"iter"

	"quern/internal/db"
)

// PageUserPosts calls each with a page of a user's posts, in the order of their ids and
// while they are read. If it returns an error, each may have been called with some of them.
// A page with long posts ends early, after 8 MiB, and then has a Next, or a Prev if it is
// read backwards. It returns postgres.ErrNotFound if the user does not exist, which it
// checks only if the page is empty.
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

// postSize returns the approximate size of a post's text.
func postSize(p db.Post) int {
	n := len(p.Title) + len(p.Content)
	for _, tag := range p.Tags {
		n += len(tag)
	}
	return n
}
