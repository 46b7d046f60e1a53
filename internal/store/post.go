package store

import (
	"context"
	"errors"

	"quern/internal/db"
	"quern/internal/postgres"
)

// PostsByUsers returns the posts of the given users by user id, each list in
// the order of the posts' ids: the eager load, one statement whatever the
// number of users. A user without posts has no entry.
func (s *Store) PostsByUsers(ctx context.Context, users []*db.User) (by map[int64][]*db.Post, err error) {
	defer act(&err, "load the posts of %d users", len(users))
	by = make(map[int64][]*db.Post, len(users))
	if len(users) == 0 {
		return by, nil
	}
	ids := make([]int64, len(users))
	for i, u := range users {
		ids[i] = u.ID
	}
	posts, err := s.q.ListPostsByUsers(ctx, ids)
	if err != nil {
		return nil, err
	}
	// The posts come user by user, so that each list is a stretch of them.
	for start := 0; start < len(posts); {
		end := start + 1
		for end < len(posts) && posts[end].UserID == posts[start].UserID {
			end++
		}
		by[posts[start].UserID] = posts[start:end:end]
		start = end
	}
	return by, nil
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
