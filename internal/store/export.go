package store

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"quern/internal/db"
	"quern/internal/jsonfmt"
	"quern/internal/memory"
)

// ExportOptions are the options of an export.
type ExportOptions struct {
	// Format is FormatCSV or FormatNDJSON. Defaults to FormatCSV.
	Format Format

	// Timeout limits the whole export. While it runs, it holds a connection and a snapshot,
	// which prevents VACUUM from removing rows that were deleted since. Defaults to
	// DefaultExportTimeout.
	Timeout time.Duration

	// Progress is called with the number of rows written so far, every few thousand rows.
	// Defaults to nil, which reports nothing.
	Progress func(rows int64)
}

// DefaultExportTimeout is enough for a client that reads 36 MB at 20 KB/s. A fast
// client reads a hundred million rows in that time.
const DefaultExportTimeout = 30 * time.Minute

// PostFilter selects posts. A nil field does not filter.
type PostFilter struct {
	UserID *int64
}

// ExportUsers writes users to w in the order of their ids, from one snapshot, and returns
// how many. ImportUsers reads this format, and creates the same users if they do not exist.
// It holds a connection until it returns, and waits for w. If a Write to w may block
// forever, w must have its own deadline, because the deadline of the export does not end a
// Write. If it returns an error, w has only some of the rows.
func (s *Store) ExportUsers(ctx context.Context, w io.Writer, f UserFilter, o ExportOptions) (rows int64, err error) {
	defer annotate(&err, "export users")
	ctx, done := s.exports.begin(ctx, o)
	defer done()
	return export(w, o, s.q.ExportUsersStream(ctx, db.ExportUsersParams{
		MinAge: f.MinAge, MaxAge: f.MaxAge, UsernamePrefix: f.UsernamePrefix,
	}), func(e *encoder, u *db.ExportUsersRow) {
		e.int("id", u.ID)
		e.text("username", u.Username)
		e.text("email", u.Email)
		if u.Age != nil {
			e.int("age", int64(*u.Age))
		} else {
			e.null("age")
		}
		e.json("tags", u.Tags)
		e.time("created_at", u.CreatedAt)
		e.time("updated_at", u.UpdatedAt)
		e.int("version", int64(u.Version))
	})
}

// ExportPosts is like ExportUsers, but for posts. Each post has its author's id and username.
func (s *Store) ExportPosts(ctx context.Context, w io.Writer, f PostFilter, o ExportOptions) (rows int64, err error) {
	defer annotate(&err, "export posts")
	ctx, done := s.exports.begin(ctx, o)
	defer done()
	return export(w, o, s.q.ExportPostsStream(ctx, f.UserID), func(e *encoder, p *db.ExportPostsRow) {
		e.int("id", p.ID)
		e.int("user_id", p.UserID)
		e.text("username", p.Username)
		e.text("title", p.Title)
		e.text("content", p.Content)
		e.json("tags", p.Tags)
		e.time("created_at", p.CreatedAt)
		e.time("updated_at", p.UpdatedAt)
		e.int("version", int64(p.Version))
	})
}

const (
	// exportBuffer is how many bytes are written at a time.
	exportBuffer = 64 << 10

	// longExported is the larger size that is written at a time if a row is long. The limit
	// lets the garbage of long rows be collected soon.
	longExported = 4 * exportBuffer

	// exportProgress is the number of rows between two calls of Progress.
	exportProgress = 10_000
)

// export writes the rows while they are read.
func export[R any](w io.Writer, o ExportOptions, rows iter.Seq2[R, error], encode func(*encoder, *R)) (n int64, err error) {
	e := &encoder{csv: true, buf: make([]byte, 0, exportBuffer)}
	switch o.Format {
	case FormatAuto, FormatCSV:
		// The header consists of the names of the columns of a row.
		var none R
		e.header = true
		encode(e, &none)
		e.end()
		e.header = false
	case FormatNDJSON:
		e.csv = false
	default:
		return 0, fmt.Errorf("format %q: use csv or ndjson", o.Format)
	}
	defer memory.GiveBack()
	var row R // declared here, so that it is allocated once
	for row, err = range rows {
		if err != nil {
			return n, err
		}
		encode(e, &row)
		e.end()
		n++
		if len(e.buf) > exportBuffer*3/4 {
			if _, err := w.Write(e.buf); err != nil {
				return n, err
			}
			if len(e.buf) > longExported {
				// This counts its bytes as they were read, its text and its value.
				memory.Spent(int64(3 * len(e.buf)))
			}
			e.buf = e.buf[:0]
		}
		if o.Progress != nil && n%exportProgress == 0 {
			o.Progress(n)
		}
	}
	_, err = w.Write(e.buf)
	return n, err
}

// encoder writes rows column by column, as CSV or NDJSON.
type encoder struct {
	csv    bool
	header bool // write names instead of values
	inRow  bool // a column was written
	buf    []byte
}

// begin writes the separator and the name that precede a value. It returns false if the
// value must not be written, because the row is the header.
func (e *encoder) begin(column string) bool {
	separator := byte(',')
	if !e.inRow && !e.csv {
		separator = '{'
	}
	if e.inRow || !e.csv {
		e.buf = append(e.buf, separator)
	}
	e.inRow = true
	if e.header {
		e.buf = append(e.buf, column...)
		return false
	}
	if !e.csv {
		e.buf = append(e.buf, '"')
		e.buf = append(e.buf, column...)
		e.buf = append(e.buf, '"', ':')
	}
	return true
}

// end writes the end of a row.
func (e *encoder) end() {
	if !e.csv {
		e.buf = append(e.buf, '}')
	}
	e.buf = append(e.buf, '\n')
	e.inRow = false
}

func (e *encoder) int(column string, n int64) {
	if e.begin(column) {
		e.buf = strconv.AppendInt(e.buf, n, 10)
	}
}

// null writes NULL, which is an empty field without quotes in CSV.
func (e *encoder) null(column string) {
	if e.begin(column) && !e.csv {
		e.buf = append(e.buf, "null"...)
	}
}

func (e *encoder) text(column, s string) {
	if !e.begin(column) {
		return
	}
	if e.csv {
		e.buf = appendCSV(e.buf, s)
	} else {
		e.buf = jsonfmt.AppendString(e.buf, s)
	}
}

// json writes a value that is JSON already.
func (e *encoder) json(column, text string) {
	if !e.begin(column) {
		return
	}
	if e.csv {
		e.buf = appendCSV(e.buf, text)
	} else {
		e.buf = append(e.buf, text...)
	}
}

func (e *encoder) time(column string, t time.Time) {
	if !e.begin(column) {
		return
	}
	if e.csv {
		e.buf = jsonfmt.AppendTime(e.buf, t)
		return
	}
	e.buf = append(e.buf, '"')
	e.buf = jsonfmt.AppendTime(e.buf, t)
	e.buf = append(e.buf, '"')
}

// appendCSV appends a text as a field of CSV. An empty text is quoted, because an empty
// field without quotes is NULL.
func appendCSV(b []byte, s string) []byte {
	if s != "" && !strings.ContainsAny(s, ",\"\r\n") {
		return append(b, s...)
	}
	b = append(b, '"')
	for {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			b = append(b, s...)
			return append(b, '"')
		}
		b = append(b, s[:i+1]...)
		b = append(b, '"')
		s = s[i+1:]
	}
}
