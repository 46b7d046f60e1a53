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

// Bulk is what became of an act on many users at once.
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
	id := func(c db.UpdateUserParams) int64 { return c.ID }
	sorted, err := sortedByID(changes, id)
	if err != nil || len(changes) == 0 {
		return b, err
	}
	p, err := bulkUpdate(sorted)
	if err != nil {
		return b, err
	}
	err = s.InTx(ctx, func(q *db.Queries) error {
		changed, err := q.UpdateUsers(ctx, p)
		if err != nil {
			return err
		}
		b, err = bulk(ctx, q, p.Ids, p.IfVersions, changed)
		return err
	})
	if err != nil {
		return Bulk{}, asGiven(changes, sorted, id, s.faultsOf(ctx, err, manyItems{
			n: len(sorted), class: classBulk,
			run: func(q *db.Queries, from, to int) error {
				p, err := bulkUpdate(sorted[from:to])
				if err == nil {
					_, err = q.UpdateUsers(ctx, p)
				}
				return err
			},
		}))
	}
	return b, nil
}

// DeleteUsers removes many users and their posts at once, in one statement.
// Users that are missing or have another version are reported and do not keep the
// others from being removed. Any error removes none. If something still refers to a
// user, it fails with postgres.ErrForeignKey: ItemFaults says to which.
func (s *Store) DeleteUsers(ctx context.Context, users []db.DeleteUserParams) (b Bulk, err error) {
	defer annotate(&err, "delete %d users", len(users))
	id := func(u db.DeleteUserParams) int64 { return u.ID }
	sorted, err := sortedByID(users, id)
	if err != nil || len(users) == 0 {
		return b, err
	}
	p := bulkDelete(sorted)
	err = s.InTx(ctx, func(q *db.Queries) error {
		removed, err := q.DeleteUsers(ctx, p)
		if err != nil {
			return err
		}
		b, err = bulk(ctx, q, p.Ids, p.IfVersions, removed)
		return err
	})
	if err != nil {
		return Bulk{}, asGiven(users, sorted, id, s.faultsOf(ctx, err, manyItems{
			n: len(sorted), class: classBulk,
			run: func(q *db.Queries, from, to int) error {
				_, err := q.DeleteUsers(ctx, bulkDelete(sorted[from:to]))
				return err
			},
		}))
	}
	return b, nil
}

// bulk says what became of an act on the users with the given ids, which are in
// order, and versions. It asks for those that nothing was done to, where there
// are any.
func bulk(ctx context.Context, q *db.Queries, ids []int64, ifVersions []int32, done []int64) (Bulk, error) {
	b := Bulk{Done: len(done)}
	if b.Done == len(ids) {
		return b, nil
	}
	slices.Sort(done)
	var left []int64
	versions := map[int64]int32{}
	for i, id := range ids {
		if _, found := slices.BinarySearch(done, id); !found {
			left = append(left, id)
			versions[id] = ifVersions[i]
		}
	}
	there, err := q.ListUserIDs(ctx, left)
	if err != nil {
		return Bulk{}, err
	}
	slices.Sort(there)
	for _, id := range left {
		// One that is there without having had a version to fit has come since.
		if _, found := slices.BinarySearch(there, id); found && versions[id] != 0 {
			b.Stale = append(b.Stale, id)
		} else {
			b.Missing = append(b.Missing, id)
		}
	}
	return b, nil
}

// asGiven gives the faults of sorted items their places among the items as given.
func asGiven[T any](given, sorted []T, id func(T) int64, err error) error {
	if faults := ItemFaults(nil); errors.As(err, &faults) {
		for i, fault := range faults {
			faults[i].Index = slices.IndexFunc(given, func(item T) bool { return id(item) == id(sorted[fault.Index]) })
		}
		slices.SortFunc(faults, func(a, b ItemFault) int { return cmp.Compare(a.Index, b.Index) })
	}
	return err
}

// sortedByID returns what is to be done in the order of ids, so that two
// requests mostly lock the same users in the same order; InTx repeats the one
// that loses a deadlock all the same. It refuses an id that stands there twice.
func sortedByID[T any](list []T, id func(T) int64) ([]T, error) {
	order := func(a, b T) int { return cmp.Compare(id(a), id(b)) }
	if !slices.IsSortedFunc(list, order) {
		list = slices.SortedFunc(slices.Values(list), order)
	}
	for i := 1; i < len(list); i++ {
		if id(list[i]) == id(list[i-1]) {
			return nil, fmt.Errorf("user %d is given more than once", id(list[i]))
		}
	}
	return list, nil
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

func bulkDelete(users []db.DeleteUserParams) (p db.DeleteUsersParams) {
	for _, u := range users {
		p.Ids = append(p.Ids, u.ID)
		p.IfVersions = append(p.IfVersions, ifVersion(u.IfVersion))
	}
	return p
}

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
