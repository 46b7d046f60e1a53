package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"quern/internal/db"
	"quern/internal/rowfile"
)

// postRow is a post of an import.
type postRow struct {
	common
	userID   int64
	username string // of the author; empty if only the id is given
	title    string
	content  string
}

type importPosts struct {
	copying copyBackoff
	copied  copyRows[db.CopyPostsParams]
}

func (*importPosts) name() string { return "posts" }

func (*importPosts) columns() []column[postRow] {
	username := textColumn("username", false, 1, MaxUsername, func(p *postRow) *string { return &p.username })
	username.either = true
	return columnsOf(
		column[postRow]{name: "user_id", either: true, json: isInt, set: func(p *postRow, v rowfile.Value, _ *texts) (reason string) {
			p.has |= hasUserID
			p.userID, reason = intOf(v, 1, MaxID)
			return reason
		}},
		username,
		textColumn("title", true, 1, MaxTitle, func(p *postRow) *string { return &p.title }),
		textColumn("content", true, 0, -1, func(p *postRow) *string { return &p.content }),
	)
}

// prepare sorts posts with ids by id, so that overlapping imports lock the shared posts in
// the same order. New posts stay in the order of the input.
func (*importPosts) prepare(c *chunk[postRow], mode OnConflict) {
	order := c.inOrder(func(a, b *postRow) int { return cmp.Compare(a.id, b.id) })
	same := func(a, b *postRow) bool { return b.has&hasID != 0 && a.id == b.id }
	c.foldRows(order, mode, "id", same, func(first, later *postRow, _ int64) (changed bool, field, reason string) {
		return first.fold(later), "", ""
	})
	c.ids = idsOf(c)
}

func (*importPosts) apart(a, b *chunk[postRow]) bool {
	return disjoint(len(a.ids), len(b.ids), func(i, j int) int { return cmp.Compare(a.ids[i], b.ids[j]) })
}

// fold updates a row from a later one with the same id, and reports whether that changed
// it.
func (p *postRow) fold(later *postRow) (changed bool) {
	before := *p
	p.userID, p.username, p.title, p.content = later.userID, later.username, later.title, later.content
	if later.has&hasTags != 0 {
		p.tags = later.tags
	}
	p.has = p.has&^hasUserID | later.has&(hasUserID|hasTags)
	return p.title != before.title || p.content != before.content || !slices.Equal(p.tags, before.tags) ||
		p.userID != before.userID || p.username != before.username
}

func (s *importPosts) merge(ctx context.Context, q *db.Queries, c *chunk[postRow], mode OnConflict, drew func()) (out outcome, err error) {
	authors, err := lockAuthors(ctx, q, c)
	if err != nil {
		return out, err
	}
	rows := make([]int, 0, len(c.order))
	var ids []int64
	for _, i := range c.order {
		if field, reason := authors.refuse(&c.rows[i]); reason != "" {
			out.refuse(c.recordIndex[i], field, reason)
			continue
		}
		rows = append(rows, i)
		if p := &c.rows[i]; p.has&hasID != 0 {
			ids = append(ids, p.id)
		}
	}
	if len(ids) > 0 {
		if err := q.RaisePostIDs(ctx, db.RaisePostIDsParams(raised(ids))); err != nil {
			return out, err
		}
	}
	at, err := drawPostIDs(ctx, q, c, rows)
	if err != nil {
		return out, err
	}
	drew()
	return out, storeRows(c, rows, mode, &s.copying, storing{
		key: "id", new: len(ids) == 0,
		has:  func(i int) fields { return c.rows[i].has &^ hasUserID },
		copy: func() error { return s.copyPosts(ctx, q, c, rows, authors, at) },
		insert: func(batch []int) ([]int64, error) {
			return q.ImportPosts(ctx, postArrays(c, batch, authors))
		},
		upsert: func(batch []int) (inserted, updated int64, err error) {
			a := postArrays(c, batch, authors)
			if len(a.Ids) == 0 { // all rows are new posts
				_, err := q.ImportPosts(ctx, a)
				return int64(len(batch)), 0, err
			}
			n, err := q.UpsertPosts(ctx, db.UpsertPostsParams(a))
			return n.Inserted, n.Updated, err
		},
	}, &out)
}

