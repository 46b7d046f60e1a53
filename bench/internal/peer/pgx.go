package peer

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/bench/internal/measure"
)

// Statements that several peers send unchanged.
const (
	userColumns = "id, username, email, age, tags, created_at, updated_at, version"
	postColumns = "id, user_id, title, content, tags, created_at, updated_at, version"

	selectUser  = "SELECT " + userColumns + " FROM users WHERE id = $1"
	selectUsers = "SELECT " + userColumns + " FROM users WHERE id > $1 ORDER BY id LIMIT $2"
	insertUser  = "INSERT INTO users (username, email, age, tags) VALUES ($1, $2, $3, $4) RETURNING " + userColumns
	insertPost  = "INSERT INTO posts (user_id, title, content, tags) VALUES ($1, $2, $3, $4) RETURNING " + postColumns
	selectPosts = "SELECT " + postColumns + " FROM posts WHERE user_id = ANY($1) ORDER BY user_id, id"

	// The usual form, which joins all users with their posts and then filters.
	countPosts = `SELECT u.id, u.username, count(p.id) AS post_count
		FROM users AS u LEFT JOIN posts AS p ON p.user_id = u.id
		GROUP BY u.id HAVING count(p.id) > $1 ORDER BY post_count DESC, u.id`

	updateAges = `UPDATE users AS u SET age = g.age, updated_at = now(), version = u.version + 1
		FROM (SELECT unnest($1::bigint[]) AS id, unnest($2::integer[]) AS age) AS g WHERE u.id = g.id`
	updateAge = "UPDATE users SET age = $2, updated_at = now(), version = version + 1 WHERE id = $1"
)

// plain is pgx, used directly.
type plain struct{ pool *pgxpool.Pool }

func openPool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	c.MaxConns, c.MinConns = Pool, Pool
	return pgxpool.NewWithConfig(ctx, c)
}

func openPgx(ctx context.Context, c Config) (*Peer, error) {
	pool, err := openPool(ctx, c.URL)
	if err != nil {
		return nil, err
	}
	p := plain{pool}
	shared, err := pgx.Connect(ctx, c.URL)
	if err != nil {
		pool.Close()
		return nil, err
	}
	ops := map[string]measure.Op{
		"point": p.point, "page": p.list(PageSize), "list-1000": p.list(ShortList), "list-10000": p.list(LongList),
		"stream-1000": p.stream(ShortList), "stream-10000": p.stream(LongList),
		"insert": p.insert, "tx": p.tx, "eager": p.eager, "aggregate": p.aggregate, "bulk-update": p.bulkUpdate,
		"json-page": p.jsonPage, "json-tree": p.jsonTree,
		"connections": p.point, "connections: one connection shared by all": oneShared(shared),
		"connections: a new one for each call": newEach(c.URL),
		"deep-page":                            p.firstPage, "deep-page: deep": p.deepPage, "deep-page: OFFSET": p.offsetPage,
	}
	p.addForms(ops)
	p.addStatistics(ops)
	p.addLoads(ops, c)
	return &Peer{
		Name: "pgx", Version: version("github.com/jackc/pgx/v5"), Ops: ops,
		About:  "written by hand: pgxpool, prepared statements, Scan into the fields of structs, lists allocated in advance",
		Opened: func() int64 { return pool.Stat().NewConnsCount() },
		close: func() error {
			pool.Close()
			return shared.Close(context.WithoutCancel(ctx))
		},
	}, nil
}

func scanUser(row pgx.Row, u *User) error {
	return row.Scan(&u.ID, &u.Username, &u.Email, &u.Age, &u.Tags, &u.CreatedAt, &u.UpdatedAt, &u.Version)
}

func scanPost(row pgx.Row, p *Post) error {
	return row.Scan(&p.ID, &p.UserID, &p.Title, &p.Content, &p.Tags, &p.CreatedAt, &p.UpdatedAt, &p.Version)
}

func (p plain) point(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	var u User
	err := scanUser(p.pool.QueryRow(ctx, selectUser, in.ID()), &u)
	if err == nil {
		u.fold(f)
	}
	return given(err)
}

// given converts a cancelled call to ErrCancelled.
func given(err error) error {
	if errors.Is(err, context.Canceled) {
		return measure.ErrCancelled
	}
	return err
}

