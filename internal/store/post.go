package store

import (
	"context"
	"errors"
	"iter"

	"quern/internal/db"
	"quern/internal/postgres"
)

// postsOf gives each of the users their stretch of posts: both are in the order
// of the users' ids.
func postsOf(users []*db.User, posts []*db.Post) [][]*db.Post {
	lists := make([][]*db.Post, len(users))
	for i, u := range users {
		n := 0
		for n < len(posts) && posts[n].UserID == u.ID {
			n++
		}
		lists[i], posts = posts[:n:n], posts[n:]
	}
	return lists
}

// collect returns the rows of a stream. They stand side by side in blocks,
// which costs less than a place of its own for each.
func collect[T any](rows iter.Seq2[T, error]) (list []*T, err error) {
	const blockSize = 64
	var block []T
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		if len(block) == cap(block) {
			block = make([]T, 0, blockSize)
		}
		block = append(block, row)
		list = append(list, &block[len(block)-1])
	}
	return list, nil
}

// PageUserPosts returns a page of a user's posts in the order of their ids. It
// fails with postgres.ErrNotFound when there is no such user, which it asks
// only when the page is empty.
func (s *Store) PageUserPosts(ctx context.Context, userID int64, r PageRequest) (p Page[*db.Post], err error) {
	defer act(&err, "page the posts of user %d", userID)
	p, err = page(r, func(p *db.Post) int64 { return p.ID },
		func(key, limit int64) ([]*db.Post, error) {
			return s.q.ListPostsByUserAfter(ctx, db.ListPostsByUserAfterParams{UserID: userID, After: key, RowLimit: limit})
		},
		func(key, limit int64) ([]*db.Post, error) {
			return s.q.ListPostsByUserBefore(ctx, db.ListPostsByUserBeforeParams{UserID: userID, Before: key, RowLimit: limit})
		})
	if err == nil && len(p.Items) == 0 {
		_, err = s.q.GetUser(ctx, userID)
	}
	return p, err
}

// PatchPost changes what is given of a post, keeps the rest and returns the
// post as it is now. It fails with ErrVersionMismatch when IfVersion is given
// and the post has another version by now, and with postgres.ErrNotFound when
// there is no such post. A patch that gives nothing writes nothing.
func (s *Store) PatchPost(ctx context.Context, p db.UpdatePostParams) (post *db.Post, err error) {
	defer act(&err, "patch post %d", p.ID)
	if p.Title == nil && p.Content == nil && p.Tags == nil {
		return current(ctx, s, p.ID, p.IfVersion, (*db.Queries).GetPost, postVersion)
	}
	post, err = s.q.UpdatePost(ctx, p)
	if errors.Is(err, postgres.ErrNotFound) {
		return nil, notChanged(ctx, s, p.ID, p.IfVersion, (*db.Queries).GetPost, postVersion)
	}
	return post, err
}

// DeletePost removes a post. It fails with ErrVersionMismatch when IfVersion
// is given and the post has another version by now, and with
// postgres.ErrNotFound when there is no such post.
func (s *Store) DeletePost(ctx context.Context, p db.DeletePostParams) (err error) {
	defer act(&err, "delete post %d", p.ID)
	n, err := s.q.DeletePost(ctx, p)
	if err == nil && n == 0 {
		return notChanged(ctx, s, p.ID, p.IfVersion, (*db.Queries).GetPost, postVersion)
	}
	return err
}

func postVersion(p *db.Post) int32 { return p.Version }
