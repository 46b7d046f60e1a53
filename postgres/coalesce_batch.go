package postgres

import (
	"fmt"
	"sync"

	"quern/postgres/internal/wire"
)

// attempt runs the calls as one statement and completes all of them, or none if it fails.
//
// A call without a row is a read that found none, or an insert whose row cannot be added.
// Such an insert is retried individually, and its caller gets the error of the retry.
func (co *coalescer) attempt(calls []*call) error {
	different := calls
	if co.reads {
		different = distinct(calls)
	}
	args := make([]any, len(co.one.Params))
	for i := range args {
		args[i] = arrayOf(different, i, co.many.Params[i].Type)
	}
	a, err := co.send(calls, args)
	if err != nil {
		return err
	}
	if err := co.distribute(different, a); err != nil {
		return err
	}
	for _, c := range calls {
		c.individually = c.row == nil && !co.reads
		c.complete(nil)
	}
	return nil
}

// byKeys are maps kept for reuse, because one per batch would be garbage.
var byKeys = sync.Pool{New: func() any { return map[any]*call{} }}

// distinct returns one call for each key, linked to the other calls with that key. All of
// them were made before their common result was read.
func distinct(calls []*call) []*call {
	byKey := byKeys.Get().(map[any]*call)
	defer func() {
		clear(byKey)
		byKeys.Put(byKey)
	}()
	different := make([]*call, 0, len(calls))
	for _, c := range calls {
		c.next = nil // left by an earlier attempt
		if c.key == nil {
			different = append(different, c)
			continue
		}
		if first := byKey[c.key]; first != nil {
			c.next, first.next = first.next, c
			continue
		}
		byKey[c.key] = c
		different = append(different, c)
	}
	return different
}

// distribute assigns each row to the call whose ordinal is in its first column, and to the
// calls linked to it. If there are several rows, a read gets the first.
func (co *coalescer) distribute(calls []*call, a *batchResult) error {
	rest := &batchResult{where: a.where, types: a.types}
	if len(a.fields) > 0 {
		rest.fields = a.fields[1:]
	}
	for _, c := range calls {
		for ; c != nil; c = c.next {
			c.result, c.row = rest, nil
		}
	}
	for _, row := range a.rows {
		value, row := row.Cut()
		ord, ok := wire.Int(&a.fields[0], value)
		if !ok || ord < 1 || ord > int64(len(calls)) {
			err := fmt.Errorf("%s: a row has the ordinal %q", co.many.Name, value)
			if co.reads {
				return err
			}
			// The rows are stored, so running the calls again would store them twice.
			return &Error{Kind: ErrCommitUnknown, Statement: co.many.Name, Err: err}
		}
		if c := calls[ord-1]; c.row == nil {
			for ; c != nil; c = c.next {
				c.row = row
			}
		}
	}
	return nil
}
