package peer

import (
	"context"
	"database/sql"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"quern/bench/internal/measure"
)

type bunUser struct {
	bun.BaseModel `bun:"table:users,alias:u"`

	ID        int64     `bun:"id,pk,autoincrement"`
	Username  string    `bun:"username"`
	Email     string    `bun:"email"`
	Age       *int32    `bun:"age"`
	Tags      []string  `bun:"tags,type:jsonb"`
	CreatedAt time.Time `bun:"created_at,nullzero,default:now()"`
	UpdatedAt time.Time `bun:"updated_at,nullzero,default:now()"`
	Version   int32     `bun:"version,nullzero,default:1"`
	Posts     []bunPost `bun:"rel:has-many,join:id=user_id"`
}

type bunPost struct {
	bun.BaseModel `bun:"table:posts,alias:p"`

	ID        int64     `bun:"id,pk,autoincrement"`
	UserID    int64     `bun:"user_id"`
	Title     string    `bun:"title"`
	Content   string    `bun:"content"`
	Tags      []string  `bun:"tags,type:jsonb"`
	CreatedAt time.Time `bun:"created_at,nullzero,default:now()"`
	UpdatedAt time.Time `bun:"updated_at,nullzero,default:now()"`
	Version   int32     `bun:"version,nullzero,default:1"`
}

// bunAge has the columns that the bulk update changes.
type bunAge struct {
	bun.BaseModel `bun:"table:users,alias:u"`

	ID  int64 `bun:"id,pk"`
	Age int32 `bun:"age"`
}

type bunPeer struct{ db *bun.DB }

func openBun(_ context.Context, c Config) (*Peer, error) {
	// bun writes the arguments into its statements, so there is no use in preparing them.
	pool, err := openSQL(c.URL, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, err
	}
	p := bunPeer{bun.NewDB(pool, pgdialect.New())}
	return &Peer{
		Name: "bun", Version: version("github.com/uptrace/bun"),
		About: "over pgx in the simple protocol, because bun writes the arguments into the statements",
		Ops: map[string]measure.Op{
			"point": p.point, "page": p.page, "insert": p.insert, "tx": p.tx,
			"eager": p.eager, "aggregate": p.aggregate, "bulk-update": p.bulkUpdate,
		},
		close: p.db.Close,
	}, nil
}

func (u *bunUser) fold(f *measure.Fold) {
	if f == nil {
		return
	}
	f.User(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
	for _, p := range u.Posts {
		f.Post(p.ID, p.Title)
	}
}

func (p bunPeer) point(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	var u bunUser
	err := p.db.NewSelect().Model(&u).Where("id = ?", in.ID()).Scan(ctx)
	u.fold(f)
	return err
}

func (p bunPeer) page(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	var users []bunUser
	err := p.db.NewSelect().Model(&users).Where("id > ?", in.After(PageSize)).Order("id").Limit(PageSize).Scan(ctx)
	for i := range users {
		users[i].fold(f)
	}
	return err
}

func newBunUser(n measure.NewUser) *bunUser {
	return &bunUser{Username: n.Username, Email: n.Email, Age: &n.Age, Tags: n.Tags}
}

func (bunPeer) created(in *measure.Input, f *measure.Fold, u *bunUser, err error) error {
	if err != nil {
		return err
	}
	in.Inserted()
	if f != nil {
		f.Created(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
	}
	return nil
}

func (p bunPeer) insert(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	u := newBunUser(in.User())
	_, err := p.db.NewInsert().Model(u).Exec(ctx)
	return p.created(in, f, u, err)
}

func (p bunPeer) tx(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	u := newBunUser(in.User())
	err := p.db.RunInTx(ctx, &sql.TxOptions{}, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(u).Exec(ctx); err != nil {
			return err
		}
		post := &bunPost{UserID: u.ID, Title: firstTitle, Content: firstContent, Tags: firstTags()}
		_, err := tx.NewInsert().Model(post).Exec(ctx)
		return err
	})
	return p.created(in, f, u, err)
}

func (p bunPeer) eager(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	var users []bunUser
	byID := func(q *bun.SelectQuery) *bun.SelectQuery { return q.Order("id") }
	err := p.db.NewSelect().Model(&users).Relation("Posts", byID).Order("u.id").Limit(EagerUsers).Scan(ctx)
	for i := range users {
		users[i].fold(f)
	}
	return err
}

func (p bunPeer) aggregate(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	var counts []count
	err := p.db.NewSelect().TableExpr("users AS u").ColumnExpr("u.id, u.username, count(p.id) AS post_count").
		Join("LEFT JOIN posts AS p ON p.user_id = u.id").Group("u.id").
		Having("count(p.id) > ?", MorePosts).Order("post_count DESC", "u.id").Scan(ctx, &counts)
	foldCounts(f, counts)
	return err
}

func (p bunPeer) bulkUpdate(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	ids, age := ages(in)
	rows := make([]bunAge, len(ids))
	for i := range ids {
		rows[i] = bunAge{ID: ids[i], Age: age[i]}
	}
	_, err := p.db.NewUpdate().With("given", p.db.NewValues(&rows)).Model((*bunAge)(nil)).TableExpr("given").
		Set("age = given.age").Set("updated_at = now()").Set("version = u.version + 1").
		Where("u.id = given.id").Exec(ctx)
	return err
}
