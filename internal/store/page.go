package store

import (
	"errors"
	"fmt"
	"iter"
	"slices"
)

// PageRequest asks for up to Limit items on one side of a key: behind After
// or below Before, of which at most one is set, or from the start.
type PageRequest struct {
	Limit  int // at least 1
	After  *int64
	Before *int64
}

// Ends are the keys to pass as After and Before for the pages on either side of
// one, nil where there is none.
type Ends struct {
	Next *int64
	Prev *int64
}

// Page is a stretch of a list in its order.
type Page[T any] struct {
	Items []T
	Ends
}

// check refuses a request that is none.
func (r PageRequest) check() error {
	if r.Limit < 1 || r.After != nil && r.Before != nil {
		return fmt.Errorf("page: limit %d, after and before: a limit of 1 or more and at most one side", r.Limit)
	}
	return nil
}

// start is the key behind which a page that is not turned back begins.
func (r PageRequest) start() int64 {
	if r.After != nil {
		return *r.After
	}
	return 0
}

// ends returns what is on either side of a page from the key first to the key
// last, behind which there are more items or not in the direction it was read.
//
// A page that was reached by a key has something on the side it came from: the
// item of that key.
func (r PageRequest) ends(first, last int64, more bool) (e Ends) {
	back := r.Before != nil
	if back || more {
		e.Next = &last
	}
	if back && more || r.After != nil {
		e.Prev = &first
	}
	return e
}

// endsOfNone is ends for an empty page. It leads back the way it was reached, to
// the very item of the key, one step past it because keys are exclusive.
func (r PageRequest) endsOfNone() (e Ends) {
	if r.Before != nil {
		from := *r.Before - 1
		e.Next = &from
	}
	if r.After != nil {
		from := *r.After + 1
		e.Prev = &from
	}
	return e
}

// page reads one page by a key that rises along the list. after and before
// each read up to limit items on their side of a key, before in falling order.
// One item more than asked for is read, to know whether there are more.
func page[T any](
	r PageRequest, key func(T) int64, after, before func(key, limit int64) ([]T, error),
) (p Page[T], err error) {
	if err := r.check(); err != nil {
		return p, err
	}
	limit := int64(r.Limit) + 1
	if r.Before != nil {
		p.Items, err = before(*r.Before, limit)
	} else {
		p.Items, err = after(r.start(), limit)
	}
	if err != nil {
		return p, err
	}
	more := len(p.Items) > r.Limit
	if more {
		p.Items = p.Items[:r.Limit]
	}
	if r.Before != nil {
		slices.Reverse(p.Items)
	}
	if len(p.Items) == 0 {
		p.Ends = r.endsOfNone()
		return p, nil
	}
	p.Ends = r.ends(key(p.Items[0]), key(p.Items[len(p.Items)-1]), more)
	return p, nil
}

// pageBytes is how many bytes the rows of a page may have before it ends early: as
// much as a buffer of answers is kept for. A thousand posts of the longest would
// have gigabytes.
const pageBytes = 8 << 20

// pageEnd ends a page early when its rows are long. nil ends none.
type pageEnd[T any] struct {
	size  func(T) int
	stop  func() // ends the statement, whose other rows would be read and dropped
	bytes int
	early bool
}

// after reports whether the page ends after a row.
func (e *pageEnd[T]) after(row T) bool {
	if e == nil {
		return false
	}
	if e.bytes += e.size(row); e.bytes >= pageBytes {
		e.early = true
		e.stop()
	}
	return e.early
}

// rows yields rows up to the one that ends the page.
func (e *pageEnd[T]) rows(rows iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for row, err := range rows {
			if !yield(row, err) || err != nil || e.after(row) {
				return
			}
		}
	}
}

// eachOfPage is page for rows that are used as they come and not kept: it calls
// each with the items, in the order of the list. When it fails, each may have
// had some of them.
func eachOfPage[T any](
	r PageRequest, key func(T) int64, after, before func(key, limit int64) iter.Seq2[T, error], end *pageEnd[T], each func(T),
) (Ends, error) {
	if err := r.check(); err != nil {
		return Ends{}, err
	}
	limit := int64(r.Limit) + 1
	if r.Before != nil {
		// It has to be turned round, so that its rows are kept after all.
		p, err := page(r, func(row *T) int64 { return key(*row) }, nil, func(key, limit int64) ([]*T, error) {
			return collect(end.rows(before(key, limit)))
		})
		for _, row := range p.Items {
			each(*row)
		}
		if err == nil && end != nil && end.early {
			p.Ends = r.ends(key(*p.Items[0]), key(*p.Items[len(p.Items)-1]), true)
		}
		return p.Ends, err
	}
	var first, last int64
	n := 0
	for row, err := range after(r.start(), limit) {
		if err != nil {
			return Ends{}, err
		}
		if n++; n > r.Limit {
			continue
		}
		last = key(row)
		if n == 1 {
			first = last
		}
		each(row)
		if end.after(row) {
			return r.ends(first, last, true), nil
		}
	}
	if n == 0 {
		return r.endsOfNone(), nil
	}
	return r.ends(first, last, n > r.Limit), nil
}

// ErrPageTooLarge says that the posts of a page of users have more text than is
// held in memory for an answer.
var ErrPageTooLarge = errors.New("the posts of these users are too large for one page")

// limitSize returns a check for each row: it is an error if the rows have more bytes
// than a page with all posts may have.
func limitSize[T any](size func(T) int) func(T) error {
	const most = 4 * pageBytes
	bytes := 0
	return func(row T) error {
		if bytes += size(row); bytes > most {
			return fmt.Errorf("%w: they have more than %d bytes: ask for fewer users, or for the posts of one", ErrPageTooLarge, most)
		}
		return nil
	}
}

// collect returns the rows of a stream. They stand side by side in blocks,
// which costs less than a place of its own for each.
func collect[T any](rows iter.Seq2[T, error]) (list []*T, err error) {
	const blockSize = 64
	var block []T
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		if len(block) == cap(block) {
			block = make([]T, 0, blockSize)
		}
		block = append(block, row)
		list = append(list, &block[len(block)-1])
	}
	return list, nil
}
