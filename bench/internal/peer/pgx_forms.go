package peer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/bench/internal/measure"
)

// addForms adds other ways to do the same with pgx, which are shown beside the
// reference.
func (p plain) addForms(ops map[string]measure.Op) {
	ops["eager: JOIN"] = p.eagerJoin
	ops["eager: json_agg"] = p.eagerJSON
	ops["eager: N+1"] = p.eagerEach
	ops["aggregate: counted first, then joined"] = p.countedFirst
	ops["bulk-update: COPY to a temporary table"] = p.updateByCopy
	ops["bulk-update: batch"] = p.updateByBatch
	ops["bulk-update: one by one"] = p.updateEach
}

func (p plain) eagerJoin(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	// For a user without posts, the columns of the post are NULL.
	rows, err := p.pool.Query(ctx, `SELECT u.id, u.username, u.email, u.age, u.tags, u.created_at, u.updated_at, u.version,
			p.id, p.title, p.content, p.tags, p.created_at, p.updated_at, p.version
		FROM (SELECT * FROM users WHERE id > $1 ORDER BY id LIMIT $2) AS u
		LEFT JOIN posts AS p ON p.user_id = u.id ORDER BY u.id, p.id`, 0, EagerUsers)
	if err != nil {
		return err
	}
	defer rows.Close()
	users := make([]User, 0, EagerUsers)
	for rows.Next() {
		var u User
		var id *int64
		var title, content *string
		var version *int32
		var at, changed *time.Time
		post := &Post{}
		err := rows.Scan(&u.ID, &u.Username, &u.Email, &u.Age, &u.Tags, &u.CreatedAt, &u.UpdatedAt, &u.Version,
			&id, &title, &content, &post.Tags, &at, &changed, &version)
		if err != nil {
			return err
		}
		if len(users) == 0 || users[len(users)-1].ID != u.ID {
			users = append(users, u)
		}
		if id != nil {
			post.ID, post.UserID, post.Title, post.Content, post.Version = *id, u.ID, *title, *content, *version
			post.CreatedAt, post.UpdatedAt = *at, *changed
			last := &users[len(users)-1]
			last.Posts = append(last.Posts, post)
		}
	}
	foldAll(f, users)
	return rows.Err()
}

func (p plain) eagerJSON(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	rows, err := p.pool.Query(ctx, "SELECT "+userColumns+`, COALESCE((SELECT json_agg(p ORDER BY p.id) FROM posts AS p WHERE p.user_id = u.id), '[]')
		FROM users AS u WHERE id > $1 ORDER BY id LIMIT $2`, 0, EagerUsers)
	if err != nil {
		return err
	}
	defer rows.Close()
	users := make([]User, 0, EagerUsers)
	for rows.Next() {
		users = append(users, User{})
		u := &users[len(users)-1]
		err := rows.Scan(&u.ID, &u.Username, &u.Email, &u.Age, &u.Tags, &u.CreatedAt, &u.UpdatedAt, &u.Version, &u.Posts)
		if err != nil {
			return err
		}
	}
	foldAll(f, users)
	return rows.Err()
}

func (p plain) eagerEach(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	users, err := p.users(ctx, selectUsers, 0, EagerUsers)
	if err != nil {
		return err
	}
	for i := range users {
		if err := p.posts(ctx, users[i:i+1]); err != nil {
			return err
		}
	}
	foldAll(f, users)
	return nil
}

func (p plain) countedFirst(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	counts, err := p.counts(ctx, `SELECT u.id, u.username, c.post_count
		FROM (SELECT user_id, count(*) AS post_count FROM posts GROUP BY user_id HAVING count(*) > $1) AS c
		JOIN users AS u ON u.id = c.user_id ORDER BY c.post_count DESC, u.id`)
	foldCounts(f, counts)
	return err
}

func (p plain) updateByCopy(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	ids, age := ages(in)
	return pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "CREATE TEMPORARY TABLE given (id bigint, age integer) ON COMMIT DROP"); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"given"}, []string{"id", "age"},
			pgx.CopyFromSlice(len(ids), func(i int) ([]any, error) { return []any{ids[i], age[i]}, nil }))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE users AS u SET age = g.age, updated_at = now(), version = u.version + 1
			FROM given AS g WHERE u.id = g.id`)
		return err
	})
}

func (p plain) updateByBatch(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	ids, age := ages(in)
	b := &pgx.Batch{}
	for i := range ids {
		b.Queue(updateAge, ids[i], age[i])
	}
	return p.pool.SendBatch(ctx, b).Close()
}

func (p plain) updateEach(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	ids, age := ages(in)
	return pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		for i := range ids {
			if _, err := tx.Exec(ctx, updateAge, ids[i], age[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// newEach opens a connection for each call, like CGI programs.
func newEach(url string) measure.Op {
	return func(ctx context.Context, in *measure.Input, f *measure.Fold) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		var u User
		if err := scanUser(conn.QueryRow(ctx, selectUser, in.ID()), &u); err != nil {
			return err
		}
		u.fold(f)
		return nil
	}
}

// oneShared makes all callers share one connection.
func oneShared(conn *pgx.Conn) measure.Op {
	var mu sync.Mutex
	return func(ctx context.Context, in *measure.Input, f *measure.Fold) error {
		mu.Lock()
		defer mu.Unlock()
		var u User
		if err := scanUser(conn.QueryRow(ctx, selectUser, in.ID()), &u); err != nil {
			return err
		}
		u.fold(f)
		return nil
	}
}

// firstPage, deepPage and offsetPage read a page from the start of the table
// and at nine tenths of it.
func (p plain) firstPage(ctx context.Context, _ *measure.Input, _ *measure.Fold) error {
	return page(p.users(ctx, selectUsers, 0, PageSize))
}

func (p plain) deepPage(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	return page(p.users(ctx, selectUsers, in.Deep(), PageSize))
}

func (p plain) offsetPage(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	return page(p.users(ctx, "SELECT "+userColumns+" FROM users ORDER BY id OFFSET $1 LIMIT $2", in.Deep(), PageSize))
}

// page checks that a page is complete.
func page[T any](users []T, err error) error {
	if err == nil && len(users) != PageSize {
		return fmt.Errorf("a page of %d users", len(users))
	}
	return err
}
