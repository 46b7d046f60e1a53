package store

import (
	"fmt"
	"slices"
)

// PageRequest asks for up to Limit items on one side of a key: behind After
// or below Before, of which at most one is set, or from the start.
type PageRequest struct {
	Limit  int // at least 1
	After  *int64
	Before *int64
}

// Page is a stretch of a list in its order. Next and Prev are the keys to pass
// as After and Before for the pages on either side, nil where there is none.
type Page[T any] struct {
	Items []T
	Next  *int64
	Prev  *int64
}

// page reads one page by a key that rises along the list. after and before
// each read up to limit items on their side of a key, before in falling order.
// One item more than asked for is read, to know whether there are more.
func page[T any](
	r PageRequest, key func(T) int64, after, before func(key, limit int64) ([]T, error),
) (p Page[T], err error) {
	if r.Limit < 1 || r.After != nil && r.Before != nil {
		return p, fmt.Errorf("page: limit %d, after and before: a limit of 1 or more and at most one side", r.Limit)
	}
	limit := int64(r.Limit)
	back := r.Before != nil
	if back {
		p.Items, err = before(*r.Before, limit+1)
	} else {
		var from int64
		if r.After != nil {
			from = *r.After
		}
		p.Items, err = after(from, limit+1)
	}
	if err != nil {
		return p, err
	}
	more := len(p.Items) > r.Limit
	if more {
		p.Items = p.Items[:r.Limit]
	}
	if back {
		slices.Reverse(p.Items)
	}
	// A page that was reached by a key has something on the side it came from:
	// the item of that key. An empty page leads back the same way, to that very
	// item, one step past it because keys are exclusive.
	switch {
	case len(p.Items) > 0:
		first, last := key(p.Items[0]), key(p.Items[len(p.Items)-1])
		if back || more {
			p.Next = &last
		}
		if back && more || r.After != nil {
			p.Prev = &first
		}
	case back:
		from := *r.Before - 1
		p.Next = &from
	case r.After != nil:
		from := *r.After + 1
		p.Prev = &from
	}
	return p, nil
}
