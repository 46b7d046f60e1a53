package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"quern/internal/db"
	"quern/internal/jsonfmt"
	"quern/internal/rowfile"
)

// userRow is a user of an import.
type userRow struct {
	has       fields
	id        int64
	username  string
	email     string
	age       int32 // -1: NULL
	tags      []string
	createdAt time.Time
	updatedAt time.Time
	version   int32
}

type importUsers struct{ copying copyBackoff }

func (*importUsers) name() string { return "users" }

func (*importUsers) columns() []column[userRow] {
	return []column[userRow]{
		{name: "id", json: isInt, set: func(u *userRow, v rowfile.Value) (reason string) {
			u.has |= hasID
			u.id, reason = intOf(v, 1, MaxID)
			return reason
		}},
		{name: "username", required: true, text: true, set: func(u *userRow, v rowfile.Value) (reason string) {
			u.username, reason = textOf(v, 1, MaxUsername)
			return reason
		}},
		{name: "email", required: true, text: true, set: func(u *userRow, v rowfile.Value) (reason string) {
			u.email, reason = textOf(v, 1, MaxEmail)
			return reason
		}},
		{name: "age", json: isInt, nullable: true, set: func(u *userRow, v rowfile.Value) string {
			u.has |= hasAge
			if v.Kind == rowfile.Null {
				u.age = -1
				return ""
			}
			n, reason := intOf(v, 0, MaxAge)
			u.age = int32(n)
			return reason
		}},
		{name: "tags", json: isTags, nullable: true, set: func(u *userRow, v rowfile.Value) (reason string) {
			u.has |= hasTags
			u.tags, reason = tagsOf(v)
			return reason
		}},
		{name: "created_at", set: func(u *userRow, v rowfile.Value) (reason string) {
			u.has |= hasCreatedAt
			u.createdAt, reason = timeOf(v)
			return reason
		}},
		{name: "updated_at", set: func(u *userRow, v rowfile.Value) (reason string) {
			u.has |= hasUpdatedAt
			u.updatedAt, reason = timeOf(v)
			return reason
		}},
		{name: "version", json: isInt, set: func(u *userRow, v rowfile.Value) string {
			u.has |= hasVersion
			n, reason := intOf(v, 1, math.MaxInt32)
			u.version = int32(n)
			return reason
		}},
	}
}

func (*importUsers) missing(has func(string) bool) string {
	for _, column := range []string{"username", "email"} {
		if !has(column) {
			return column
		}
	}
	return ""
}

func (*importUsers) complete(*userRow) (field, reason string) { return "", "" }

// prepare puts the rows in the order of their usernames: neighbours in the
// index are written together, and imports that overlap lock the users they
// share in one order.
func (*importUsers) prepare(c *chunk[userRow], mode OnConflict) {
	// An id may stand for one user; the first line that has it decides.
	byID := map[int64]int{}
	for i := range c.rows {
		u := &c.rows[i]
		if u.has&hasID == 0 {
			continue
		}
		first, taken := byID[u.id]
		if !taken {
			byID[u.id] = i
		} else if c.rows[first].username != u.username {
			c.refuse(i, "id", fmt.Sprintf("is the id of another user on line %d", c.lineOf(first)))
			u.username = ""
		}
	}
	order := c.inOrder(func(a, b *userRow) int { return strings.Compare(a.username, b.username) })
	kept := order[:0]
	for _, i := range order {
		u := &c.rows[i]
		if u.username == "" {
			continue // refused above
		}
		if len(kept) == 0 || c.rows[kept[len(kept)-1]].username != u.username {
			kept = append(kept, i)
			continue
		}
		first := kept[len(kept)-1]
		switch mode {
		case ConflictError:
			c.refuse(i, "username", fmt.Sprintf("is on line %d already", c.lineOf(first)))
		case ConflictSkip:
			c.counts.skipped++
		case ConflictUpdate:
			into := &c.rows[first]
			switch {
			case u.has&hasID != 0 && into.has&hasID != 0 && u.id != into.id:
				c.refuse(i, "id", fmt.Sprintf("is another one than this user has on line %d", c.lineOf(first)))
			case into.fold(u):
				c.counts.updated++
			default:
				c.counts.unchanged++
			}
		}
	}
	c.order = kept
}

// fold changes a row as a later one of the same user says, and reports whether
// that made a difference.
func (u *userRow) fold(later *userRow) (changed bool) {
	before := *u
	u.email = later.email
	if later.has&hasAge != 0 {
		u.age = later.age
	}
	if later.has&hasTags != 0 {
		u.tags = later.tags
	}
	if later.has&hasID != 0 {
		u.id = later.id
	}
	u.has |= later.has & (hasID | hasAge | hasTags)
	return u.email != before.email || u.age != before.age || !slices.Equal(u.tags, before.tags)
}

