package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"quern/internal/db"
	"quern/postgres"
)

// ItemFault is one of many items that could not be stored.
type ItemFault struct {
	Of    string // the list that it is in, if what is stored is more than a list
	Index int    // its position in the list, as it was given
	Err   error
}

// ItemFaults is the error of an act on many items: which of them it failed for.
// None of the items is stored.
type ItemFaults []ItemFault

func (f ItemFaults) Error() string {
	var b strings.Builder
	for i, fault := range f {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "item %d: %v", fault.Index, fault.Err)
	}
	return b.String()
}

// Unwrap returns the errors of the items.
func (f ItemFaults) Unwrap() []error {
	errs := make([]error, len(f))
	for i, fault := range f {
		errs[i] = fault.Err
	}
	return errs
}

// maxItemFaults bounds the search for faults. Each costs up to 14 statements among
// 10,000 items.
const maxItemFaults = 20

// errSearched undoes the transaction that searched for faults.
var errSearched = errors.New("the search for faults is over")

// manyItems is an act on a list, in the parts that a search for faults needs.
type manyItems struct {
	list  string // that the items are in, if what is stored is more than a list
	n     int
	class string                                  // of its statements; empty is the default
	begin func(q *db.Queries) error               // what comes before the items, or nil
	run   func(q *db.Queries, from, to int) error // does to the items from up to to what the act did to all
}

// faultsOf returns which items made an act fail with cause, or cause itself if the
// items are not the cause or cannot be distinguished. PostgreSQL names the constraint that
// a statement broke and not the row, except in a translated text.
//
// So it repeats the act by halves, in a transaction that it rolls back. A half that
// succeeds stays for the rest of the search, which therefore touches each good item
// once.
func (s *Store) faultsOf(ctx context.Context, cause error, items manyItems) error {
	if !itemFault(cause) || items.n == 0 {
		return cause
	}
	var faults ItemFaults
	err := s.q.InTxWith(ctx, postgres.TxOptions{Class: items.class}, func(q *db.Queries) error {
		faults = nil
		if err := q.CheckAtOnce(ctx); err != nil {
			return err
		}
		if items.begin != nil {
			if err := items.begin(q); err != nil {
				return err
			}
		}
		search := faultSearch{ctx: ctx, manyItems: items}
		if err := search.among(q, 0, items.n); err != nil {
			return err
		}
		faults = search.faults
		return errSearched
	})
	if !errors.Is(err, errSearched) || len(faults) == 0 {
		return cause
	}
	return faults
}

// itemFault reports whether an error may be that of one item.
func itemFault(err error) bool {
	for _, kind := range []error{
		postgres.ErrUnique, postgres.ErrExclusion, postgres.ErrForeignKey, postgres.ErrCheck, postgres.ErrInvalidValue,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

type faultSearch struct {
	manyItems
	ctx    context.Context
	faults ItemFaults
}

// among searches the items from up to to.
func (s *faultSearch) among(q *db.Queries, from, to int) error {
	if len(s.faults) == maxItemFaults {
		return nil
	}
	err := q.InTx(s.ctx, func(q *db.Queries) error { return s.run(q, from, to) })
	switch {
	case err == nil:
		return nil
	case !itemFault(err):
		return err
	case to-from == 1:
		s.faults = append(s.faults, ItemFault{Of: s.list, Index: from, Err: err})
		return nil
	}
	middle := from + (to-from)/2
	if err := s.among(q, from, middle); err != nil {
		return err
	}
	return s.among(q, middle, to)
}
