package peer

import (
	"context"
	"errors"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5"

	"quern/bench/internal/measure"
	"quern/bench/internal/peer/ent"
	"quern/bench/internal/peer/ent/post"
	"quern/bench/internal/peer/ent/user"
)

type entPeer struct{ client *ent.Client }

func openEnt(_ context.Context, c Config) (*Peer, error) {
	pool, err := openSQL(c.URL, pgx.QueryExecModeCacheStatement)
	if err != nil {
		return nil, err
	}
	p := entPeer{ent.NewClient(ent.Driver(entsql.OpenDB(dialect.Postgres, pool)))}
	return &Peer{
		Name: "ent", Version: version("entgo.io/ent"),
		About: "over pgx. It cannot update many rows to different values, so it updates row by row in a transaction",
		Ops: map[string]measure.Op{
			"point": p.point, "page": p.page, "insert": p.insert, "tx": p.tx,
			"eager": p.eager, "aggregate": p.aggregate, "bulk-update": p.bulkUpdate,
		},
		close: p.client.Close,
	}, nil
}

func foldEnt(f *measure.Fold, users ...*ent.User) {
	if f == nil {
		return
	}
	for _, u := range users {
		f.User(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
		for _, p := range u.Edges.Posts {
			f.Post(p.ID, p.Title)
		}
	}
}

func (p entPeer) point(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	u, err := p.client.User.Get(ctx, in.ID())
	if err == nil {
		foldEnt(f, u)
	}
	return err
}

func (p entPeer) page(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	users, err := p.client.User.Query().Where(user.IDGT(in.After(PageSize))).
		Order(ent.Asc(user.FieldID)).Limit(PageSize).All(ctx)
	foldEnt(f, users...)
	return err
}

func createEnt(ctx context.Context, c *ent.UserClient, n measure.NewUser) (*ent.User, error) {
	return c.Create().SetUsername(n.Username).SetEmail(n.Email).SetAge(n.Age).SetTags(n.Tags).Save(ctx)
}

func (entPeer) created(in *measure.Input, f *measure.Fold, u *ent.User, err error) error {
	if err != nil {
		return err
	}
	in.Inserted()
	if f != nil {
		f.Created(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
	}
	return nil
}

func (p entPeer) insert(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	u, err := createEnt(ctx, p.client.User, in.User())
	return p.created(in, f, u, err)
}

// inTx runs fn in a transaction.
func (p entPeer) inTx(ctx context.Context, fn func(tx *ent.Tx) error) error {
	tx, err := p.client.Tx(ctx)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (p entPeer) tx(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	n := in.User()
	var u *ent.User
	err := p.inTx(ctx, func(tx *ent.Tx) (err error) {
		if u, err = createEnt(ctx, tx.User, n); err != nil {
			return err
		}
		_, err = tx.Post.Create().SetUserID(u.ID).SetTitle(firstTitle).SetContent(firstContent).SetTags(firstTags()).Save(ctx)
		return err
	})
	return p.created(in, f, u, err)
}

func (p entPeer) eager(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	users, err := p.client.User.Query().Order(ent.Asc(user.FieldID)).Limit(EagerUsers).
		WithPosts(func(q *ent.PostQuery) { q.Order(ent.Asc(post.FieldID)) }).All(ctx)
	foldEnt(f, users...)
	return err
}

func (p entPeer) aggregate(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	// ent's Scan uses these tags.
	var rows []struct {
		ID        int64  `json:"id"`
		Username  string `json:"username"`
		PostCount int64  `json:"post_count"`
	}
	err := p.client.User.Query().GroupBy(user.FieldID, user.FieldUsername).
		Aggregate(func(s *entsql.Selector) string {
			posts := entsql.Table(post.Table)
			s.LeftJoin(posts).On(s.C(user.FieldID), posts.C(post.FieldUserID))
			number := entsql.Count(posts.C(post.FieldID))
			s.Having(entsql.GT(number, MorePosts)).OrderExpr(entsql.Raw("post_count DESC"), entsql.Raw(s.C(user.FieldID)))
			return entsql.As(number, "post_count")
		}).Scan(ctx, &rows)
	counts := make([]count, len(rows))
	for i, r := range rows {
		counts[i] = count(r)
	}
	foldCounts(f, counts)
	return err
}

func (p entPeer) bulkUpdate(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	ids, age := ages(in)
	return p.inTx(ctx, func(tx *ent.Tx) error {
		now := time.Now()
		for i := range ids {
			err := tx.User.Update().Where(user.ID(ids[i])).SetAge(age[i]).SetUpdatedAt(now).AddVersion(1).Exec(ctx)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
