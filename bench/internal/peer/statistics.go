package peer

import (
	"context"
	"fmt"
	"time"

	"quern/bench/internal/measure"
	"quern/internal/db"
	"quern/internal/store"
)

// statsPage is the number of users and of tags of the statistics.
const statsPage = 50

// statsFrom and statsTo are the 30 days of posts-per-day. Posts are made from the first day on.
var (
	statsFrom = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	statsTo   = statsFrom.AddDate(0, 0, 29)
)

func (p project) addStatistics(ops map[string]measure.Op) {
	ops["stats-page"] = func(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
		page, err := p.store.UserStats(ctx, store.UserStatsRequest{MinPosts: MorePosts, Limit: statsPage})
		foldStats(f, page.Items)
		return err
	}
	ops["overview"] = func(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
		o, err := p.queries.GetOverview(ctx)
		if err == nil && f != nil {
			f.Text(fmt.Sprint(o.Users, o.Posts, o.UsersWithPosts))
		}
		return err
	}
	ops["top-tags"] = func(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
		tags, err := p.queries.ListTopTags(ctx, statsPage)
		for _, t := range tags {
			if f != nil {
				f.Text(fmt.Sprint(t.Tag, t.UseCount))
			}
		}
		return err
	}
	ops["posts-per-day"] = func(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
		days, err := p.queries.ListPostsPerDay(ctx, db.ListPostsPerDayParams{FromDay: statsFrom, ToDay: statsTo})
		for _, d := range days {
			if f != nil {
				f.Text(fmt.Sprint(d.Day.Format(time.DateOnly), d.PostCount))
			}
		}
		return err
	}
}

// The statistics as they are usually written, which count the rows.
const (
	countPage     = countPosts + " LIMIT $2"
	countOverview = `SELECT (SELECT count(*) FROM users), count(*), count(DISTINCT user_id) FROM posts`
	countTags     = `SELECT t.tag, count(*) FROM posts AS p, jsonb_array_elements_text(p.tags) AS t (tag) GROUP BY t.tag ORDER BY 2 DESC, 1 LIMIT $1`
	countDays     = `SELECT to_char(d, 'YYYY-MM-DD'), COALESCE(c.n, 0)
		FROM generate_series($1::timestamp, $2::timestamp, interval '1 day') AS d
		LEFT JOIN (SELECT (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS n FROM posts
			WHERE created_at >= $1 AT TIME ZONE 'UTC' AND created_at < ($2 + interval '1 day') AT TIME ZONE 'UTC' GROUP BY 1) AS c ON c.day = d
		ORDER BY d`
)

func (p plain) addStatistics(ops map[string]measure.Op) {
	ops["stats-page"] = func(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
		rows, err := p.pool.Query(ctx, countPage, MorePosts, statsPage)
		if err != nil {
			return err
		}
		var list []count
		for rows.Next() {
			var c count
			if err := rows.Scan(&c.ID, &c.Username, &c.PostCount); err != nil {
				return err
			}
			list = append(list, c)
		}
		foldCounts(f, list)
		return rows.Err()
	}
	ops["overview"] = func(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
		var users, posts, with int64
		err := p.pool.QueryRow(ctx, countOverview).Scan(&users, &posts, &with)
		if err == nil && f != nil {
			f.Text(fmt.Sprint(users, posts, with))
		}
		return err
	}
	ops["top-tags"] = p.named(countTags, statsPage)
	ops["posts-per-day"] = p.named(countDays, statsFrom, statsTo)
}

// named runs a statement that returns names and numbers.
func (p plain) named(sql string, args ...any) measure.Op {
	return func(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
		rows, err := p.pool.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			var n int64
			if err := rows.Scan(&name, &n); err != nil {
				return err
			}
			if f != nil {
				f.Text(fmt.Sprint(name, n))
			}
		}
		return rows.Err()
	}
}
