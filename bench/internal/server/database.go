package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"quern"
	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
	"quern/postgres/migrate"
)

// Database is a database with the project's schema and with users and posts.
type Database struct {
	Name  string
	URL   string
	Users int64 // their ids are 1 to this
	Posts int64

	Existing string // one of its usernames, if there are users

	server *Server
	conn   *pgx.Conn
}

// PostsEach is the number of posts of each user in the first hundredth. The
// other users have two on average, some of them more than five.
const PostsEach = 10

// Make creates a database, applies the project's migrations and fills it. The
// same numbers produce the same rows.
func (s *Server) Make(ctx context.Context, name string, users, posts int64) (_ *Database, err error) {
	d := &Database{Name: name, Users: users, Posts: posts, server: s}
	if d.URL, err = s.url(name); err != nil {
		return nil, err
	}
	if err := s.drop(ctx, name); err != nil {
		return nil, err
	}
	if _, err := s.admin.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return nil, err
	}
	s.made = append(s.made, name)
	if d.conn, err = pgx.Connect(ctx, d.URL); err != nil {
		return nil, err
	}
	if err := errors.Join(d.migrate(ctx), d.fill(ctx), d.Settle(ctx)); err != nil {
		return nil, errors.Join(fmt.Errorf("make the database %s: %w", name, err), d.conn.Close(ctx))
	}
	return d, nil
}

func (d *Database) migrate(ctx context.Context) error {
	m, err := migrate.New(migrate.Config{
		URL: d.URL, FS: quern.Migrations(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	_, err = m.Up(ctx)
	return errors.Join(err, m.Close())
}

func (d *Database) fill(ctx context.Context) error {
	r, err := postgres.Connect(ctx, postgres.Config{URL: d.URL, Statements: db.Statements, SlowQuery: -1})
	if err != nil {
		return err
	}
	defer r.Close()
	q := db.New(r)
	if d.Users == 0 {
		return nil
	}
	if err := store.New(q).Seed(ctx, store.SeedOptions{Users: d.Users, Seed: 1}); err != nil {
		return err
	}
	first, err := q.GetUser(ctx, 1)
	if err != nil {
		return err
	}
	d.Existing = first.Username
	return d.fillPosts(ctx, q)
}

// fillPosts writes the posts in chunks, sorted by id.
func (d *Database) fillPosts(ctx context.Context, q *db.Queries) error {
	const stretch = 10_000
	r := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for done := int64(0); done < d.Posts; {
		drawn, err := q.DrawPostIDs(ctx, min(stretch, d.Posts-done))
		if err != nil {
			return err
		}
		posts := make([]db.CopyPostsParams, len(drawn.Ids))
		for i, id := range drawn.Ids {
			at := start.Add(time.Duration(id) * time.Minute)
			posts[i] = db.CopyPostsParams{
				ID: id, UserID: d.author(r, id), Title: fmt.Sprintf("Post %d on the weaving of numbers", id),
				Content: strings.Repeat("The engine weaves patterns. ", 2+r.IntN(6)), Tags: []string{"engines", "notes"},
				CreatedAt: at, UpdatedAt: at, Version: 1,
			}
		}
		if _, err := q.CopyPosts(ctx, posts); err != nil {
			return err
		}
		done += int64(len(posts))
	}
	return nil
}

func (d *Database) author(r *rand.Rand, post int64) int64 {
	busy := d.Users / 100
	if post <= busy*PostsEach {
		return (post-1)/PostsEach + 1
	}
	return busy + 1 + r.Int64N(d.Users-busy)
}

// Settle brings the database into the state of an idle one: no dead rows,
// current statistics, and everything written to disk.
func (d *Database) Settle(ctx context.Context) error {
	if err := d.foldCounts(ctx); err != nil {
		return err
	}
	return d.Do(ctx, "VACUUM (ANALYZE)", "CHECKPOINT")
}

// Restore deletes the rows that a measurement has inserted.
func (d *Database) Restore(ctx context.Context) error {
	err := d.Do(ctx,
		fmt.Sprintf("DELETE FROM posts WHERE id > %d", d.Posts),
		// Without the triggers that search for each user's posts, because those are
		// already deleted. The one that counts users is replaced by hand.
		"SET session_replication_role = replica",
		fmt.Sprintf(`WITH gone AS (DELETE FROM users WHERE id > %d RETURNING id)
			INSERT INTO user_deltas (n) SELECT -count(*) FROM gone HAVING count(*) > 0`, d.Users),
		"TRUNCATE commit_markers, import_checkpoints",
		"RESET session_replication_role",
	)
	if err != nil {
		return err
	}
	if err := d.foldCounts(ctx); err != nil {
		return err
	}
	return d.Do(ctx, "VACUUM users, posts, user_deltas, post_deltas, user_post_counts, day_post_counts, tag_counts", "CHECKPOINT")
}

// foldCounts folds the deltas of kept counts, as a server does in the background.
func (d *Database) foldCounts(ctx context.Context) error {
	return pgx.BeginFunc(ctx, d.conn, func(tx pgx.Tx) error {
		q := db.New(tx)
		if _, err := q.LockPostTotals(ctx); err == nil {
			if _, err := q.FoldPosts(ctx, math.MaxInt32); err != nil {
				return err
			}
		} else if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		_, err := q.LockUserTotals(ctx)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil {
			_, err = q.FoldUsers(ctx, math.MaxInt32)
		}
		return err
	})
}

// Empty deletes all users and posts.
func (d *Database) Empty(ctx context.Context) error {
	return d.Do(ctx, "TRUNCATE users, posts, import_checkpoints RESTART IDENTITY CASCADE", "CHECKPOINT")
}

// Do executes statements.
func (d *Database) Do(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := d.conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// Number returns the single number that a statement selects.
func (d *Database) Number(ctx context.Context, sql string) (n int64, err error) {
	if err := d.conn.QueryRow(ctx, sql).Scan(&n); err != nil {
		return 0, fmt.Errorf("%s: %w", sql, err)
	}
	return n, nil
}

// Text returns the single text that a statement selects.
func (d *Database) Text(ctx context.Context, sql string) (s string, err error) {
	if err := d.conn.QueryRow(ctx, sql).Scan(&s); err != nil {
		return "", fmt.Errorf("%s: %w", sql, err)
	}
	return s, nil
}

// Drop removes the database.
func (d *Database) Drop(ctx context.Context) error {
	return errors.Join(d.conn.Close(ctx), d.server.drop(ctx, d.Name))
}
