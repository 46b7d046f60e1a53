package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"quern/internal/db"
	"quern/internal/jsonfmt"
	"quern/internal/rowfile"
)

// postRow is a post of an import.
type postRow struct {
	has       fields
	id        int64
	userID    int64
	username  string // of the author; empty: given by id alone
	title     string
	content   string
	tags      []string
	createdAt time.Time
	updatedAt time.Time
	version   int32
}

type importPosts struct{ copying copyBackoff }

func (*importPosts) name() string { return "posts" }

func (*importPosts) columns() []column[postRow] {
	return []column[postRow]{
		{name: "id", json: isInt, set: func(p *postRow, v rowfile.Value) (reason string) {
			p.has |= hasID
			p.id, reason = intOf(v, 1, MaxID)
			return reason
		}},
		{name: "user_id", json: isInt, set: func(p *postRow, v rowfile.Value) (reason string) {
			p.has |= hasUserID
			p.userID, reason = intOf(v, 1, MaxID)
			return reason
		}},
		{name: "username", text: true, set: func(p *postRow, v rowfile.Value) (reason string) {
			p.username, reason = textOf(v, 1, MaxUsername)
			return reason
		}},
		{name: "title", required: true, text: true, set: func(p *postRow, v rowfile.Value) (reason string) {
			p.title, reason = textOf(v, 1, MaxTitle)
			return reason
		}},
		{name: "content", required: true, text: true, set: func(p *postRow, v rowfile.Value) (reason string) {
			p.content, reason = textOf(v, 0, -1)
			return reason
		}},
		{name: "tags", json: isTags, nullable: true, set: func(p *postRow, v rowfile.Value) (reason string) {
			p.has |= hasTags
			p.tags, reason = tagsOf(v)
			return reason
		}},
		{name: "created_at", set: func(p *postRow, v rowfile.Value) (reason string) {
			p.has |= hasCreatedAt
			p.createdAt, reason = timeOf(v)
			return reason
		}},
		{name: "updated_at", set: func(p *postRow, v rowfile.Value) (reason string) {
			p.has |= hasUpdatedAt
			p.updatedAt, reason = timeOf(v)
			return reason
		}},
		{name: "version", json: isInt, set: func(p *postRow, v rowfile.Value) string {
			p.has |= hasVersion
			n, reason := intOf(v, 1, math.MaxInt32)
			p.version = int32(n)
			return reason
		}},
	}
}

func (*importPosts) missing(has func(string) bool) string {
	for _, column := range []string{"title", "content"} {
		if !has(column) {
			return column
		}
	}
	if !has("user_id") && !has("username") {
		return "user_id or username"
	}
	return ""
}

func (*importPosts) complete(p *postRow) (field, reason string) {
	if p.has&hasUserID == 0 && p.username == "" {
		return "user_id", "is required, or username"
	}
	return "", ""
}

// prepare puts posts that have ids in the order of these, so that imports that
// overlap lock the posts they share in one order. New posts keep theirs.
func (*importPosts) prepare(c *chunk[postRow], mode OnConflict) {
	order := c.inOrder(func(a, b *postRow) int { return cmp.Compare(a.id, b.id) })
	kept := order[:0]
	for _, i := range order {
		p := &c.rows[i]
		if p.has&hasID == 0 || len(kept) == 0 || c.rows[kept[len(kept)-1]].id != p.id {
			kept = append(kept, i)
			continue
		}
		first := kept[len(kept)-1]
		switch mode {
		case ConflictError:
			c.refuse(i, "id", fmt.Sprintf("is on line %d already", c.lineOf(first)))
		case ConflictSkip:
			c.counts.skipped++
		case ConflictUpdate:
			if c.rows[first].fold(p) {
				c.counts.updated++
			} else {
				c.counts.unchanged++
			}
		}
	}
	c.order = kept
}

// fold changes a row as a later one of the same id says, and reports whether
// that made a difference.
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

