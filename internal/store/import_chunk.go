package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"quern/internal/db"
	"quern/internal/jsonfmt"
	"quern/internal/rowfile"
)

// A chunk is a part of an import that is stored in one transaction. It ends at these
// limits, at the end of the input, or where a stored chunk of an earlier run ended.
const (
	chunkRows  = 10_000
	chunkBytes = 1 << 20 // exceeded by at most one record
)

// column is one column of an import's input.
type column[R any] struct {
	name     string
	required bool // must be in every row, and not null
	either   bool // a row must have at least one of these columns
	text     bool // an empty text is passed to set, which may reject it
	nullable bool // null differs from absent

	// json reports whether a field of CSV is JSON with the same value. It is nil for a
	// column of texts.
	json func(field []byte) bool

	// set sets the column of a row, or returns why the value is invalid. The row's texts
	// are kept in to.
	set func(row *R, v rowfile.Value, to *texts) (reason string)
}

// fields is a set of optional columns.
type fields uint8

const (
	hasID fields = 1 << iota
	hasAge
	hasTags
	hasCreatedAt
	hasUpdatedAt
	hasVersion
	hasUserID
)

// subject describes how rows of one kind, users or posts, are imported.
type subject[R any] interface {
	name() string
	columns() []column[R]

	// prepare finds the rows that repeat the key of an earlier row in the chunk, and orders
	// the others as they will be stored.
	prepare(c *chunk[R], mode OnConflict)

	// apart reports whether two prepared chunks have no key in common, so that the result
	// does not depend on which of them is stored first.
	apart(a, b *chunk[R]) bool

	// merge stores the rows of the chunk in the order that prepare has set. It calls drew
	// once it needs no more generated ids.
	merge(ctx context.Context, q *db.Queries, c *chunk[R], mode OnConflict, drew func()) (outcome, error)
}

// span locates a record: its line in the input and its text in the chunk.
type span struct {
	line     int64
	from, to int
}

// fault is the reason why a record of a chunk, given by its index, is rejected.
type fault struct {
	record int
	field  string
	reason string
}

// counts are the numbers of rows by their result.
type counts struct {
	inserted, updated, unchanged, skipped int64
}

func (c counts) plus(d counts) counts {
	return counts{c.inserted + d.inserted, c.updated + d.updated, c.unchanged + d.unchanged, c.skipped + d.skipped}
}

// outcome is the result of storing the rows of a chunk.
type outcome struct {
	counts
	faults []fault
}

// refuse records that the database rejected a row.
func (o *outcome) refuse(record int, field, reason string) {
	o.faults = append(o.faults, fault{record, field, reason})
}

// chunk is a chunk in memory.
type chunk[R any] struct {
	text        []byte
	records     []span    // all, good and bad
	rows        []R       // the good ones
	texts       texts     // of the rows
	recordIndex []int     // the record of each row
	order       []int     // of the rows to store, set by prepare
	keys        []textKey // of the rows, while they are sorted
	ids         []int64   // that these rows give, sorted
	faults      []fault
	counts      counts // of the rows that prepare has removed
	first       int64  // the number of records before it
	line        int64  // the last one
	hash        digest // of the input up to the end of this chunk
	last        bool
	merged      bool // rows of it were merged
	// cut is true if the first record was ended only by the end of the input. It then
	// begins a separate chunk, whose checkpoint is omitted if none of its rows is stored,
	// because the record may be longer if the file has grown before the next run.
	cut bool
}

// digest is a hash of all rows of an input from the first one.
type digest [sha256.Size]byte

func (c *chunk[R]) reset() {
	clear(c.rows) // because they point to texts
	c.texts.reset()
	c.text, c.records, c.rows = c.text[:0], c.records[:0], c.rows[:0]
	c.recordIndex, c.order, c.faults = c.recordIndex[:0], c.order[:0], c.faults[:0]
	c.ids = c.ids[:0]
	c.counts, c.line, c.last, c.cut, c.merged = counts{}, 0, false, false, false
}

// garbage returns approximately how much garbage reading and storing the chunk has created,
// measured with rows of all widths. A merge creates much more, because it encodes the rows as
// arrays, and so do ids in the input, which are compared with the stored ones.
func (c *chunk[R]) garbage() int64 {
	n := 5*len(c.text)/4 + 90*len(c.records) + 250*len(c.ids)
	if c.merged {
		n += 7*len(c.text) + 350*len(c.records)
	}
	return int64(n)
}

// settled reports whether the chunk needs a checkpoint.
func (c *chunk[R]) settled(refused []fault) bool {
	return !c.cut || !c.last || len(refused)+len(c.faults) < len(c.records)
}