func (s *importUsers) merge(ctx context.Context, q *db.Queries, c *chunk[userRow], mode OnConflict) (out outcome, err error) {
	rows, err := freeUserIDs(ctx, q, c, mode, &out)
	if err != nil {
		return out, err
	}
	if len(rows) > 0 && s.copying.due() {
		err := copyUsers(ctx, q, c, rows)
		if err == nil {
			out.inserted = int64(len(rows))
			return out, nil
		}
		if !existed(err, "users_username_key", "users_pkey") {
			return out, err
		}
		s.copying.failed()
	}
	for _, batch := range groupByColumns(rows, func(i int) fields { return c.rows[i].has }) {
		a := userArrays(c, batch)
		if mode == ConflictUpdate {
			n, err := q.UpsertUsers(ctx, db.UpsertUsersParams(a))
			if err != nil {
				return out, err
			}
			out.counts = out.plus(counts{n.Inserted, n.Updated, int64(len(batch)) - n.Inserted - n.Updated, 0})
			continue
		}
		exist, err := q.ImportUsers(ctx, a)
		if err != nil {
			return out, err
		}
		out.inserted += int64(len(batch) - len(exist))
		if mode == ConflictSkip {
			out.skipped += int64(len(exist))
			continue
		}
		for _, ord := range exist {
			out.refuse(c.recordIndex[batch[ord-1]], "username", "is taken")
		}
	}
	return out, nil
}

// freeUserIDs returns the rows whose ids, if they have any, are free or theirs,
// and sees to it that none of these ids is drawn for another user.
func freeUserIDs(ctx context.Context, q *db.Queries, c *chunk[userRow], mode OnConflict, out *outcome) ([]int, error) {
	var with []int
	p := db.ListTakenUserIDsParams{Renamed: mode == ConflictUpdate}
	for _, i := range c.order {
		if u := &c.rows[i]; u.has&hasID != 0 {
			with = append(with, i)
			p.Ids = append(p.Ids, u.id)
			p.Usernames = append(p.Usernames, u.username)
		}
	}
	if len(with) == 0 {
		return c.order, nil
	}
	moving, greatest := movingID(p.Ids)
	if err := q.RaiseUserIDs(ctx, db.RaiseUserIDsParams{Moving: moving, Greatest: greatest, Crowded: crowdedID}); err != nil {
		return nil, err
	}
	taken, err := q.ListTakenUserIDs(ctx, p)
	if err != nil {
		return nil, err
	}
	bad := map[int]bool{}
	for _, t := range taken {
		i := with[t.Ord-1]
		if bad[i] {
			continue
		}
		bad[i] = true
		reason := "is the id of another user"
		if t.Username == c.rows[i].username {
			reason = fmt.Sprintf("is not the id of this user, which is %d", t.ID)
		}
		out.refuse(c.recordIndex[i], "id", reason)
	}
	return slices.DeleteFunc(slices.Clone(c.order), func(i int) bool { return bad[i] }), nil
}

// copyUsers adds users, or fails with postgres.ErrUnique when one of them exists.
func copyUsers(ctx context.Context, q *db.Queries, c *chunk[userRow], rows []int) error {
	return q.InTx(ctx, func(q *db.Queries) error {
		drawn, err := q.DrawUserIDs(ctx, int64(len(rows)))
		if err != nil {
			return err
		}
		ranks := ranks(rows)
		copied := make([]db.CopyUsersParams, len(rows))
		for k, i := range rows {
			u := &c.rows[i]
			to := &copied[k]
			*to = db.CopyUsersParams{
				ID: drawn.Ids[ranks[k]], Username: u.username, Email: u.email, Tags: list(u.tags),
				CreatedAt: drawn.DrawnAt, UpdatedAt: drawn.DrawnAt, Version: 1,
			}
			if u.has&hasID != 0 {
				to.ID = u.id
			}
			if u.has&hasAge != 0 && u.age >= 0 {
				to.Age = &u.age
			}
			if u.has&hasCreatedAt != 0 {
				to.CreatedAt = u.createdAt
			}
			if u.has&hasUpdatedAt != 0 {
				to.UpdatedAt = u.updatedAt
			}
			if u.has&hasVersion != 0 {
				to.Version = u.version
			}
		}
		_, err = q.CopyUsers(ctx, copied)
		return err
	})
}

// userArrays turns rows that have the same columns into one array a column.
func userArrays(c *chunk[userRow], batch []int) db.ImportUsersParams {
	has := c.rows[batch[0]].has
	n := len(batch)
	a := db.ImportUsersParams{
		Usernames: make([]string, n), Emails: make([]string, n),
		Ids:  array[int64](has&hasID != 0, n),
		Ages: array[int32](has&hasAge != 0, n), Tags: array[string](has&hasTags != 0, n),
		CreatedAts: array[time.Time](has&hasCreatedAt != 0, n), UpdatedAts: array[time.Time](has&hasUpdatedAt != 0, n),
		Versions: array[int32](has&hasVersion != 0, n), Ranks: array[int32](has&hasID == 0, n),
	}
	for k, i := range batch {
		u := &c.rows[i]
		a.Usernames[k], a.Emails[k] = u.username, u.email
		fill(a.Ids, k, u.id)
		fill(a.Ages, k, u.age)
		fill(a.Tags, k, string(jsonfmt.AppendStrings(nil, u.tags)))
		fill(a.CreatedAts, k, u.createdAt)
		fill(a.UpdatedAts, k, u.updatedAt)
		fill(a.Versions, k, u.version)
	}
	if len(a.Ranks) > 0 {
		for k, rank := range ranks(batch) {
			a.Ranks[k] = int32(rank + 1)
		}
	}
	return a
}