func (s *importPosts) merge(ctx context.Context, q *db.Queries, c *chunk[postRow], mode OnConflict) (out outcome, err error) {
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
		moving, greatest := movingID(ids)
		if err := q.RaisePostIDs(ctx, db.RaisePostIDsParams{Moving: moving, Greatest: greatest, Crowded: crowdedID}); err != nil {
			return out, err
		}
	}
	// Posts without ids are all new.
	if len(rows) > 0 && (len(ids) == 0 || s.copying.due()) {
		err := copyPosts(ctx, q, c, rows, authors)
		if err == nil {
			out.inserted = int64(len(rows))
			return out, nil
		}
		if len(ids) == 0 || !existed(err, "posts_pkey") {
			return out, err
		}
		s.copying.failed()
	}
	for _, batch := range groupByColumns(rows, func(i int) fields { return c.rows[i].has &^ hasUserID }) {
		a := postArrays(c, batch, authors)
		if mode == ConflictUpdate && len(a.Ids) > 0 {
			n, err := q.UpsertPosts(ctx, db.UpsertPostsParams(a))
			if err != nil {
				return out, err
			}
			out.counts = out.plus(counts{n.Inserted, n.Updated, int64(len(batch)) - n.Inserted - n.Updated, 0})
			continue
		}
		exist, err := q.ImportPosts(ctx, a)
		if err != nil {
			return out, err
		}
		out.inserted += int64(len(batch) - len(exist))
		if mode == ConflictSkip {
			out.skipped += int64(len(exist))
			continue
		}
		for _, ord := range exist {
			out.refuse(c.recordIndex[batch[ord-1]], "id", "is taken")
		}
	}
	return out, nil
}

// authors are the users that the posts of a chunk name and that exist.
type authors struct {
	ids        map[int64]bool
	byUsername map[string]int64
}

// lockAuthors looks for the authors of a chunk's posts, and keeps those it
// finds until the posts are stored.
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
		ids := make([]int64, 0, len(a.ids))
		for id := range a.ids {
			ids = append(ids, id)
		}
		found, err := q.LockAuthors(ctx, ids)
		if err != nil {
			return a, err
		}
		for _, id := range found {
			a.ids[id] = true
		}
	}
	if len(a.byUsername) > 0 {
		usernames := make([]string, 0, len(a.byUsername))
		for username := range a.byUsername {
			usernames = append(usernames, username)
		}
		found, err := q.LockAuthorsByUsername(ctx, usernames)
		if err != nil {
			return a, err
		}
		for _, u := range found {
			a.byUsername[u.Username] = u.ID
		}
	}
	return a, nil
}

// of returns the id of a post's author, 0 when there is none.
func (a authors) of(p *postRow) int64 {
	if p.username != "" {
		return a.byUsername[p.username]
	}
	if a.ids[p.userID] {
		return p.userID
	}
	return 0
}

// refuse says what is wrong with a post's author.
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

// copyPosts adds posts, or fails with postgres.ErrUnique when one of them exists.
func copyPosts(ctx context.Context, q *db.Queries, c *chunk[postRow], rows []int, authors authors) error {
	return q.InTx(ctx, func(q *db.Queries) error {
		drawn, err := q.DrawPostIDs(ctx, int64(len(rows)))
		if err != nil {
			return err
		}
		copied := make([]db.CopyPostsParams, len(rows))
		for k, i := range rows {
			p := &c.rows[i]
			to := &copied[k]
			*to = db.CopyPostsParams{
				ID: drawn.Ids[k], UserID: authors.of(p), Title: p.title, Content: p.content, Tags: list(p.tags),
				CreatedAt: drawn.DrawnAt, UpdatedAt: drawn.DrawnAt, Version: 1,
			}
			if p.has&hasID != 0 {
				to.ID = p.id
			}
			if p.has&hasCreatedAt != 0 {
				to.CreatedAt = p.createdAt
			}
			if p.has&hasUpdatedAt != 0 {
				to.UpdatedAt = p.updatedAt
			}
			if p.has&hasVersion != 0 {
				to.Version = p.version
			}
		}
		_, err = q.CopyPosts(ctx, copied)
		return err
	})
}

// postArrays turns rows that have the same columns into one array a column.
func postArrays(c *chunk[postRow], batch []int, authors authors) db.ImportPostsParams {
	has := c.rows[batch[0]].has
	n := len(batch)
	a := db.ImportPostsParams{
		UserIds: make([]int64, n), Titles: make([]string, n), Contents: make([]string, n),
		Ids: array[int64](has&hasID != 0, n), Tags: array[string](has&hasTags != 0, n),
		CreatedAts: array[time.Time](has&hasCreatedAt != 0, n), UpdatedAts: array[time.Time](has&hasUpdatedAt != 0, n),
		Versions: array[int32](has&hasVersion != 0, n),
	}
	for k, i := range batch {
		p := &c.rows[i]
		a.UserIds[k], a.Titles[k], a.Contents[k] = authors.of(p), p.title, p.content
		fill(a.Ids, k, p.id)
		fill(a.Tags, k, string(jsonfmt.AppendStrings(nil, p.tags)))
		fill(a.CreatedAts, k, p.createdAt)
		fill(a.UpdatedAts, k, p.updatedAt)
		fill(a.Versions, k, p.version)
	}
	return a
}
