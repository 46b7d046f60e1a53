//go:build linux

package faults

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"quern/internal/db"
)

// gone is the last version of a row that was deleted, and the only version of a
// row that never existed.
const gone = math.MaxInt32

// register is one row, a user or a post. Its content follows from its serial
// number and its version, and only one writer changes it. So each read can be
// checked individually. The register as a whole is linearizable exactly if no
// read shows a version below one that was acknowledged or read before the read
// began, nor one above the version that its writer had begun to write when the
// read ended.
type register struct {
	id, serial int64
	owner      int64 // the post's user; 0 if it is a user
	ceiling    atomic.Int32
	// floors are the versions known to each view. Callers that share a view must
	// not see a row go backwards.
	floors    []atomic.Int32
	published atomic.Pointer[publication]
}

// publication is a message of a writer: a version and the token of a session
// that has seen it.
type publication struct {
	version int32
	token   string
}

func (r *register) name() string { return fmt.Sprint("register ", r.serial) }

func (r *register) String() string {
	if r.owner != 0 {
		return fmt.Sprintf("the post of %s (%d)", r.name(), r.id)
	}
	return fmt.Sprintf("the user of %s (%d)", r.name(), r.id)
}

// content returns the content of a version of the row: a text, an age that is
// absent in every third version, and up to three tags.
func (r *register) content(version int32) (text string, age *int32, tags []string) {
	n := r.serial + int64(version)
	text = fmt.Sprintf("%d@%d", r.serial, version)
	if n%3 != 0 {
		years := int32(n % 151)
		age = &years
	}
	tags = []string{}
	for i := range n % 4 {
		tags = append(tags, fmt.Sprintf("%s, tag %d", text, i))
	}
	return text, age, tags
}

// get reads the row, by its name if byName is set and it has one.
func (r *register) get(ctx context.Context, q *db.Queries, byName bool) (any, error) {
	switch {
	case r.owner != 0:
		return q.GetPost(ctx, r.id)
	case byName:
		return q.GetUserByUsername(ctx, r.name())
	default:
		return q.GetUser(ctx, r.id)
	}
}

// change writes the next version of the row.
func (r *register) change(ctx context.Context, q *db.Queries, to int32) (any, error) {
	text, age, tags := r.content(to)
	from := to - 1
	if r.owner != 0 {
		return q.UpdatePost(ctx, db.UpdatePostParams{ID: r.id, Content: &text, Tags: tags, IfVersion: &from})
	}
	return q.UpdateUser(ctx, db.UpdateUserParams{
		ID: r.id, Email: &text, SetAge: true, Age: age, Tags: tags, IfVersion: &from,
	})
}

// inspect returns the version of a row, and whether it is a complete version of
// this register.
func (r *register) inspect(row any) (version int32, fits bool) {
	switch row := row.(type) {
	case *db.User:
		text, age, tags := r.content(row.Version)
		return row.Version, r.owner == 0 && row.ID == r.id && row.Username == r.name() && row.Email == text &&
			same(row.Age, age) && slices.Equal(row.Tags, tags)
	case *db.Post:
		text, _, tags := r.content(row.Version)
		return row.Version, row.UserID == r.owner && row.ID == r.id && row.Title == r.name() && row.Content == text &&
			slices.Equal(row.Tags, tags)
	}
	return 0, false
}

func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// keepsake is a row that a caller got and modified.
type keepsake struct {
	tags []string
	age  *int32
	mark string
	mine int32
}

// mark modifies everything in a row that its owner may modify, including the
// capacity after its tags.
func mark(row any, caller int) *keepsake {
	k := &keepsake{mark: fmt.Sprint("modified by ", caller), mine: int32(-1 - caller)}
	switch row := row.(type) {
	case *db.User:
		k.tags, k.age = row.Tags, row.Age
	case *db.Post:
		k.tags = row.Tags
	}
	for i := range k.tags {
		k.tags[i] = k.mark
	}
	k.tags = append(k.tags, k.mark)
	if k.age != nil {
		*k.age = k.mine
	}
	return k
}

// intact reports whether the marks are unchanged.
func (k *keepsake) intact() bool {
	return !slices.ContainsFunc(k.tags, func(tag string) bool { return tag != k.mark }) && (k.age == nil || *k.age == k.mine)
}