// authors are the existing users that the posts of a chunk name.
type authors struct {
	ids        map[int64]bool
	byUsername map[string]int64
}

// lockAuthors finds the authors of a chunk's posts, and locks them until the posts are
// stored.
func lockAuthors(ctx context.Context, q *db.Queries, c *chunk[postRow]) (a authors, err error) {
	a = authors{ids: map[int64]bool{}, byUsername: map[string]int64{}}
	for _, i := range c.order {
		if p := &c.rows[i]; p.username != "" {
			a.byUsername[p.username] = 0
		} else {
			a.ids[p.userID] = false
		}
	}
	if len(a.ids) > 0 {
		found, err := q.LockAuthors(ctx, slices.Collect(maps.Keys(a.ids)))
		if err != nil {
			return a, err
		}
		for _, id := range found {
			a.ids[id] = true
		}
	}
	if len(a.byUsername) > 0 {
		found, err := q.LockAuthorsByUsername(ctx, slices.Collect(maps.Keys(a.byUsername)))
		if err != nil {
			return a, err
		}
		for _, u := range found {
			a.byUsername[u.Username] = u.ID
		}
	}
	return a, nil
}

// of returns the id of a post's author, or 0 if there is none.
func (a authors) of(p *postRow) int64 {
	if p.username != "" {
		return a.byUsername[p.username]
	}
	if a.ids[p.userID] {
		return p.userID
	}
	return 0
}

// refuse returns why a post's author is invalid.
func (a authors) refuse(p *postRow) (field, reason string) {
	id := a.of(p)
	switch {
	case id == 0 && p.username != "":
		return "username", "is not the name of a user"
	case id == 0:
		return "user_id", "is not the id of a user"
	case p.has&hasUserID != 0 && p.userID != id:
		return "user_id", fmt.Sprintf("is not the id of %s, which is %d", p.username, id)
	}
	return "", ""
}

// drawPostIDs generates the ids of the rows that have none, in the order of the input, and
// returns the time of the transaction.
func drawPostIDs(ctx context.Context, q *db.Queries, c *chunk[postRow], rows []int) (at time.Time, err error) {
	without := withoutID(c, rows)
	drawn, err := q.DrawPostIDs(ctx, int64(len(without)))
	if err != nil {
		return at, err
	}
	for k, i := range without {
		c.rows[i].id = drawn.Ids[k]
	}
	return drawn.DrawnAt, nil
}

// copyPosts adds posts by COPY. It returns postgres.ErrUnique if one of them exists.
func (s *importPosts) copyPosts(ctx context.Context, q *db.Queries, c *chunk[postRow], rows []int, authors authors, at time.Time) error {
	return q.InTx(ctx, func(q *db.Queries) error {
		copied, free := s.copied.take(len(rows))
		defer free()
		for k, i := range rows {
			p, to := &c.rows[i], &copied[k]
			*to = db.CopyPostsParams{UserID: authors.of(p), Title: p.title, Content: p.content}
			to.ID, to.Tags, to.CreatedAt, to.UpdatedAt, to.Version = p.stored(at)
		}
		_, err := q.CopyPosts(ctx, copied)
		return err
	})
}

// postArrays converts rows with the same columns to one array per column.
func postArrays(c *chunk[postRow], batch []int, authors authors) db.ImportPostsParams {
	n := len(batch)
	a := db.ImportPostsParams{UserIds: make([]int64, n), Titles: make([]string, n), Contents: make([]string, n)}
	all := arraysOf(c, batch, func(k int, p *postRow) {
		a.UserIds[k], a.Titles[k], a.Contents[k] = authors.of(p), p.title, p.content
	})
	a.Ids, a.Tags, a.CreatedAts, a.UpdatedAts, a.Versions = all.ids, all.tags, all.createdAt, all.updatedAt, all.versions
	return a
}
