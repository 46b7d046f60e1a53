package store

import (
	"fmt"
	"math"
	"slices"
	"time"

	"quern/internal/jsonfmt"
	"quern/internal/rowfile"
)

// common holds the columns that all imports have.
type common struct {
	has       fields
	id        int64
	tags      []string
	createdAt time.Time
	updatedAt time.Time
	version   int32
}

func (c *common) commons() *common { return c }

// importRow is a pointer to a row of an import.
type importRow[R any] interface {
	*R
	commons() *common
}

// columnsOf returns the columns of a kind of rows: id, the specific ones, and the other
// common ones.
func columnsOf[R any, P importRow[R]](own ...column[R]) []column[R] {
	id := fieldOf[R, P]("id", hasID, func(c *common, v rowfile.Value, _ *texts) (reason string) {
		c.id, reason = intOf(v, 1, MaxID)
		return reason
	})
	tags := fieldOf[R, P]("tags", hasTags, func(c *common, v rowfile.Value, to *texts) (reason string) {
		c.tags, reason = tagsOf(v, to)
		return reason
	})
	createdAt := fieldOf[R, P]("created_at", hasCreatedAt, func(c *common, v rowfile.Value, _ *texts) (reason string) {
		c.createdAt, reason = timeOf(v)
		return reason
	})
	updatedAt := fieldOf[R, P]("updated_at", hasUpdatedAt, func(c *common, v rowfile.Value, _ *texts) (reason string) {
		c.updatedAt, reason = timeOf(v)
		return reason
	})
	version := fieldOf[R, P]("version", hasVersion, func(c *common, v rowfile.Value, _ *texts) string {
		n, reason := intOf(v, 1, math.MaxInt32)
		c.version = int32(n)
		return reason
	})
	id.json, version.json, tags.json, tags.nullable = isInt, isInt, isTags, true
	return slices.Concat([]column[R]{id}, own, []column[R]{tags, createdAt, updatedAt, version})
}

// fieldOf returns an optional common column.
func fieldOf[R any, P importRow[R]](name string, bit fields, set func(*common, rowfile.Value, *texts) (reason string)) column[R] {
	return column[R]{name: name, set: func(row *R, v rowfile.Value, to *texts) string {
		c := P(row).commons()
		c.has |= bit
		return set(c, v, to)
	}}
}

// textColumn returns a column of texts with a minimum and a maximum length in characters.
func textColumn[R any](name string, required bool, least, most int, at func(*R) *string) column[R] {
	return column[R]{name: name, required: required, text: true, set: func(row *R, v rowfile.Value, to *texts) (reason string) {
		*at(row), reason = textOf(v, to, least, most)
		return reason
	}}
}

// stored returns the common columns of a row for COPY. at is the time of rows without one.
func (c *common) stored(at time.Time) (id int64, tags []string, createdAt, updatedAt time.Time, version int32) {
	createdAt, updatedAt, version = at, at, 1
	if c.has&hasCreatedAt != 0 {
		createdAt = c.createdAt
	}
	if c.has&hasUpdatedAt != 0 {
		updatedAt = c.updatedAt
	}
	if c.has&hasVersion != 0 {
		version = c.version
	}
	return c.id, list(c.tags), createdAt, updatedAt, version
}

