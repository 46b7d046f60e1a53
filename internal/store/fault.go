package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"quern/internal/db"
	"quern/postgres"
)

// ItemFault is the error of one of many items.
type ItemFault struct {
	Of    string // name of its list; empty if the items are the only list
	Index int    // its index in the list of the caller
	Err   error
}

// ItemFaults is the error of an operation on many items. It lists the items that caused it.
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

// maxItemFaults limits the search for faults. Each costs up to 14 statements if there are
// 10,000 items.
const maxItemFaults = 20

// errSearched rolls back the transaction that searched for faults.
var errSearched = errors.New("the search for faults is over")

// manyItems is an operation on a list, divided into the parts that a search for faults
// needs.
type manyItems struct {
	list  string // name of the list; empty if the items are the only list
	n     int
	class string                                  // class of its statements; empty is the default
	begin func(q *db.Queries) error               // runs the statements that precede the items; may be nil
	run   func(q *db.Queries, from, to int) error // runs the operation on items[from:to] only
}

// faultsOf returns the items that made an operation fail with cause. It returns cause
// itself if the items are not the cause or cannot be distinguished. PostgreSQL reports the
// violated constraint but not the row, except in a translated text.
//
// So it repeats the operation by halves, in a transaction that it rolls back. A half that
// succeeds stays applied for the rest of the search, so each good item is processed once.
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

// itemFault reports whether an error may be caused by a single item.
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

// among searches items[from:to].
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