func (p plain) users(ctx context.Context, sql string, after int64, limit int) ([]User, error) {
	rows, err := p.pool.Query(ctx, sql, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	users := make([]User, 0, limit)
	for rows.Next() {
		users = append(users, User{})
		if err := scanUser(rows, &users[len(users)-1]); err != nil {
			return nil, err
		}
	}
	return users, rows.Err()
}

func (p plain) list(limit int) measure.Op {
	return func(ctx context.Context, in *measure.Input, f *measure.Fold) error {
		users, err := p.users(ctx, selectUsers, in.After(limit), limit)
		foldAll(f, users)
		return err
	}
}

// stream reads users one by one without collecting them.
func (p plain) stream(limit int) measure.Op {
	return func(ctx context.Context, in *measure.Input, f *measure.Fold) error {
		rows, err := p.pool.Query(ctx, selectUsers, in.After(limit), limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var u User
			if err := scanUser(rows, &u); err != nil {
				return err
			}
			u.fold(f)
		}
		return rows.Err()
	}
}

func (p plain) insert(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	n := in.User()
	var u User
	err := scanUser(p.pool.QueryRow(ctx, insertUser, n.Username, n.Email, n.Age, n.Tags), &u)
	return created(in, f, &u, err)
}

func isUnique(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "23505"
}

// created finishes an insertion.
func created(in *measure.Input, f *measure.Fold, u *User, err error) error {
	if isUnique(err) {
		return nil // the outcome is known, after a complete round trip
	}
	if err != nil {
		return err
	}
	in.Inserted()
	if f != nil {
		f.Created(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
	}
	return nil
}

func (p plain) tx(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	n := in.User()
	var u User
	var post Post
	err := pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if err := scanUser(tx.QueryRow(ctx, insertUser, n.Username, n.Email, n.Age, n.Tags), &u); err != nil {
			return err
		}
		return scanPost(tx.QueryRow(ctx, insertPost, u.ID, firstTitle, firstContent, firstTags()), &post)
	})
	return created(in, f, &u, err)
}

// posts adds the posts to users, which must be sorted by id.
func (p plain) posts(ctx context.Context, users []User) error {
	ids := make([]int64, len(users))
	for i := range users {
		ids[i] = users[i].ID
	}
	rows, err := p.pool.Query(ctx, selectPosts, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	var all []*Post
	for rows.Next() {
		post := &Post{}
		if err := scanPost(rows, post); err != nil {
			return err
		}
		all = append(all, post)
	}
	// The posts are sorted by user, so the list of each user is a slice of them.
	for i := range users {
		end := 0
		for end < len(all) && all[end].UserID == users[i].ID {
			end++
		}
		users[i].Posts, all = all[:end:end], all[end:]
	}
	return rows.Err()
}

func (p plain) tree(ctx context.Context, after int64) ([]User, error) {
	users, err := p.users(ctx, selectUsers, after, EagerUsers)
	if err != nil {
		return nil, err
	}
	return users, p.posts(ctx, users)
}

func (p plain) eager(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	users, err := p.tree(ctx, 0)
	foldAll(f, users)
	return err
}

func (p plain) counts(ctx context.Context, sql string) ([]count, error) {
	rows, err := p.pool.Query(ctx, sql, MorePosts)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[count])
}

func (p plain) aggregate(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	counts, err := p.counts(ctx, countPosts)
	foldCounts(f, counts)
	return err
}

func (p plain) bulkUpdate(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	ids, age := ages(in)
	_, err := p.pool.Exec(ctx, updateAges, ids, age)
	return err
}

// jsonPage is an answer as an HTTP handler writes it.
type jsonPage struct {
	Items []User  `json:"items"`
	Next  *string `json:"next"`
	Prev  *string `json:"prev"`
}

func (p plain) jsonPage(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	users, err := p.users(ctx, selectUsers, 0, PageSize)
	if err != nil {
		return err
	}
	return marshal(users, f)
}

func (p plain) jsonTree(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	users, err := p.tree(ctx, 0)
	if err != nil {
		return err
	}
	return marshal(users, f)
}

func marshal(users []User, f *measure.Fold) error {
	text, err := json.Marshal(jsonPage{Items: users})
	if err == nil && f != nil {
		err = f.JSON(text)
	}
	return err
}