// drawsLike reports whether the chunks may draw ids and check given ones in any order. An
// id that one chunk draws may be given in the other, and then belongs to the earlier one.
func (c *chunk[R]) drawsLike(d *chunk[R]) bool {
	draw := func(c *chunk[R]) bool { return len(c.ids) < len(c.order) }
	return (len(c.ids) == 0 || !draw(d)) && (len(d.ids) == 0 || !draw(c))
}

// lineOf returns the line of a row.
func (c *chunk[R]) lineOf(row int) int64 { return c.records[c.recordIndex[row]].line }

// refuse records that a row must not be stored.
func (c *chunk[R]) refuse(row int, field, reason string) {
	c.faults = append(c.faults, fault{c.recordIndex[row], field, reason})
}

// chunker reads chunks.
type chunker[R any] struct {
	d       *rowfile.Reader
	subject subject[R]
	columns []column[R]
	either  []string // the columns of which each row must have at least one
	opts    ImportOptions
	options string // the options of reading and storing, as a text
	hash    recordHash
	ahead   *rowfile.Record // was read, but is not in a chunk yet
	id      []byte          // identifies the import by its first record
	taken   int64           // records in all chunks so far
	ends    []int64         // where chunks of earlier runs ended, in records
}

// newChunker reads the header of the input and its first record.
func newChunker[R any](s subject[R], r io.Reader, o ImportOptions, grow func() error) (*chunker[R], error) {
	c := &chunker[R]{subject: s, columns: s.columns(), opts: o, hash: recordHash{Hash: sha256.New()}}
	reading := rowfile.Options{Format: o.Format, Delimiter: o.Delimiter, IgnoreUnknown: o.IgnoreUnknown, Grow: grow}
	for _, column := range c.columns {
		if column.either {
			c.either = append(c.either, column.name)
		}
		reading.Columns = append(reading.Columns, rowfile.Column{Name: column.name, JSON: column.json})
	}
	var err error
	if c.d, err = rowfile.NewReader(r, reading); err != nil {
		return nil, err
	}
	if missing := c.missing(); missing != "" {
		return nil, fmt.Errorf("%w: the header has no column %s", ErrInput, missing)
	}
	c.options = c.describe()
	fmt.Fprintf(c.hash, "%s\n", c.options)
	first, err := c.d.Next()
	switch {
	case errors.Is(err, io.EOF):
		return c, nil
	case err != nil:
		return nil, err
	}
	c.ahead = first
	id := recordHash{Hash: sha256.New()}
	fmt.Fprintf(id, "quern import 2\n%s\n%q\n", s.name(), o.Key)
	id.add(first)
	c.id = id.Sum(nil)
	return c, nil
}

// missing returns the required columns that a CSV header lacks.
func (c *chunker[R]) missing() string {
	for _, column := range c.columns {
		if column.required && !c.d.Has(column.name) {
			return column.name
		}
	}
	if either := c.either; len(either) > 0 && !slices.ContainsFunc(either, c.d.Has) {
		return strings.Join(either, " or ")
	}
	return ""
}

// describe returns a text of all options that affect the rows. Whether unknown members are
// ignored does not matter, because without that option, rows that have them are not stored.
func (c *chunker[R]) describe() string {
	text := string(c.d.Format())
	if names, delimiter := c.d.Header(); c.d.Format() == FormatCSV {
		text += " of " + strings.Join(names, ",")
		if delimiter != ',' {
			text += fmt.Sprintf(", delimiter %q", string(delimiter))
		}
	}
	text += ", on conflict " + string(c.opts.OnConflict)
	if c.opts.Strict {
		text += ", strict"
	}
	return text
}

// recordHash is a hash of records.
type recordHash struct {
	hash.Hash
	head [9]byte // of the last record; not a variable, because that would be allocated each time
}

// add adds a record. It includes the length, so that two records never look like one. A
// record that is too long to be held in memory never equals another.
func (h *recordHash) add(r *rowfile.Record) {
	binary.BigEndian.PutUint64(h.head[:8], uint64(len(r.Raw)))
	h.head[8] = 0
	if r.Long {
		h.head[8] = 1
	}
	h.Write(h.head[:])
	h.Write(r.Raw)
}

// read fills a chunk. The last one may be empty.
func (c *chunker[R]) read(into *chunk[R]) error {
	into.reset()
	into.first = c.taken
	rows := c.opts.chunk
	for len(c.ends) > 0 && c.ends[0] <= c.taken {
		c.ends = c.ends[1:]
	}
	known := len(c.ends) > 0
	if known {
		rows = int(c.ends[0] - c.taken)
	}
	for len(into.records) < rows && len(into.text) < chunkBytes {
		rec, err := c.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if rec.Cut && !into.cut && !known {
			if len(into.records) > 0 {
				c.ahead = rec
				break
			}
			into.cut = true
			rows = max(rows, chunkRows) // all remaining rows, if they fit
		}
		c.add(into, rec)
	}
	c.taken += int64(len(into.records))
	end, err := c.d.AtEnd()
	if err != nil {
		return err
	}
	into.last, into.line = end && c.ahead == nil, c.d.Line()-1
	if c.ahead != nil {
		into.line = c.ahead.Line - 1
	}
	c.hash.Sum(into.hash[:0])
	c.subject.prepare(into, c.opts.OnConflict)
	return nil
}

