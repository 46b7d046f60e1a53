package store

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
)

// PageRequest asks for up to Limit items on one side of a key: after After or before
// Before, of which at most one is set, or from the start.
type PageRequest[K any] struct {
	Limit  int // at least 1
	After  *K
	Before *K
}

// Ends are the keys to pass as After and Before for the pages on either side of
// one, nil where there is none.
type Ends[K any] struct {
	Next *K
	Prev *K
}

// ReadPage reads up to limit rows of a list: those after a key in the order of the list
// or, if back, those before it in the reverse order.
type ReadPage[K, R any] = func(key K, back bool, limit int64) iter.Seq2[R, error]

// EachOfPage calls each with the items of a page of a list that is in the order of its
// keys. They come in that order and while they are read: if it fails, each may have had
// some of them. It asks read for one row more, to know whether there are more.
func EachOfPage[K, R any](r PageRequest[K], key func(R) K, read ReadPage[K, R], each func(R)) (Ends[K], error) {
	return eachOfPage(r, key, read, nil, each)
}

// eachOfPage is EachOfPage for a page that end may end early.
func eachOfPage[K, R any](r PageRequest[K], key func(R) K, read ReadPage[K, R], end *pageEnd[R], each func(R)) (e Ends[K], err error) {
	if r.Limit < 1 || r.After != nil && r.Before != nil {
		return e, fmt.Errorf("page: limit %d, after and before: a limit of 1 or more and at most one side", r.Limit)
	}
	var start K // before all others
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

// reversed returns the rows of a page that was read back, up to limit of them, in the
// order of the list, and whether there were more.
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

// ends returns the ends of a page from the key first to the key last, after which there
// are more items or not in the direction it was read.
//
// A page that was reached by a key has something on the side it came from: the
// item of that key.
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

// endsOfNone is ends for an empty page. It leads back the way it was reached, to
// the very item of the key, one step past it because keys are exclusive.
func (r PageRequest[K]) endsOfNone() Ends[K] {
	return Ends[K]{Next: step(r.Before, -1), Prev: step(r.After, 1)}
}

// step returns the key that is by, 1 or -1, beside the given one. It returns nil for
// none, and for a key that is neither a bigint nor a uuid.
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
				break // without a carry
			}
		}
	default:
		return nil
	}
	return &beside
}

// Page is a stretch of a list in its order.
type Page[K, R any] struct {
	Items []R
	Ends[K]
}

// page is EachOfPage for rows that are kept.
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

// pageBytes is how many bytes the rows of a page may have before it ends early: as
// much as a buffer of answers is kept for. A thousand posts of the longest would
// have gigabytes.
const pageBytes = 8 << 20

// pageEnd ends a page early if its rows are long. nil ends none.
type pageEnd[R any] struct {
	size  func(R) int
	stop  func() // ends the statement, whose other rows would be read and dropped
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

// IfNone yields rows or, if there are none, the error of check, such as that the row
// which they belong to does not exist.
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
