package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"quern/internal/db"
	"quern/internal/rowfile"
)

// userRow is a user of an import.
type userRow struct {
	common
	username string
	email    string
	age      int32 // -1 means NULL
}

type importUsers struct {
	copying copyBackoff
	copied  copyRows[db.CopyUsersParams]
}

func (*importUsers) name() string { return "users" }

func (*importUsers) columns() []column[userRow] {
	return columnsOf(
		textColumn("username", true, 1, MaxUsername, func(u *userRow) *string { return &u.username }),
		textColumn("email", true, 1, MaxEmail, func(u *userRow) *string { return &u.email }),
		column[userRow]{name: "age", json: isInt, nullable: true, set: func(u *userRow, v rowfile.Value, _ *texts) (reason string) {
			u.has |= hasAge
			if u.age = -1; v.Kind == rowfile.Null {
				return ""
			}
			n, reason := intOf(v, 0, MaxAge)
			u.age = int32(n)
			return reason
		}},
	)
}

// prepare sorts the rows by username, so that neighbours in the index are written together,
// and overlapping imports lock the shared users in the same order.
func (*importUsers) prepare(c *chunk[userRow], mode OnConflict) {
	// An id belongs to the user on the first line that has it.
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
	order := slices.DeleteFunc(c.inOrderOf(func(u *userRow) string { return u.username }),
		func(i int) bool { return c.rows[i].username == "" }) // rejected above
	same := func(a, b *userRow) bool { return a.username == b.username }
	c.foldRows(order, mode, "username", same, func(first, later *userRow, line int64) (changed bool, field, reason string) {
		if later.has&hasID != 0 && first.has&hasID != 0 && later.id != first.id {
			return false, "id", fmt.Sprintf("is another one than this user has on line %d", line)
		}
		return first.fold(later), "", ""
	})
	c.ids = idsOf(c)
}

func (*importUsers) apart(a, b *chunk[userRow]) bool {
	return disjoint(len(a.order), len(b.order), func(i, j int) int {
		return strings.Compare(a.rows[a.order[i]].username, b.rows[b.order[j]].username)
	}) && disjoint(len(a.ids), len(b.ids), func(i, j int) int { return cmp.Compare(a.ids[i], b.ids[j]) })
}

// fold updates a row from a later one of the same user, and reports whether that changed
// it.
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

func (s *importUsers) merge(ctx context.Context, q *db.Queries, c *chunk[userRow], mode OnConflict, drew func()) (out outcome, err error) {
	rows, err := freeUserIDs(ctx, q, c, mode, &out)
	if err != nil {
		return out, err
	}
	at, err := drawUserIDs(ctx, q, c, rows)
	if err != nil {
		return out, err
	}
	drew()
	return out, storeRows(c, rows, mode, &s.copying, storing{
		key:  "username",
		has:  func(i int) fields { return c.rows[i].has },
		copy: func() error { return s.copyUsers(ctx, q, c, rows, at) },
		insert: func(batch []int) ([]int64, error) {
			return q.ImportUsers(ctx, userArrays(c, batch))
		},
		upsert: func(batch []int) (inserted, updated int64, err error) {
			n, err := q.UpsertUsers(ctx, db.UpsertUsersParams(userArrays(c, batch)))
			return n.Inserted, n.Updated, err
		},
	}, &out)
}

// freeUserIDs returns the rows without an id and those whose id is free or their own. It
// ensures that these ids are not generated for other users.
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
	if err := q.RaiseUserIDs(ctx, raised(p.Ids)); err != nil {
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

// drawUserIDs generates the ids of the rows that have none, in the order of the input, and
// returns the time of the transaction.
func drawUserIDs(ctx context.Context, q *db.Queries, c *chunk[userRow], rows []int) (at time.Time, err error) {
	without := withoutID(c, rows)
	drawn, err := q.DrawUserIDs(ctx, int64(len(without)))
	if err != nil {
		return at, err
	}
	for k, i := range without {
		c.rows[i].id = drawn.Ids[k]
	}
	return drawn.DrawnAt, nil
}

// copyUsers adds users by COPY. It returns postgres.ErrUnique if one of them exists.
func (s *importUsers) copyUsers(ctx context.Context, q *db.Queries, c *chunk[userRow], rows []int, at time.Time) error {
	return q.InTx(ctx, func(q *db.Queries) error {
		copied, free := s.copied.take(len(rows))
		defer free()
		for k, i := range rows {
			u, to := &c.rows[i], &copied[k]
			*to = db.CopyUsersParams{Username: u.username, Email: u.email}
			to.ID, to.Tags, to.CreatedAt, to.UpdatedAt, to.Version = u.stored(at)
			if u.has&hasAge != 0 && u.age >= 0 {
				to.Age = &u.age
			}
		}
		_, err := q.CopyUsers(ctx, copied)
		return err
	})
}

// userArrays converts rows with the same columns to one array per column.
func userArrays(c *chunk[userRow], batch []int) db.ImportUsersParams {
	has, n := c.rows[batch[0]].has, len(batch)
	a := db.ImportUsersParams{
		Ids: make([]int64, n), Usernames: make([]string, n), Emails: make([]string, n),
		Ages: array[int32](has&hasAge != 0, n),
	}
	all := arraysOf(c, batch, func(k int, u *userRow) {
		a.Ids[k], a.Usernames[k], a.Emails[k] = u.id, u.username, u.email
		fill(a.Ages, k, u.age)
	})
	a.Tags, a.CreatedAts, a.UpdatedAts, a.Versions = all.tags, all.createdAt, all.updatedAt, all.versions
	return a
}
