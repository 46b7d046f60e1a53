package peer

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"quern/bench/internal/measure"
	"quern/internal/db"
)

// openSqlc returns the generated code as sqlc intends it to be used. Operations that need only
// the generated code are those of project, on another DBTX.
func openSqlc(ctx context.Context, c Config) (*Peer, error) {
	pool, err := openPool(ctx, c.URL)
	if err != nil {
		return nil, err
	}
	p := project{queries: db.New(pool)}
	eager := func(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
		users, err := p.users(ctx, 0, EagerUsers)
		if err != nil {
			return err
		}
		return p.posts(ctx, users, f)
	}
	return &Peer{
		Name: "sqlc", Version: "v1.31.1",
		About: "the generated queries of the project on a plain pgxpool",
		Ops: map[string]measure.Op{
			"point": p.point, "page": p.list(PageSize), "list-1000": p.list(ShortList), "list-10000": p.list(LongList),
			"insert": p.insert, "eager": eager,
			"tx": func(ctx context.Context, in *measure.Input, f *measure.Fold) error {
				n := params(in.User())
				var u *db.User
				err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
					q := p.queries.WithTx(tx)
					if u, err = q.CreateUser(ctx, n); err != nil {
						return err
					}
					_, err = q.CreatePost(ctx, db.CreatePostParams{
						UserID: u.ID, Title: firstTitle, Content: firstContent, Tags: firstTags(),
					})
					return err
				})
				return p.created(in, f, u, err)
			},
			"aggregate": func(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
				rows, err := p.queries.ListUserStats(ctx, db.ListUserStatsParams{
					MinPosts: MorePosts, AfterCount: math.MaxInt64, RowLimit: math.MaxInt32,
				})
				foldStats(f, rows)
				return err
			},
			"bulk-update": func(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
				ids, age := ages(in)
				_, err := p.queries.UpdateUsers(ctx, db.UpdateUsersParams{
					Ids: ids, IfVersions: []int32{}, Ages: age,
					SetUsernames: []bool{}, Usernames: []string{}, SetEmails: []bool{}, Emails: []string{}, Tags: [][]byte{},
				})
				return err
			},
		},
		close: func() error { pool.Close(); return nil },
	}, nil
}

// posts reads the posts of the first users and assigns them to the users.
func (p project) posts(ctx context.Context, users []*db.User, f *measure.Fold) error {
	all, err := p.queries.ListPostsOfUsersAfter(ctx, db.ListPostsOfUsersAfterParams{RowLimit: EagerUsers})
	if err != nil {
		return err
	}
	// The posts are sorted by user, so the list of each user is a slice of them.
	posts := make([][]*db.Post, len(users))
	for i, u := range users {
		end := 0
		for end < len(all) && all[end].UserID == u.ID {
			end++
		}
		posts[i], all = all[:end:end], all[end:]
	}
	foldTree(f, users, posts)
	return nil
}
