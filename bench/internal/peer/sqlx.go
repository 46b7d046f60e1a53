package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"quern/bench/internal/measure"
)

// jsonTags are tags in a jsonb column, because database/sql does not support
// lists.
type jsonTags []string

// Scan decodes the server's value.
func (t *jsonTags) Scan(v any) error {
	text, ok := v.([]byte)
	if !ok {
		return fmt.Errorf("tags: a %T", v)
	}
	return json.Unmarshal(text, t)
}

type sqlxUser struct {
	ID        int64     `db:"id"`
	Username  string    `db:"username"`
	Email     string    `db:"email"`
	Age       *int32    `db:"age"`
	Tags      jsonTags  `db:"tags"`
	CreatedAt time.Time `db:"created_at"`
	UpdatedAt time.Time `db:"updated_at"`
	Version   int32     `db:"version"`

	Posts []sqlxPost `db:"-"`
}

type sqlxPost struct {
	ID        int64     `db:"id"`
	UserID    int64     `db:"user_id"`
	Title     string    `db:"title"`
	Content   string    `db:"content"`
	Tags      jsonTags  `db:"tags"`
	CreatedAt time.Time `db:"created_at"`
	UpdatedAt time.Time `db:"updated_at"`
	Version   int32     `db:"version"`
}

// sqlxPeer keeps its statements prepared. Otherwise lib/pq would need two round
// trips.
type sqlxPeer struct {
	db                                                      *sqlx.DB
	one, list, insertUser, insertPost, posts, count, update *sqlx.Stmt
}

func openSqlx(ctx context.Context, c Config) (*Peer, error) {
	db, err := sqlx.Open("postgres", c.URL)
	if err != nil {
		return nil, err
	}
	pooled(db.DB)
	p := &sqlxPeer{db: db}
	for stmt, text := range map[**sqlx.Stmt]string{
		&p.one: selectUser, &p.list: selectUsers, &p.insertUser: insertUser, &p.insertPost: insertPost,
		&p.posts: selectPosts, &p.count: countPosts, &p.update: updateAges,
	} {
		if *stmt, err = db.PreparexContext(ctx, text); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return &Peer{
		Name: "sqlx + lib/pq", Version: version("github.com/jmoiron/sqlx") + " + " + version("github.com/lib/pq"),
		About: "the statements of pgx, prepared once",
		Ops: map[string]measure.Op{
			"point": p.point, "page": p.page, "insert": p.insert, "tx": p.tx,
			"eager": p.eager, "aggregate": p.aggregate, "bulk-update": p.bulkUpdate,
		},
		close: db.Close,
	}, nil
}

func (u *sqlxUser) fold(f *measure.Fold) {
	if f == nil {
		return
	}
	f.User(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
	for _, p := range u.Posts {
		f.Post(p.ID, p.Title)
	}
}

func (p *sqlxPeer) point(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	var u sqlxUser
	err := p.one.GetContext(ctx, &u, in.ID())
	u.fold(f)
	return err
}

func (p *sqlxPeer) page(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	users := make([]sqlxUser, 0, PageSize)
	err := p.list.SelectContext(ctx, &users, in.After(PageSize), PageSize)
	for i := range users {
		users[i].fold(f)
	}
	return err
}

// args returns a new user's columns.
func args(n measure.NewUser) ([]any, error) {
	tags, err := json.Marshal(n.Tags)
	return []any{n.Username, n.Email, n.Age, tags}, err
}

func (*sqlxPeer) created(in *measure.Input, f *measure.Fold, u *sqlxUser, err error) error {
	if err != nil {
		return err
	}
	in.Inserted()
	if f != nil {
		f.Created(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
	}
	return nil
}

func (p *sqlxPeer) insert(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	columns, err := args(in.User())
	if err != nil {
		return err
	}
	var u sqlxUser
	err = p.insertUser.GetContext(ctx, &u, columns...)
	return p.created(in, f, &u, err)
}

func (p *sqlxPeer) tx(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	columns, err := args(in.User())
	if err != nil {
		return err
	}
	tags, err := json.Marshal(firstTags())
	if err != nil {
		return err
	}
	tx, err := p.db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	var u sqlxUser
	var post sqlxPost
	err = tx.StmtxContext(ctx, p.insertUser).GetContext(ctx, &u, columns...)
	if err == nil {
		err = tx.StmtxContext(ctx, p.insertPost).GetContext(ctx, &post, u.ID, firstTitle, firstContent, tags)
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return p.created(in, f, &u, tx.Commit())
}

func (p *sqlxPeer) eager(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	users := make([]sqlxUser, 0, EagerUsers)
	if err := p.list.SelectContext(ctx, &users, 0, EagerUsers); err != nil {
		return err
	}
	ids := make([]int64, len(users))
	for i := range users {
		ids[i] = users[i].ID
	}
	var posts []sqlxPost
	if err := p.posts.SelectContext(ctx, &posts, pq.Array(ids)); err != nil {
		return err
	}
	at := 0
	for _, post := range posts {
		for users[at].ID != post.UserID {
			at++
		}
		users[at].Posts = append(users[at].Posts, post)
	}
	for i := range users {
		users[i].fold(f)
	}
	return nil
}

func (p *sqlxPeer) aggregate(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	var rows []struct {
		ID        int64  `db:"id"`
		Username  string `db:"username"`
		PostCount int64  `db:"post_count"`
	}
	err := p.count.SelectContext(ctx, &rows, MorePosts)
	counts := make([]count, len(rows))
	for i, r := range rows {
		counts[i] = count(r)
	}
	foldCounts(f, counts)
	return err
}

func (p *sqlxPeer) bulkUpdate(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	ids, age := ages(in)
	_, err := p.update.ExecContext(ctx, pq.Array(ids), pq.Array(age))
	return err
}