// idsOf returns the ids that the rows to store give, sorted.
func idsOf[R any, P importRow[R]](c *chunk[R]) []int64 {
	ids := c.ids[:0]
	for _, i := range c.order {
		if row := P(&c.rows[i]).commons(); row.has&hasID != 0 {
			ids = append(ids, row.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// withoutID returns those of the given rows that have no id, in the order of the input.
func withoutID[R any, P importRow[R]](c *chunk[R], rows []int) []int {
	lacks := make([]bool, len(c.rows))
	n := 0
	for _, i := range rows {
		if P(&c.rows[i]).commons().has&hasID == 0 {
			lacks[i] = true
			n++
		}
	}
	without := make([]int, 0, n)
	for i, lack := range lacks {
		if lack {
			without = append(without, i)
		}
	}
	return without
}

// commonArrays has the common columns of rows with the same columns, one array per column.
type commonArrays struct {
	ids                  []int64
	tags                 []string
	createdAt, updatedAt []time.Time
	versions             []int32
}

// arraysOf converts rows with the same columns to arrays. It calls own with each row and
// its index.
func arraysOf[R any, P importRow[R]](c *chunk[R], batch []int, own func(k int, row *R)) commonArrays {
	n, has := len(batch), P(&c.rows[batch[0]]).commons().has
	a := commonArrays{
		ids: array[int64](has&hasID != 0, n), tags: array[string](has&hasTags != 0, n),
		createdAt: array[time.Time](has&hasCreatedAt != 0, n), updatedAt: array[time.Time](has&hasUpdatedAt != 0, n),
		versions: array[int32](has&hasVersion != 0, n),
	}
	for k, i := range batch {
		row := P(&c.rows[i]).commons()
		fill(a.ids, k, row.id)
		fill(a.tags, k, string(jsonfmt.AppendStrings(nil, row.tags)))
		fill(a.createdAt, k, row.createdAt)
		fill(a.updatedAt, k, row.updatedAt)
		fill(a.versions, k, row.version)
		own(k, &c.rows[i])
	}
	return a
}

// foldRows finds the rows of a chunk that repeat the key of an earlier row, and handles
// them according to mode. order has rows with the same key next to each other. The first
// row of a key is kept. fold updates it from a later one, and returns whether that changed
// it, or why it is not possible.
func (c *chunk[R]) foldRows(order []int, mode OnConflict, key string, same func(a, b *R) bool, fold func(first, later *R, line int64) (changed bool, field, reason string)) {
	kept := order[:0]
	for _, i := range order {
		row := &c.rows[i]
		if len(kept) == 0 || !same(&c.rows[kept[len(kept)-1]], row) {
			kept = append(kept, i)
			continue
		}
		first := kept[len(kept)-1]
		switch mode {
		case ConflictError:
			c.refuse(i, key, fmt.Sprintf("is on line %d already", c.lineOf(first)))
		case ConflictSkip:
			c.counts.skipped++
		case ConflictUpdate:
			switch changed, field, reason := fold(&c.rows[first], row, c.lineOf(first)); {
			case reason != "":
				c.refuse(i, field, reason)
			case changed:
				c.counts.updated++
			default:
				c.counts.unchanged++
			}
		}
	}
	c.order = kept
}

// storing describes how the rows of a chunk are stored: by COPY or, if a row exists, by
// merging rows with the same columns.
type storing struct {
	key  string // the column that identifies an existing row
	new  bool   // the rows cannot exist yet
	copy func() error
	has  func(row int) fields

	// insert adds rows and returns the ordinals, from 1, of those that exist. upsert adds
	// rows and updates those that exist.
	insert func(batch []int) (exist []int64, err error)
	upsert func(batch []int) (inserted, updated int64, err error)
}

// storeRows stores the rows of a chunk, and adds their results to out.
func storeRows[R any](c *chunk[R], rows []int, mode OnConflict, copying *copyBackoff, s storing, out *outcome) error {
	if len(rows) > 0 && (s.new || copying.due()) {
		err := s.copy()
		if err == nil {
			out.inserted = int64(len(rows))
			return nil
		}
		if s.new || !existed(err) {
			return err
		}
		copying.failed()
	}
	c.merged = true
	for _, batch := range groupByColumns(rows, s.has) {
		if mode == ConflictUpdate {
			inserted, updated, err := s.upsert(batch)
			if err != nil {
				return err
			}
			out.counts = out.plus(counts{inserted, updated, int64(len(batch)) - inserted - updated, 0})
			continue
		}
		exist, err := s.insert(batch)
		if err != nil {
			return err
		}
		out.inserted += int64(len(batch) - len(exist))
		if mode == ConflictSkip {
			out.skipped += int64(len(exist))
			continue
		}
		for _, ord := range exist {
			out.refuse(c.recordIndex[batch[ord-1]], s.key, "is taken")
		}
	}
	return nil
}
