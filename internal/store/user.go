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
	defer annotate(&err, "register user %q", r.User.Username)
	r.User.Tags = list(r.User.Tags)
	columns, err := postColumns(r.Posts)
	if err != nil {
		return nil, nil, err
	}
	var newUser *postgres.Queued[*db.User]
	var newPosts *postgres.QueuedRows[*db.Post]
	readBack := func(tx postgres.DBTX) error {
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
	err = s.q.Pipeline(ctx, postgres.TxOptions{ReadBack: readBack}, func(b *postgres.Batch) error {
		newUser = s.q.QueueCreateUser(b, r.User)
		if len(r.Posts) > 0 {
			newPosts = s.q.QueueCreatePostsOfNewUser(b, columns)
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
	if newPosts != nil {
		if posts, err = newPosts.Get(); err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(posts, func(a, b *db.Post) int { return cmp.Compare(a.ID, b.ID) })
	user, err = newUser.Get()
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

// list returns tags as a list: PostgreSQL would take nil for NULL.
func list(tags []string) []string {
	if tags == nil {
		return []string{}
	}
	return tags
}

// UserFilter selects users. A nil field filters nothing.
type UserFilter struct {
	MinAge         *int32 // this age or older; users without an age are left out
	MaxAge         *int32 // this age or younger; users without an age are left out
	UsernamePrefix *string
}

// PageUsers calls each with the users of a page, in the order of their ids and
// as they come: when it fails, each may have had some of them. It is one
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

// asOfOneMoment is a read of several statements that see the same rows.
var asOfOneMoment = postgres.TxOptions{Isolation: "repeatable read", ReadOnly: true, Replica: true}

// UserWithPosts is a user and all its posts, in the order of their ids.
type UserWithPosts struct {
	*db.User
	Posts []*db.Post
}

// PageUsersWithPosts returns a page of users in the order of their ids, with their
// posts. It is two statements as of one moment, in one round trip. It fails with
// ErrPageTooLarge if the posts have more than 32 MiB of text.
func (s *Store) PageUsersWithPosts(ctx context.Context, f UserFilter, r PageRequest[int64]) (p Page[int64, UserWithPosts], err error) {
	defer annotate(&err, "page users with posts")
	return page(r, func(u UserWithPosts) int64 { return u.ID }, func(key int64, back bool, limit int64) ([]UserWithPosts, error) {
		var users *postgres.QueuedRows[*db.User]
		var all []*db.Post
		err := s.q.Pipeline(ctx, asOfOneMoment, func(b *postgres.Batch) error {
			var posts *postgres.QueuedRows[*db.Post]
			// The page has one user less than are asked for.
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

// withPosts gives users their posts, which are side by side for each user.
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
