package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"quern/internal/db"
	"quern/internal/postgres"
)

// NewPost is a post without its user.
type NewPost struct {
	Title   string
	Content string
	Tags    []string // nil is none
}

// Registration is a user and the posts it starts with.
type Registration struct {
	User  db.CreateUserParams
	Posts []NewPost
}

// RegisterUser adds a user and its first posts, in one transaction and two
// statements whatever the number of posts. It returns them as stored, the
// posts in the order given. It fails with postgres.ErrUnique when the username
// is taken and with postgres.ErrCheck when a value breaks a rule of its table;
// nothing is stored then.
func (s *Store) RegisterUser(ctx context.Context, r Registration) (user *db.User, posts []*db.Post, err error) {
	defer act(&err, "register user %q", r.User.Username)
	r.User.Tags = list(r.User.Tags)
	err = s.InTx(ctx, func(q *db.Queries) error {
		if user, err = q.CreateUser(ctx, r.User); err != nil {
			return err
		}
		posts, err = createPosts(ctx, q, user.ID, r.Posts)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return user, posts, nil
}

func createPosts(ctx context.Context, q *db.Queries, userID int64, posts []NewPost) ([]*db.Post, error) {
	if len(posts) == 0 {
		return []*db.Post{}, nil
	}
	p := db.CreatePostsParams{UserID: userID}
	for _, post := range posts {
		tags, err := json.Marshal(list(post.Tags))
		if err != nil {
			return nil, err
		}
		p.Titles = append(p.Titles, post.Title)
		p.Contents = append(p.Contents, post.Content)
		p.Tags = append(p.Tags, tags)
	}
	created, err := q.CreatePosts(ctx, p)
	slices.SortFunc(created, func(a, b *db.Post) int { return int(a.ID - b.ID) })
	return created, err
}

// list returns tags as a list: PostgreSQL would take nil for NULL.
func list(tags []string) []string {
	if tags == nil {
		return []string{}
	}
	return tags
}

// PatchUser changes what is given of a user, keeps the rest and returns the
// user as it is now. It fails with ErrVersionMismatch when IfVersion is given
// and the user has another version by now, with postgres.ErrNotFound when
// there is no such user, and with postgres.ErrUnique when the username is
// taken. A patch that gives nothing writes nothing.
func (s *Store) PatchUser(ctx context.Context, p db.UpdateUserParams) (user *db.User, err error) {
	defer act(&err, "patch user %d", p.ID)
	if p.Username == nil && p.Email == nil && !p.SetAge && p.Tags == nil {
		return current(ctx, s, p.ID, p.IfVersion, (*db.Queries).GetUser, userVersion)
	}
	user, err = s.q.UpdateUser(ctx, p)
	if errors.Is(err, postgres.ErrNotFound) {
		return nil, notChanged(ctx, s, p.ID, p.IfVersion, (*db.Queries).GetUser, userVersion)
	}
	return user, err
}

// DeleteUser removes a user and the user's posts. It fails with
// ErrVersionMismatch when IfVersion is given and the user has another version
// by now, and with postgres.ErrNotFound when there is no such user.
func (s *Store) DeleteUser(ctx context.Context, p db.DeleteUserParams) (err error) {
	defer act(&err, "delete user %d", p.ID)
	n, err := s.q.DeleteUser(ctx, p)
	if err == nil && n == 0 {
		return notChanged(ctx, s, p.ID, p.IfVersion, (*db.Queries).GetUser, userVersion)
	}
	return err
}

func userVersion(u *db.User) int32 { return u.Version }

// UserFilter says which users to list. What is nil filters nothing.
type UserFilter struct {
	MinAge         *int32 // this age or older; users without an age are left out
	MaxAge         *int32 // this age or younger; users without an age are left out
	UsernamePrefix *string
}

// PageUsers returns a page of users in the order of their ids. It is one
// statement.
func (s *Store) PageUsers(ctx context.Context, f UserFilter, r PageRequest) (p Page[*db.User], err error) {
	defer act(&err, "page users")
	return page(r, func(u *db.User) int64 { return u.ID },
		func(key, limit int64) ([]*db.User, error) {
			return s.q.ListUsersAfter(ctx, db.ListUsersAfterParams{
				After: key, MinAge: f.MinAge, MaxAge: f.MaxAge, UsernamePrefix: f.UsernamePrefix, RowLimit: limit,
			})
		},
		func(key, limit int64) ([]*db.User, error) {
			return s.q.ListUsersBefore(ctx, db.ListUsersBeforeParams{
				Before: key, MinAge: f.MinAge, MaxAge: f.MaxAge, UsernamePrefix: f.UsernamePrefix, RowLimit: limit,
			})
		})
}