// next returns the next record.
func (c *chunker[R]) next() (rec *rowfile.Record, err error) {
	if rec, c.ahead = c.ahead, nil; rec != nil {
		return rec, nil
	}
	return c.d.Next()
}

// shrink releases the memory of a long record in empty chunks and their readers, and
// reports whether it could.
func (c *chunker[R]) shrink(chunks ...*chunk[R]) bool {
	if c.ahead != nil || !c.d.Shrink() {
		return false
	}
	for _, chunk := range chunks {
		if cap(chunk.text) > 2*chunkBytes {
			chunk.text = nil
		}
	}
	return true
}

func (c *chunker[R]) add(to *chunk[R], rec *rowfile.Record) {
	at := span{rec.Line, len(to.text), len(to.text) + len(rec.Raw)}
	c.hash.add(rec)
	to.text = append(to.text, rec.Raw...)
	to.records = append(to.records, at)
	field, reason := rec.Field, rec.Fault
	if reason == "" {
		// In its place at once, because a variable would be allocated for each row.
		var empty R
		to.rows = append(to.rows, empty)
		row := &to.rows[len(to.rows)-1]
		if field, reason = c.parse(rec, row, &to.texts); reason == "" {
			to.recordIndex = append(to.recordIndex, len(to.records)-1)
			return
		}
		*row = empty
		to.rows = to.rows[:len(to.rows)-1]
	}
	to.faults = append(to.faults, fault{len(to.records) - 1, field, reason})
}

// parse converts a record to a row, or returns the first error in it.
func (c *chunker[R]) parse(rec *rowfile.Record, row *R, to *texts) (field, reason string) {
	given := len(c.either) == 0
	for i := range c.columns {
		column, v := &c.columns[i], rec.Values[i]
		if v.Kind == rowfile.Text && len(v.Text) == 0 && !column.text {
			// Programs that quote every field also write NULL as '""'.
			v.Kind = rowfile.Null
		}
		switch {
		case v.Kind == rowfile.Absent && column.required:
			return column.name, "is required"
		case v.Kind == rowfile.Null && column.required:
			return column.name, `is required, and an empty field of CSV is NULL; an empty text is ""`
		case v.Kind == rowfile.Absent, v.Kind == rowfile.Null && !column.nullable:
			continue
		}
		if reason := column.set(row, v, to); reason != "" {
			return column.name, reason
		}
		given = given || column.either
	}
	if !given {
		return c.either[0], "is required, or " + c.either[1]
	}
	return "", ""
}

// The functions below parse the values of columns, for set.

func textOf(v rowfile.Value, to *texts, least, most int) (string, string) {
	if v.Kind != rowfile.Text && v.Kind != rowfile.String {
		return "", rowfile.NotString
	}
	if reason := checkText(v.Text, least, most); reason != "" {
		return "", reason
	}
	return to.keep(v.Text), ""
}

func intOf(v rowfile.Value, least, most int64) (int64, string) {
	if v.Kind != rowfile.Text && v.Kind != rowfile.Number {
		return 0, "is not an integer"
	}
	return parseInt(v.Text, least, most)
}

// isInt reports whether a field of CSV is an integer in the form of JSON.
func isInt(field []byte) bool {
	_, whole, _ := jsonfmt.Int(field)
	return whole && json.Valid(field)
}

// isTags reports whether a field of CSV is a list of tags.
func isTags(field []byte) bool {
	_, reason := parseTags(field, &texts{})
	return reason == ""
}

func tagsOf(v rowfile.Value, to *texts) ([]string, string) {
	switch v.Kind {
	case rowfile.Null:
		return []string{}, ""
	case rowfile.Text, rowfile.List:
		return parseTags(v.Text, to)
	case rowfile.String:
		// pandas and csvjson write a list from CSV in this form.
		if tags, reason := parseTags(v.Text, to); reason == "" {
			return tags, ""
		}
	}
	return nil, `is not a list of strings, such as ["a","b"]`
}

func timeOf(v rowfile.Value) (time.Time, string) {
	if v.Kind != rowfile.Text && v.Kind != rowfile.String {
		return time.Time{}, rowfile.NotString
	}
	return parseTime(v.Text)
}
