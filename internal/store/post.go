package store

import (
	"context"
	"errors"
	"iter"

	"quern/internal/db"
	"quern/postgres"
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

// PageUserPosts calls each with the posts of a page of a user's, in the order of
// their ids and as they come: when it fails, each may have had some of them. A
// page of long posts ends early, after 8 MiB, and then has a Next, or a Prev when
// it is turned back. It fails with postgres.ErrNotFound when there is no such user, which it asks only
// when the page is empty.
func (s *Store) PageUserPosts(ctx context.Context, userID int64, r PageRequest, each func(db.Post)) (ends Ends, err error) {
	defer act(&err, "page the posts of user %d", userID)
	none := true
	statement, stop := context.WithCancel(ctx)
	defer stop()
	end := &pageEnd[db.Post]{size: postSize, stop: stop}
	ends, err = eachOfPage(r, func(p db.Post) int64 { return p.ID },
		func(key, limit int64) iter.Seq2[db.Post, error] {
			return s.q.ListPostsByUserAfterStream(statement, db.ListPostsByUserAfterParams{UserID: userID, After: key, RowLimit: limit})
		},
		func(key, limit int64) iter.Seq2[db.Post, error] {
			return s.q.ListPostsByUserBeforeStream(statement, db.ListPostsByUserBeforeParams{UserID: userID, Before: key, RowLimit: limit})
		},
		end, func(p db.Post) {
			none = false
			each(p)
		})
	if err == nil && none {
		_, err = s.q.GetUser(ctx, userID)
	}
	return ends, err
}

// postSize is about how much text a post has.
func postSize(p db.Post) int {
	n := len(p.Title) + len(p.Content)
	for _, tag := range p.Tags {
		n += len(tag)
	}
	return n
}

// PatchPost changes what is given of a post, keeps the rest and returns the
// post as it is now. It fails with ErrVersionMismatch when IfVersion is given
// and the post has another version by now, and with postgres.ErrNotFound when
// there is no such post. A patch that gives nothing writes nothing.
func (s *Store) PatchPost(ctx context.Context, p db.UpdatePostParams) (post *db.Post, err error) {
	defer act(&err, "patch post %d", p.ID)
	if p.Title == nil && p.Content == nil && p.Tags == nil {
		return current(ctx, s, p.ID, p.IfVersion, (*db.Queries).QueueGetPost, postVersion)
	}
	post, err = s.q.UpdatePost(ctx, p)
	if errors.Is(err, postgres.ErrNotFound) {
		return nil, notChanged(ctx, s, p.ID, p.IfVersion, (*db.Queries).QueueGetPost, postVersion)
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
		return notChanged(ctx, s, p.ID, p.IfVersion, (*db.Queries).QueueGetPost, postVersion)
	}
	return err
}

func postVersion(p *db.Post) int32 { return p.Version }
