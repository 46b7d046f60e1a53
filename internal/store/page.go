package store

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
)

// PageRequest requests up to Limit items after the key After, before the key Before, or
// from the start. At most one of the keys may be set.
type PageRequest[K any] struct {
	Limit  int // at least 1
	After  *K
	Before *K
}

// Ends are the keys to pass as After and Before for the next and previous page, or nil if
// there is none.
type Ends[K any] struct {
	Next *K
	Prev *K
}

// ReadPage reads up to limit rows of a list: those after a key in the order of the list or,
// if back is set, those before it in reverse order.
type ReadPage[K, R any] = func(key K, back bool, limit int64) iter.Seq2[R, error]

// EachOfPage calls each with the items of a page, in the order of the keys and while they
// are read. If it returns an error, each may have been called with some of them. It reads
// one row more than the page has, to know whether there are more.
func EachOfPage[K, R any](r PageRequest[K], key func(R) K, read ReadPage[K, R], each func(R)) (Ends[K], error) {
	return eachOfPage(r, key, read, nil, each)
}

// eachOfPage is like EachOfPage, with a pageEnd that may end the page early.
func eachOfPage[K, R any](r PageRequest[K], key func(R) K, read ReadPage[K, R], end *pageEnd[R], each func(R)) (e Ends[K], err error) {
	if r.Limit < 1 || r.After != nil && r.Before != nil {
		return e, fmt.Errorf("page: the limit is %d: set it to 1 or more, and at most one of After and Before", r.Limit)
	}
	var start K // before all other keys
	if side := cmp.Or(r.After, r.Before); side != nil {
		start = *side
	}
	rows := end.rows(read(start, r.Before != nil, int64(r.Limit)+1))
	more := false
	if r.Before != nil {
		if rows, more, err = reversed(rows, r.Limit); err != nil {
			return e, err
		}
	}
	var first, last R
	n := 0
	for row, err := range rows {
		if err != nil {
			return e, err
		}
		if n++; n > r.Limit {
			more = true
			continue
		}
		if last = row; n == 1 {
			first = row
		}
		each(row)
	}
	if n == 0 {
		return r.endsOfNone(), nil
	}
	return r.ends(key(first), key(last), more || end.early()), nil
}

// reversed returns up to limit rows of a page that was read backwards, in the order of the
// list, and whether there were more.
func reversed[R any](rows iter.Seq2[R, error], limit int) (_ iter.Seq2[R, error], more bool, err error) {
	list, err := collect(rows)
	if more = len(list) > limit; more {
		list = list[:limit]
	}
	return func(yield func(R, error) bool) {
		for _, row := range slices.Backward(list) {
			if !yield(*row, nil) {
				return
			}
		}
	}, more, err
}

// ends returns the ends of a page from the key first to the key last. more reports whether
// there are more items in the direction in which it was read.
//
// If a page was requested by a key, there is an item on that side: the item of the key.
func (r PageRequest[K]) ends(first, last K, more bool) (e Ends[K]) {
	back := r.Before != nil
	if back || more {
		e.Next = &last
	}
	if back && more || r.After != nil {
		e.Prev = &first
	}
	return e
}

// endsOfNone is like ends, but for an empty page. It leads back to the item of the key by which
// the page was requested. Because keys are exclusive, the result is one step beyond that key.
func (r PageRequest[K]) endsOfNone() Ends[K] {
	return Ends[K]{Next: step(r.Before, -1), Prev: step(r.After, 1)}
}

// step returns the key next to the given one, in the direction by, 1 or -1. It returns nil
// for nil, and for a key that is neither a bigint nor a uuid.
func step[K any](key *K, by int) *K {
	if key == nil {
		return nil
	}
	beside := *key
	switch v := reflect.ValueOf(&beside).Elem(); {
	case v.Kind() == reflect.Int64:
		v.SetInt(v.Int() + int64(by))
	case v.Kind() == reflect.Array && v.Type().Elem().Kind() == reflect.Uint8:
		bytes := v.Slice(0, v.Len()).Bytes()
		for i := len(bytes) - 1; i >= 0; i-- {
			if bytes[i] += byte(by); bytes[i] != 0 && by > 0 || bytes[i] != 0xff && by < 0 {
				break // no carry
			}
		}
	default:
		return nil
	}
	return &beside
}

// Page is a part of a list, in its order.
type Page[K, R any] struct {
	Items []R
	Ends[K]
}

// page is like EachOfPage, but returns the rows as a list.
func page[K, R any](r PageRequest[K], key func(R) K, read func(key K, back bool, limit int64) ([]R, error)) (p Page[K, R], err error) {
	p.Items = []R{}
	p.Ends, err = EachOfPage(r, key, func(key K, back bool, limit int64) iter.Seq2[R, error] {
		return func(yield func(R, error) bool) {
			rows, err := read(key, back, limit)
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if err != nil {
				var none R
				yield(none, err)
			}
		}
	}, func(row R) { p.Items = append(p.Items, row) })
	return p, err
}

// pageBytes is how many bytes the rows of a page may have before the page ends early. It is
// the largest buffer of responses that is kept. A thousand posts of the maximum length
// would have gigabytes.
const pageBytes = 8 << 20

// pageEnd ends a page early if its rows are long. A nil pageEnd never does.
type pageEnd[R any] struct {
	size  func(R) int
	stop  func() // cancels the statement, whose other rows would be read and discarded
	bytes int
}

// early reports whether the page has ended early.
func (e *pageEnd[R]) early() bool { return e != nil && e.bytes >= pageBytes }

// rows yields rows up to the one that ends the page.
func (e *pageEnd[R]) rows(rows iter.Seq2[R, error]) iter.Seq2[R, error] {
	if e == nil {
		return rows
	}
	return func(yield func(R, error) bool) {
		for row, err := range rows {
			if e.bytes += e.size(row); !yield(row, err) || err != nil {
				return
			}
			if e.early() {
				e.stop()
				return
			}
		}
	}
}

// IfNone yields rows. If there are none, it yields the error of check, for example because
// the parent row does not exist.
func IfNone[R any](rows iter.Seq2[R, error], check func() error) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		for row, err := range rows {
			check = nil
			if !yield(row, err) {
				return
			}
		}
		if check != nil {
			if err := check(); err != nil {
				var none R
				yield(none, err)
			}
		}
	}
}

// ErrPageTooLarge: the posts of a page of users have more text than a response may hold in
// memory.
var ErrPageTooLarge = errors.New("the posts of these users are too large for one page")

// limitSize returns a check that is called for each row. It returns an error if the rows
// together are larger than a page with posts may be.
func limitSize[T any](size func(T) int) func(T) error {
	const most = 4 * pageBytes
	bytes := 0
	return func(row T) error {
		if bytes += size(row); bytes > most {
			return fmt.Errorf("%w: they have more than %d bytes: request fewer users, or the posts of one", ErrPageTooLarge, most)
		}
		return nil
	}
}

// collect returns the rows of a stream. It allocates them in blocks, which costs less
// than one allocation for each.
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
