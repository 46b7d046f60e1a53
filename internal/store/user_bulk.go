package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"quern/internal/db"
)

// classBulk is the @class of the statements on many users.
const classBulk = "bulk"

// Bulk is the result of changing or deleting many users.
type Bulk struct {
	Done    int     // number of changed or deleted users
	Missing []int64 // the ids that no user has, in ascending order
	Stale   []int64 // the ids of users with another version than IfVersion, in ascending order
}

// PatchUsers changes many users in one statement, each as PatchUser does. If the statement
// skips some users, a second one reads why. Users that are missing or have another version
// are reported, and the others are changed. If an error is returned, no user is changed. It
// returns postgres.ErrUnique if a username is taken, even if another user of the same
// request is about to give it up, and postgres.ErrCheck if a value violates a rule.
// ItemFaults lists the changes that caused it. A change without members still increases the
// version.
func (s *Store) PatchUsers(ctx context.Context, changes []db.UpdateUserParams) (b Bulk, err error) {
	defer annotate(&err, "patch %d users", len(changes))
	ref := func(c db.UpdateUserParams) db.DeleteUserParams {
		return db.DeleteUserParams{ID: c.ID, IfVersion: c.IfVersion}
	}
	return manyUsers(ctx, s, changes, ref, func(q *db.Queries, changes []db.UpdateUserParams) ([]int64, error) {
		p, err := bulkUpdate(changes)
		if err != nil {
			return nil, err
		}
		return q.UpdateUsers(ctx, p)
	})
}

// DeleteUsers deletes many users and their posts in one statement. Users that are missing
// or have another version are reported, and the others are deleted. If an error is
// returned, no user is deleted. It returns postgres.ErrForeignKey if other rows still refer
// to a user, and ItemFaults lists these users.
func (s *Store) DeleteUsers(ctx context.Context, users []db.DeleteUserParams) (b Bulk, err error) {
	defer annotate(&err, "delete %d users", len(users))
	ref := func(u db.DeleteUserParams) db.DeleteUserParams { return u }
	return manyUsers(ctx, s, users, ref, func(q *db.Queries, users []db.DeleteUserParams) ([]int64, error) {
		p := db.DeleteUsersParams{Ids: make([]int64, len(users))}
		for i, u := range users {
			p.Ids[i] = u.ID
			putVersion(&p.IfVersions, len(users), i, u.IfVersion)
		}
		return q.DeleteUsers(ctx, p)
	})
}

// manyUsers runs one statement on the users of many items. run returns the ids of the users
// that the statement skipped. ref returns the user of an item, and the required
// version. run gets the items in the order of ids, so that two requests usually lock users
// in the same order. If a deadlock still occurs, InTx repeats the transaction.
func manyUsers[T any](ctx context.Context, s *Store, items []T, ref func(T) db.DeleteUserParams,
	run func(*db.Queries, []T) (skipped []int64, err error),
) (b Bulk, err error) {
	id := func(item T) int64 { return ref(item).ID }
	byID := func(a, b T) int { return cmp.Compare(id(a), id(b)) }
	sorted := items
	if !slices.IsSortedFunc(items, byID) {
		sorted = slices.SortedFunc(slices.Values(items), byID)
	}
	for i := 1; i < len(sorted); i++ {
		if id(sorted[i]) == id(sorted[i-1]) {
			return b, fmt.Errorf("user %d is given more than once", id(sorted[i]))
		}
	}
	if len(items) == 0 {
		return b, nil
	}
	err = s.InTx(ctx, func(q *db.Queries) error {
		skipped, err := run(q, sorted)
		if err != nil {
			return err
		}
		b, err = bulkOf(ctx, q, sorted, ref, skipped)
		return err
	})
	if err == nil {
		return b, nil
	}
	err = s.faultsOf(ctx, err, manyItems{
		n: len(sorted), class: classBulk,
		run: func(q *db.Queries, from, to int) error {
			_, err := run(q, sorted[from:to])
			return err
		},
	})
	// The faults have the indexes of the items in the caller's order.
	if faults := ItemFaults(nil); errors.As(err, &faults) {
		for i, fault := range faults {
			faults[i].Index = slices.IndexFunc(items, func(item T) bool { return id(item) == id(sorted[fault.Index]) })
		}
		slices.SortFunc(faults, func(a, b ItemFault) int { return cmp.Compare(a.Index, b.Index) })
	}
	return Bulk{}, err
}

// bulkOf returns the result for users in the order of their ids. skipped has the ids of
// those that were not changed or deleted. It reads why, if there are any.
func bulkOf[T any](ctx context.Context, q *db.Queries, items []T, ref func(T) db.DeleteUserParams, skipped []int64) (Bulk, error) {
	b := Bulk{Done: len(items) - len(skipped)}
	if len(skipped) == 0 {
		return b, nil
	}
	slices.Sort(skipped)
	versions := map[int64]*int32{}
	for _, item := range items {
		if u := ref(item); contains(skipped, u.ID) {
			versions[u.ID] = u.IfVersion
		}
	}
	there, err := q.ListUserIDs(ctx, skipped)
	if err != nil {
		return Bulk{}, err
	}
	slices.Sort(there)
	for _, id := range skipped {
		// If a user exists although no version was required, it was created since.
		if contains(there, id) && versions[id] != nil {
			b.Stale = append(b.Stale, id)
		} else {
			b.Missing = append(b.Missing, id)
		}
	}
	return b, nil
}

func contains(sorted []int64, id int64) bool {
	_, found := slices.BinarySearch(sorted, id)
	return found
}

// Ages for UpdateUsers. No user can have them.
const (
	ageCleared = math.MinInt32
	ageKept    = math.MinInt32 + 1
)

// bulkUpdate converts the changes to columns. A column that no change needs stays empty, so
// the server need not read it.
func bulkUpdate(changes []db.UpdateUserParams) (p db.UpdateUsersParams, err error) {
	n := len(changes)
	p.Ids = make([]int64, n)
	for i := range changes {
		c := &changes[i]
		p.Ids[i] = c.ID
		putVersion(&p.IfVersions, n, i, c.IfVersion)
		if c.Username != nil {
			put(&p.SetUsernames, &p.Usernames, n, i, *c.Username)
		}
		if c.Email != nil {
			put(&p.SetEmails, &p.Emails, n, i, *c.Email)
		}
		if c.SetAge {
			if p.Ages == nil {
				p.Ages = slices.Repeat([]int32{ageKept}, n)
			}
			if p.Ages[i] = ageCleared; c.Age != nil {
				p.Ages[i] = *c.Age
			}
		}
		if c.Tags != nil {
			if p.Tags == nil {
				p.Tags = slices.Repeat([][]byte{[]byte("null")}, n)
			}
			if p.Tags[i], err = json.Marshal(c.Tags); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// putVersion sets the required version of item i of n, if it has one. For the statements, 0
// means any. No user has -1.
func putVersion(versions *[]int32, n, i int, v *int32) {
	if v == nil {
		return
	}
	if *versions == nil {
		*versions = make([]int32, n)
	}
	if (*versions)[i] = *v; *v == 0 {
		(*versions)[i] = -1
	}
}

// put sets value i of n, and marks it as set.
func put[T any](set *[]bool, values *[]T, n, i int, value T) {
	if *set == nil {
		*set, *values = make([]bool, n), make([]T, n)
	}
	(*set)[i], (*values)[i] = true, value
}
