package store

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"slices"

	"quern/internal/db"
	"quern/postgres"
)

// NewPost describes a post to create, without its user.
type NewPost struct {
	Title   string
	Content string
	Tags    []string // nil means none
}

// Registration describes a user to create, with its first posts.
type Registration struct {
	User  db.CreateUserParams
	Posts []NewPost
}

// RegisterUser adds a user and its first posts, in one transaction and one round trip for
// any number of posts. Under load, concurrent registrations share a transaction. It returns
// them as stored, the posts in the given order. If the answer was lost, it reads them back. It returns postgres.ErrUnique if the username is
// taken, and postgres.ErrCheck if a value violates a rule of its table. Then nothing is
// stored, and ItemFaults lists the posts that caused it, if any did. An error with
// postgres.ErrCommitted means that they are stored.
func (s *Store) RegisterUser(ctx context.Context, r Registration) (user *db.User, posts []*db.Post, err error) {
	defer annotate(&err, "register user %q", r.User.Username)
	r.User.Tags = list(r.User.Tags)
	columns, err := postColumns(r.Posts)
	if err != nil {
		return nil, nil, err
	}
	var queued struct {
		user  *postgres.Queued[*db.User]
		posts *postgres.QueuedRows[*db.Post]
	}
	readBack := func(tx postgres.DBTX) error {
		q := db.New(tx)
		u, err := q.GetUserByUsername(ctx, r.User.Username)
		if err != nil {
			return err
		}
		queued.user.Set(u)
		if queued.posts == nil {
			return nil
		}
		stored, err := q.ListPostsByUserAfter(ctx, db.ListPostsByUserAfterParams{UserID: u.ID, RowLimit: int64(len(r.Posts))})
		queued.posts.Set(stored)
		return err
	}
	err = s.q.Pipeline(ctx, postgres.TxOptions{ReadBack: readBack, Coalesce: true}, func(b *postgres.Batch) error {
		queued.user = s.q.QueueCreateUser(b, r.User)
		if len(r.Posts) > 0 {
			queued.posts = s.q.QueueCreatePostsOfNewUser(b, columns)
		}
		return nil
	})
	if err != nil {
		return nil, nil, s.faultsOf(ctx, err, manyItems{
			list: "posts", n: len(r.Posts),
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
	}
	posts = []*db.Post{}
	if queued.posts != nil {
		if posts, err = queued.posts.Get(); err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(posts, func(a, b *db.Post) int { return cmp.Compare(a.ID, b.ID) })
	user, err = queued.user.Get()
	return user, posts, err
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

// list returns tags as a list that is not nil, because PostgreSQL would store nil as NULL.
func list(tags []string) []string {
	if tags == nil {
		return []string{}
	}
	return tags
}

// UserFilter selects users. A nil field does not filter.
type UserFilter struct {
	MinAge         *int32 // this age or older; excludes users without an age
	MaxAge         *int32 // this age or younger; excludes users without an age
	UsernamePrefix *string
}

// PageUsers calls each with a page of users, in the order of their ids and while they are
// read. If it returns an error, each may have been called with some of them. It is one
// statement.
func (s *Store) PageUsers(ctx context.Context, f UserFilter, r PageRequest[int64], each func(db.User)) (ends Ends[int64], err error) {
	defer annotate(&err, "page users")
	return EachOfPage(r, func(u db.User) int64 { return u.ID }, func(key int64, back bool, limit int64) iter.Seq2[db.User, error] {
		if back {
			return s.q.ListUsersBeforeStream(ctx, db.ListUsersBeforeParams(f.page(key, limit)))
		}
		return s.q.ListUsersAfterStream(ctx, f.page(key, limit))
	}, each)
}

// asOfOneMoment are the options of a transaction whose statements share one snapshot.
var asOfOneMoment = postgres.TxOptions{Isolation: "repeatable read", ReadOnly: true, Replica: true}

// UserWithPosts is a user and all its posts, in the order of their ids.
type UserWithPosts struct {
	*db.User
	Posts []*db.Post
}

// PageUsersWithPosts returns a page of users in the order of their ids, with their posts.
// It runs two statements with one snapshot, in one round trip. It returns ErrPageTooLarge
// if the posts have more than 32 MiB of text.
func (s *Store) PageUsersWithPosts(ctx context.Context, f UserFilter, r PageRequest[int64]) (p Page[int64, UserWithPosts], err error) {
	defer annotate(&err, "page users with posts")
	return page(r, func(u UserWithPosts) int64 { return u.ID }, func(key int64, back bool, limit int64) ([]UserWithPosts, error) {
		var users *postgres.QueuedRows[*db.User]
		var all []*db.Post
		err := s.q.Pipeline(ctx, asOfOneMoment, func(b *postgres.Batch) error {
			var posts *postgres.QueuedRows[*db.Post]
			// The page has one user less than requested from the database.
			if back {
				users = s.q.QueueListUsersBefore(b, db.ListUsersBeforeParams(f.page(key, limit)))
				posts = s.q.QueueListPostsOfUsersBefore(b, db.ListPostsOfUsersBeforeParams(f.page(key, limit-1)))
			} else {
				users = s.q.QueueListUsersAfter(b, f.page(key, limit))
				posts = s.q.QueueListPostsOfUsersAfter(b, db.ListPostsOfUsersAfterParams(f.page(key, limit-1)))
			}
			all = nil
			within := limitSize(postSize)
			posts.Each(func(p *db.Post) error {
				all = append(all, p)
				return within(*p)
			})
			return nil
		})
		if err != nil {
			return nil, err
		}
		rows, err := users.Get()
		return withPosts(rows, all), err
	})
}

// withPosts combines users with their posts, which must be grouped by user.
func withPosts(users []*db.User, posts []*db.Post) []UserWithPosts {
	postsOf := map[int64][]*db.Post{}
	for len(posts) > 0 {
		n := 1
		for n < len(posts) && posts[n].UserID == posts[0].UserID {
			n++
		}
		postsOf[posts[0].UserID], posts = posts[:n:n], posts[n:]
	}
	list := make([]UserWithPosts, len(users))
	for i, u := range users {
		list[i] = UserWithPosts{u, postsOf[u.ID]}
	}
	return list
}

func (f UserFilter) page(key, limit int64) db.ListUsersAfterParams {
	return db.ListUsersAfterParams{Key: key, MinAge: f.MinAge, MaxAge: f.MaxAge, UsernamePrefix: f.UsernamePrefix, RowLimit: limit}
}
