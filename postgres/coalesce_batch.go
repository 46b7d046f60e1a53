package postgres

import (
	"fmt"
	"sync"

	"quern/postgres/internal/wire"
)

// attempt runs the calls as one statement and completes each, or none if it fails.
//
// A call without a row is a read that found none, or an insert whose row the
// statement left out because it cannot be added: its caller runs that again by
// itself and meets its own error.
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

// byKeys are maps to be used again: one for each batch would be garbage.
var byKeys = sync.Pool{New: func() any { return map[any]*call{} }}

// distinct returns one call for each different key, with the others of that key
// linked to it. A call that waited for another one's answer to the same question
// has asked before that answer was read.
func distinct(calls []*call) []*call {
	byKey := byKeys.Get().(map[any]*call)
	defer func() {
		clear(byKey)
		byKeys.Put(byKey)
	}()
	different := make([]*call, 0, len(calls))
	for _, c := range calls {
		c.next = nil // of an earlier attempt
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

// distribute gives each row to the call whose ordinal is in its first column, and to
// those that are linked to it. Of several rows a read has the first.
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
			// They are stored: to run them again would double them.
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
