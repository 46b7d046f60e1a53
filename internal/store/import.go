package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"quern/internal/rowfile"
)

// The errors of an import, besides those of package postgres.
var (
	// ErrInput: the input as a whole cannot be read, because it has another format, no
	// header or an unknown column (ColumnError), or because its reader failed.
	ErrInput = rowfile.ErrInput

	// ErrArray: the input is a JSON array, but NDJSON has one object per line. It is also
	// ErrInput.
	ErrArray = rowfile.ErrArray

	// ErrRejected: an import stored nothing, because all of its rows were rejected or, in a
	// strict import, some.
	ErrRejected = errors.New("rows were rejected, so nothing was stored")

	// ErrTooManyRejects: an import was stopped because more than MaxRejects rows were
	// rejected.
	ErrTooManyRejects = errors.New("too many rows were rejected")

	// ErrBeganAlike: rows of an import with the same Key and the same first row are stored,
	// but this one has other rows or other options. If it were stored, rows could be stored
	// twice. So nothing of it is stored. To import all of it, use another Key.
	ErrBeganAlike = errors.New("an import with the same beginning are stored")
)

// The format of imports and exports, and the errors in the input of an import.
type (
	Format      = rowfile.Format
	ColumnError = rowfile.ColumnError
	Reject      = rowfile.Reject
)

// The formats of imports and exports.
const (
	FormatAuto   = rowfile.FormatAuto
	FormatCSV    = rowfile.FormatCSV
	FormatNDJSON = rowfile.FormatNDJSON
)

// OnConflict determines how an import handles a row whose username or post id exists
// already, in the table or earlier in the input.
type OnConflict string

// The values of OnConflict.
const (
	ConflictError  OnConflict = "error"  // reject the row
	ConflictSkip   OnConflict = "skip"   // skip the row
	ConflictUpdate OnConflict = "update" // update the existing row
)

// ImportOptions are the options of an import. The zero value stores every good row and
// rejects the others.
type ImportOptions struct {
	// Format is the format of the input. Defaults to FormatAuto.
	Format Format

	// Delimiter separates the fields of CSV. Defaults to a comma.
	Delimiter byte

	// IgnoreUnknown ignores unknown columns and members. Without it, the first one ends the
	// import with a ColumnError. Defaults to false.
	IgnoreUnknown bool

	// OnConflict determines what to do with a row that exists. Defaults to ConflictError.
	OnConflict OnConflict

	// Strict stores all rows or, if one is rejected, none. The import is then one
	// transaction. Its input is first copied to a temporary file unless it is an io.Seeker.
	// Defaults to false.
	Strict bool

	// MaxRejects is the number of rejected rows, including those of a resumed run, above
	// which the import is stopped. The rows stored until then stay. Defaults to no limit.
	MaxRejects *int64

	// Key distinguishes this import from others with the same first row. If two imports have
	// neither different keys nor different first rows, they count as one, and their rows are
	// stored once. Defaults to none.
	Key string

	// Rejected is called for each row that was rejected by this run or the one that it
	// resumes, in the order of the input. It is never called for a row that may still be
	// stored. If it returns an error, the import stops. Defaults to nil, which reports
	// nothing.
	Rejected func(Reject) error

	// Progress is called with the result so far, every few thousand rows. Defaults to nil,
	// which reports nothing.
	Progress func(ImportResult)

	// chunk is the number of rows in a chunk, which tests reduce. Defaults to chunkRows.
	chunk int
}

func (o ImportOptions) withDefaults() ImportOptions {
	if o.OnConflict == "" {
		o.OnConflict = ConflictError
	}
	if o.Delimiter == 0 {
		o.Delimiter = ','
	}
	if o.chunk == 0 {
		o.chunk = chunkRows
	}
	if o.Rejected == nil {
		o.Rejected = func(Reject) error { return nil }
	}
	if o.Progress == nil {
		o.Progress = func(ImportResult) {}
	}
	return o
}

func (o ImportOptions) validate() error {
	switch o.Format {
	case FormatAuto, FormatCSV, FormatNDJSON:
	default:
		return fmt.Errorf("format %q: use csv or ndjson", o.Format)
	}
	switch o.OnConflict {
	case ConflictError, ConflictSkip, ConflictUpdate:
	default:
		return fmt.Errorf("on conflict %q: use error, skip or update", o.OnConflict)
	}
	if !rowfile.ValidDelimiter(o.Delimiter) {
		return fmt.Errorf("delimiter %q: use a character that does not occur in numbers and column names, such as ;", o.Delimiter)
	}
	return nil
}

// ImportResult is the result of an import. Rows is always the sum of Resumed, Inserted,
// Updated, Unchanged, Skipped and Rejected, and each row is counted in one of them. Rows of
// an earlier run of the same import are counted in Resumed only. If Rows equals Resumed,
// this run stored nothing, even if rows were deleted since. A strict import that failed has
// stored nothing, and sets only Rows, Rejected and Line.
type ImportResult struct {
	Rows int64 // read

	// Rows of this run.
	Inserted  int64
	Updated   int64
	Unchanged int64 // existed with the same values
	Skipped   int64 // existed and were skipped
	Rejected  int64

	// Resumed is how many of Rows an earlier run of the same import has processed,
	// ResumedAt when it processed the last of them, and ResumedRejected how many of Resumed
	// it rejected.
	Resumed         int64
	ResumedAt       time.Time
	ResumedRejected int64

	// Line is the last line of the input that was processed.
	Line int64
}

// ImportUsers reads users from r, as CSV or NDJSON, optionally gzipped. It checks them and
// stores the good ones. Their columns are username, email, age, tags (a JSON array), and
// id, created_at, updated_at and version, which apply to new users only. username and email
// are required. An existing user is found by its username. The names in a CSV header may be
// in any case and surrounded by white space. Columns whose names start with an underscore
// are ignored.
//
// It stores the rows in chunks. The transaction of each chunk also stores a checkpoint. If
// the import is interrupted anywhere and run again with the same options, and with the same
// input or one that has grown at its end, it resumes after the last stored row. This also
// holds while another run of it is in progress. An import is identified by its Key and the
// text of its first row. Its checkpoints are kept for 30 days, or for a day once it is
// complete. An import that has neither inserted nor updated a row leaves none. Only a small
// part of the input is held in memory.
//
// It returns ErrInput, ErrRejected, ErrTooManyRejects, ErrBeganAlike and errors of package
// postgres. With an error, the result counts the rows until then. If gzip data is followed
// by other bytes, it stores the rows of that data and returns ErrInput; a strict import
// stores nothing. If all rows are rejected, it returns ErrRejected, and the result counts
// them. A Read of r that blocks when ctx is cancelled may continue after the return.
func (s *Store) ImportUsers(ctx context.Context, r io.Reader, o ImportOptions) (res ImportResult, err error) {
	defer annotate(&err, "import users")
	return runImport(ctx, s, &importUsers{}, r, o)
}

// ImportPosts is like ImportUsers, but for posts. Their columns are title, content, tags, the
// author as user_id or username, and id, created_at, updated_at and version. title, content and
// an author are required. An existing post is found by its id. A row without an id is always a
// new post.
func (s *Store) ImportPosts(ctx context.Context, r io.Reader, o ImportOptions) (res ImportResult, err error) {
	defer annotate(&err, "import posts")
	return runImport(ctx, s, &importPosts{}, r, o)
}
