package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"

	"quern/internal/db"
	"quern/postgres"
)

// inOrder returns the indexes of the chunk's rows, sorted by key. Rows with the same key
// stay in the order of the input.
func (c *chunk[R]) inOrder(compare func(a, b *R) int) []int {
	order := c.order[:0]
	for i := range c.rows {
		order = append(order, i)
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(compare(&c.rows[a], &c.rows[b]), cmp.Compare(a, b))
	})
	return order
}

// textKey is a row and the beginning of its key, as a number that sorts like the text. It
// begins after the bytes that all keys have in common. Few comparisons then need the texts.
type textKey struct {
	prefix uint64
	row    int
}

// inOrderOf is like inOrder, for keys that are texts. It is three times as fast.
func (c *chunk[R]) inOrderOf(text func(*R) string) []int {
	keys := c.keys[:0]
	common := ""
	for i := range c.rows {
		key := text(&c.rows[i])
		if i == 0 {
			common = key
		}
		common = common[:commonPrefix(common, key)]
	}
	for i := range c.rows {
		keys = append(keys, textKey{prefixOf(text(&c.rows[i])[len(common):]), i})
	}
	slices.SortFunc(keys, func(a, b textKey) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return cmp.Or(strings.Compare(text(&c.rows[a.row]), text(&c.rows[b.row])), cmp.Compare(a.row, b.row))
	})
	order := c.order[:0]
	for _, k := range keys {
		order = append(order, k.row)
	}
	c.keys = keys
	return order
}

// commonPrefix returns the number of leading bytes that two texts have in common.
func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// prefixOf returns the first eight bytes of a text as a number. If it is shorter, zeros
// follow.
func prefixOf(text string) uint64 {
	var first [8]byte
	copy(first[:], text)
	return binary.BigEndian.Uint64(first[:])
}

// copyRows keeps the parameters of a COPY for the next one, because those of a chunk take
// more than a MiB.
type copyRows[P any] struct{ pool sync.Pool }

// take returns n empty rows. free must be called when they are no longer used.
func (c *copyRows[P]) take(n int) (rows []P, free func()) {
	kept, _ := c.pool.Get().(*[]P)
	if kept == nil || cap(*kept) < n {
		kept = new([]P)
		*kept = make([]P, n)
	}
	rows = (*kept)[:n]
	return rows, func() {
		clear(rows) // because they point to texts
		c.pool.Put(kept)
	}
}

// disjoint reports whether two sorted lists of n and m elements have no element in common.
// compare compares element i of the first one with element j of the second one.
func disjoint(n, m int, compare func(i, j int) int) bool {
	for i, j := 0, 0; i < n && j < m; {
		switch c := compare(i, j); {
		case c == 0:
			return false
		case c < 0:
			i++
		default:
			j++
		}
	}
	return true
}

// groupByColumns divides rows into batches of rows with the same columns, because one
// statement must have the same columns for all its rows. Usually there is one batch.
func groupByColumns(rows []int, has func(row int) fields) [][]int {
	var batches [][]int
	place := map[fields]int{}
	for _, i := range rows {
		b, ok := place[has(i)]
		if !ok {
			b = len(batches)
			place[has(i)] = b
			batches = append(batches, nil)
		}
		batches[b] = append(batches[b], i)
	}
	return batches
}

// copyBackoff decides whether to try COPY for a chunk. COPY takes half the time of a merge,
// but fails as a whole if one row exists. After a failure it is not tried for a while,
// which doubles with each failure.
type copyBackoff struct {
	mu            sync.Mutex // because chunks may overlap
	pause, paused int
}

// maxPause is the most chunks between two attempts.
const maxPause = 64

func (t *copyBackoff) due() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.paused == 0 {
		return true
	}
	t.paused--
	return false
}

func (t *copyBackoff) failed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pause = min(max(1, 2*t.pause), maxPause)
	t.paused = t.pause
}

// existed reports whether err means that a row of a COPY exists already, or that an id was
// taken since it was found to be free. The constraint's name does not matter, because it is
// another one in each partition of a table.
func existed(err error) bool { return errors.Is(err, postgres.ErrUnique) }

// raised returns how far the given ids move a sequence.
func raised(ids []int64) db.RaiseUserIDsParams {
	p := db.RaiseUserIDsParams{Crowded: crowdedID}
	for _, id := range ids {
		p.Greatest = max(p.Greatest, id)
		if id <= maxMovingID {
			p.Moving = max(p.Moving, id)
		}
	}
	return p
}

// array returns an array of n values, or an empty one for a column that the rows do not
// have.
func array[T any](has bool, n int) []T {
	if !has {
		return []T{}
	}
	return make([]T, n)
}

// fill sets a value of an array, unless the array is empty.
func fill[T any](array []T, i int, v T) {
	if len(array) > 0 {
		array[i] = v
	}
}
