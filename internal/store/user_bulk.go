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

// Bulk is the result of changing or removing many users.
type Bulk struct {
	Done    int     // how many it was done to
	Missing []int64 // the ids of which there is no user, in rising order
	Stale   []int64 // the ids of users that have another version than IfVersion, in rising order
}

// PatchUsers changes many users at once, each as PatchUser does, in one
// statement; if that leaves some out, a second one asks why. Users that are
// missing or have another version are reported and do not keep the others from being
// changed. Any error changes none. If a username is taken, even by another user of
// the same request that is about to give it up, it fails with postgres.ErrUnique, and
// if a value breaks a rule, with postgres.ErrCheck: ItemFaults says which changes
// they are. A change that gives nothing still raises the version.
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

// DeleteUsers removes many users and their posts at once, in one statement.
// Users that are missing or have another version are reported and do not keep the
// others from being removed. Any error removes none. If something still refers to a
// user, it fails with postgres.ErrForeignKey: ItemFaults says to which.
func (s *Store) DeleteUsers(ctx context.Context, users []db.DeleteUserParams) (b Bulk, err error) {
	defer annotate(&err, "delete %d users", len(users))
	ref := func(u db.DeleteUserParams) db.DeleteUserParams { return u }
	return manyUsers(ctx, s, users, ref, func(q *db.Queries, users []db.DeleteUserParams) ([]int64, error) {
		var p db.DeleteUsersParams
		for _, u := range users {
			p.Ids, p.IfVersions = append(p.Ids, u.ID), append(p.IfVersions, ifVersion(u.IfVersion))
		}
		return q.DeleteUsers(ctx, p)
	})
}

// manyUsers runs one statement on the users of many items, and returns its result. run
// returns the ids of the users that the statement changed or removed. ref returns the
// user of an item, and the version that the user must have. run gets the items in the
// order of ids, so that two requests mostly lock users in the same order. If a deadlock
// occurs all the same, InTx repeats the transaction.
func manyUsers[T any](ctx context.Context, s *Store, items []T, ref func(T) db.DeleteUserParams,
	run func(*db.Queries, []T) (done []int64, err error),
) (b Bulk, err error) {
	id := func(item T) int64 { return ref(item).ID }
	sorted := slices.SortedFunc(slices.Values(items), func(a, b T) int { return cmp.Compare(id(a), id(b)) })
	for i := 1; i < len(sorted); i++ {
		if id(sorted[i]) == id(sorted[i-1]) {
			return b, fmt.Errorf("user %d is given more than once", id(sorted[i]))
		}
	}
	if len(items) == 0 {
		return b, nil
	}
	err = s.InTx(ctx, func(q *db.Queries) error {
		done, err := run(q, sorted)
		if err != nil {
			return err
		}
		b, err = bulkOf(ctx, q, sorted, ref, done)
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
	// The faults have their places among the items as they were given.
	if faults := ItemFaults(nil); errors.As(err, &faults) {
		for i, fault := range faults {
			faults[i].Index = slices.IndexFunc(items, func(item T) bool { return id(item) == id(sorted[fault.Index]) })
		}
		slices.SortFunc(faults, func(a, b ItemFault) int { return cmp.Compare(a.Index, b.Index) })
	}
	return Bulk{}, err
}

// bulkOf returns the result for users, given in the order of their ids, of which those
// in done were changed or removed. It reads the others, if there are any.
func bulkOf[T any](ctx context.Context, q *db.Queries, items []T, ref func(T) db.DeleteUserParams, done []int64) (Bulk, error) {
	b := Bulk{Done: len(done)}
	if b.Done == len(items) {
		return b, nil
	}
	slices.Sort(done)
	var left []int64
	versions := map[int64]*int32{}
	for _, item := range items {
		if u := ref(item); !contains(done, u.ID) {
			left, versions[u.ID] = append(left, u.ID), u.IfVersion
		}
	}
	there, err := q.ListUserIDs(ctx, left)
	if err != nil {
		return Bulk{}, err
	}
	slices.Sort(there)
	for _, id := range left {
		// One that is there without having had a version to fit has come since.
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

// ifVersion is how the bulk statements take a version: 0 is any, and no user
// has -1.
func ifVersion(v *int32) int32 {
	switch {
	case v == nil:
		return 0
	case *v == 0:
		return -1
	}
	return *v
}

// ageCleared is how UpdateUsers takes NULL.
const ageCleared = math.MinInt32

// bulkUpdate makes columns of the changes. A column that no change needs stays
// empty, which spares the server reading it.
func bulkUpdate(changes []db.UpdateUserParams) (p db.UpdateUsersParams, err error) {
	n := len(changes)
	p.Ids, p.IfVersions = make([]int64, n), make([]int32, n)
	for i, c := range changes {
		p.Ids[i], p.IfVersions[i] = c.ID, ifVersion(c.IfVersion)
		if c.Username != nil {
			put(&p.SetUsernames, &p.Usernames, n, i, *c.Username)
		}
		if c.Email != nil {
			put(&p.SetEmails, &p.Emails, n, i, *c.Email)
		}
		if c.SetAge {
			age := int32(ageCleared)
			if c.Age != nil {
				age = *c.Age
			}
			put(&p.SetAges, &p.Ages, n, i, age)
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

// put sets the ith of n values, and that it is set.
func put[T any](set *[]bool, values *[]T, n, i int, value T) {
	if *set == nil {
		*set, *values = make([]bool, n), make([]T, n)
	}
	(*set)[i], (*values)[i] = true, value
}
