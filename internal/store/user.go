package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"

	"quern/internal/db"
	"quern/postgres"
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

// RegisterUser adds a user and its first posts, in one transaction and one
// round trip whatever the number of posts. It returns them as stored, the posts
// in the order given; when the answer was lost, as they are when they are read
// back. It fails with postgres.ErrUnique when the username is taken and with
// postgres.ErrCheck when a value breaks a rule of its table; nothing is stored
// then, and ItemFaults says which posts caused it, if they did. An error with postgres.ErrCommitted says that they are stored.
func (s *Store) RegisterUser(ctx context.Context, r Registration) (user *db.User, posts []*db.Post, err error) {
	defer act(&err, "register user %q", r.User.Username)
	r.User.Tags = list(r.User.Tags)
	columns, err := postColumns(r.Posts)
	if err != nil {
		return nil, nil, err
	}
	var newUser *postgres.Queued[*db.User]
	var newPosts *postgres.QueuedRows[*db.Post]
	recall := func(tx postgres.DBTX) error {
		q := db.New(tx)
		u, err := q.GetUserByUsername(ctx, r.User.Username)
		if err != nil {
			return err
		}
		newUser.Set(u)
		if newPosts == nil {
			return nil
		}
		stored, err := q.ListPostsByUserAfter(ctx, db.ListPostsByUserAfterParams{UserID: u.ID, RowLimit: int64(len(r.Posts))})
		newPosts.Set(stored)
		return err
	}
	err = s.q.Pipeline(ctx, postgres.TxOptions{Recall: recall}, func(b *postgres.Batch) error {
		newUser = s.q.QueueCreateUser(b, r.User)
		if len(r.Posts) > 0 {
			newPosts = s.q.QueueCreatePostsOfNewUser(b, columns)
		}
		return nil
	})
	if err != nil {
		return nil, nil, s.faultyPosts(ctx, r, err)
	}
	posts = []*db.Post{}
	if newPosts != nil {
		if posts, err = newPosts.Get(); err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(posts, func(a, b *db.Post) int { return cmp.Compare(a.ID, b.ID) })
	user, err = newUser.Get()
	return user, posts, err
}

// faultyPosts is the error of a registration that failed with cause.
func (s *Store) faultyPosts(ctx context.Context, r Registration, cause error) error {
	err := s.faultsOf(ctx, cause, manyItems{
		n: len(r.Posts),
		begin: func(q *db.Queries) error {
			_, err := q.CreateUser(ctx, r.User)
			return err
		},
		run: func(q *db.Queries, from, to int) error {
			p, err := postColumns(r.Posts[from:to])
			if err == nil {
				_, err = q.CreatePostsOfNewUser(ctx, p)
			}
			return err
		},
	})
	if faults := ItemFaults(nil); errors.As(err, &faults) {
		for i := range faults {
			faults[i].Of = "posts"
		}
	}
	return err
}

func postColumns(posts []NewPost) (p db.CreatePostsOfNewUserParams, err error) {
	for _, post := range posts {
		tags, err := json.Marshal(list(post.Tags))
		if err != nil {
			return p, err
		}
		p.Titles = append(p.Titles, post.Title)
		p.Contents = append(p.Contents, post.Content)
		p.Tags = append(p.Tags, tags)
	}
	return p, nil
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
		return current(ctx, s, p.ID, p.IfVersion, (*db.Queries).QueueGetUser, userVersion)
	}
	user, err = s.q.UpdateUser(ctx, p)
	if errors.Is(err, postgres.ErrNotFound) {
		return nil, notChanged(ctx, s, p.ID, p.IfVersion, (*db.Queries).QueueGetUser, userVersion)
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
		return notChanged(ctx, s, p.ID, p.IfVersion, (*db.Queries).QueueGetUser, userVersion)
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

// PageUsers calls each with the users of a page, in the order of their ids and
// as they come: when it fails, each may have had some of them. It is one
// statement.
func (s *Store) PageUsers(ctx context.Context, f UserFilter, r PageRequest, each func(db.User)) (ends Ends, err error) {
	defer act(&err, "page users")
	return eachOfPage(r, func(u db.User) int64 { return u.ID },
		func(key, limit int64) iter.Seq2[db.User, error] {
			return s.q.ListUsersAfterStream(ctx, f.after(key, limit))
		},
		func(key, limit int64) iter.Seq2[db.User, error] {
			return s.q.ListUsersBeforeStream(ctx, f.before(key, limit))
		},
		nil, each)
}

// asOfOneMoment is a read of several statements that see the same rows.
var asOfOneMoment = postgres.TxOptions{Isolation: "repeatable read", ReadOnly: true, Replica: true}

// PageUsersWithPosts returns a page of users in the order of their ids, and the
// posts of each in the order of theirs: the nth list is the nth user's. It is two
// statements as of one moment, in one round trip. It fails with ErrPageTooLarge if
// the posts have more than 32 MiB of text.
func (s *Store) PageUsersWithPosts(ctx context.Context, f UserFilter, r PageRequest) (p Page[*db.User], posts [][]*db.Post, err error) {
	defer act(&err, "page users with posts")
	var all []*db.Post
	p, err = page(r, func(u *db.User) int64 { return u.ID },
		func(key, limit int64) ([]*db.User, error) {
			return s.usersAndPosts(ctx, &all, func(b *postgres.Batch) (userRows, postRows) {
				return s.q.QueueListUsersAfter(b, f.after(key, limit)),
					s.q.QueueListPostsOfUsersAfter(b, db.ListPostsOfUsersAfterParams(f.after(key, limit-1)))
			})
		},
		func(key, limit int64) ([]*db.User, error) {
			return s.usersAndPosts(ctx, &all, func(b *postgres.Batch) (userRows, postRows) {
				return s.q.QueueListUsersBefore(b, f.before(key, limit)),
					s.q.QueueListPostsOfUsersBefore(b, db.ListPostsOfUsersBeforeParams(f.before(key, limit-1)))
			})
		})
	return p, postsOf(p.Items, all), err
}

type (
	userRows = *postgres.QueuedRows[*db.User]
	postRows = *postgres.QueuedRows[*db.Post]
)

// usersAndPosts reads the users and the posts that queue queues, the posts into all as
// long as they are not too large. queue asks for one user more than for whose posts.
func (s *Store) usersAndPosts(ctx context.Context, all *[]*db.Post, queue func(b *postgres.Batch) (userRows, postRows)) ([]*db.User, error) {
	var page userRows
	err := s.q.Pipeline(ctx, asOfOneMoment, func(b *postgres.Batch) error {
		var posts postRows
		page, posts = queue(b)
		*all = nil
		within := limitSize(postSize)
		posts.Each(func(p *db.Post) error {
			*all = append(*all, p)
			return within(*p)
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return page.Get()
}

func (f UserFilter) after(key, limit int64) db.ListUsersAfterParams {
	return db.ListUsersAfterParams{
		After: key, MinAge: f.MinAge, MaxAge: f.MaxAge, UsernamePrefix: f.UsernamePrefix, RowLimit: limit,
	}
}

func (f UserFilter) before(key, limit int64) db.ListUsersBeforeParams {
	return db.ListUsersBeforeParams{
		Before: key, MinAge: f.MinAge, MaxAge: f.MaxAge, UsernamePrefix: f.UsernamePrefix, RowLimit: limit,
	}
}
