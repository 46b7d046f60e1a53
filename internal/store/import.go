package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"quern/internal/rowfile"
)

// The errors of an import besides those of package postgres.
var (
	// ErrInput says that the input as a whole cannot be read: it is in another
	// format, has no header or an unknown column (ColumnError), or its reader failed.
	ErrInput = rowfile.ErrInput

	// ErrArray says that the input is a JSON array where NDJSON has an object a
	// line. It is also ErrInput.
	ErrArray = rowfile.ErrArray

	// ErrRejected says that an import stored nothing: all of its rows were
	// rejected or, in a strict import, some.
	ErrRejected = errors.New("rows were rejected, so that nothing is stored")

	// ErrTooManyRejects says that an import was stopped because more rows were
	// rejected than MaxRejects.
	ErrTooManyRejects = errors.New("too many rows were rejected")

	// ErrBeganAlike says that rows of an import are stored that had the same Key
	// and began with the same row, and that this one has other rows or other
	// options: stored in full, it could store rows twice. Nothing of it is stored.
	// Another Key imports it in full.
	ErrBeganAlike = errors.New("an import that began alike are stored")
)

// The format of imports and exports, and the findings of an import in its input.
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

// OnConflict says what becomes of a row whose username, or post id, exists: in
// the table or further up in the input.
type OnConflict string

// The ways of an import with what exists.
const (
	ConflictError  OnConflict = "error"  // it is rejected
	ConflictSkip   OnConflict = "skip"   // it is passed over
	ConflictUpdate OnConflict = "update" // it changes what exists
)

// ImportOptions say how to import. The zero value stores every good row and
// rejects the others.
type ImportOptions struct {
	// Format is how the input is written. Defaults to FormatAuto.
	Format Format

	// Delimiter separates the fields of CSV. Defaults to a comma.
	Delimiter byte

	// IgnoreUnknown passes over columns and members that are unknown. Without it,
	// the first one breaks the import off with a ColumnError. Defaults to off.
	IgnoreUnknown bool

	// OnConflict says what becomes of a row that exists. Defaults to
	// ConflictError.
	OnConflict OnConflict

	// Strict stores all rows or, when one is rejected, none: the import is then
	// one transaction, and its input is read into a temporary file first unless
	// it is an io.Seeker. Defaults to off.
	Strict bool

	// MaxRejects is how many rows may be rejected before the import is broken
	// off, those of the run that it resumes included; what was stored until then
	// stays. Defaults to no limit.
	MaxRejects *int64

	// Key tells this import from others that began with the same row, which would
	// not be stored again. Defaults to none.
	Key string

	// Rejected is called for each row that was rejected, by this run or by the one
	// that it resumes, in the order of the input and never for a row that may still
	// be stored. An error of it breaks the import off. Defaults to not telling.
	Rejected func(Reject) error

	// Progress is called with what was done so far, every few thousand rows.
	// Defaults to not telling.
	Progress func(ImportResult)

	// chunk is how many rows a chunk has; tests have small ones. Defaults to
	// chunkRows.
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
		return fmt.Errorf("delimiter %q: use a character that neither numbers nor names of columns have, such as ;", o.Delimiter)
	}
	return nil
}

// ImportResult says what an import did. Rows is always the sum of Resumed,
// Inserted, Updated, Unchanged, Skipped and Rejected, and each row is in one of
// them: what an earlier run of the same import did is in Resumed alone. If Rows
// is Resumed, this run did nothing, even if rows were deleted since. A strict
// import that failed stored nothing and sets Rows, Rejected and Line alone.
type ImportResult struct {
	Rows int64 // read

	// Of this run.
	Inserted  int64
	Updated   int64
	Unchanged int64 // existed and were as given
	Skipped   int64 // existed and were passed over
	Rejected  int64

	// Resumed is how many of Rows an earlier run of the same import had done,
	// ResumedAt when it did the last of them, and ResumedRejected how many of
	// Resumed it had rejected.
	Resumed         int64
	ResumedAt       time.Time
	ResumedRejected int64

	// Line is the last line of the input that was dealt with.
	Line int64
}

// ImportUsers reads users from r, CSV or NDJSON and perhaps gzipped, checks
// them and stores the good ones. Their columns are username, email, age, tags
// (a JSON array), and id, created_at, updated_at and version, which only a new
// user takes over; username and email have to be there. A user that exists is
// known by its username. A CSV header may write them in any case, with white space
// around them. Names that start with an underscore are passed over.
//
// It stores chunk by chunk, each in a transaction that also notes how far it has
// come. If it is interrupted anywhere and run again with the same input, or with
// one that has grown at its end, and the same options, it resumes after the last
// row that is stored, also while another run of it is under way. An import is
// known by its Key and the text of its first row. Its progress is remembered for
// 30 days, and for a day once the import is whole; one that neither inserted nor
// updated anything is not remembered. What r has to give is held in memory only
// in small part.
//
// It fails with ErrInput, ErrRejected, ErrTooManyRejects, ErrBeganAlike and the
// errors of package postgres; the result says what was done until then. If bytes
// that are not gzip follow gzip data, it stores the rows of that data and then
// fails with ErrInput; a strict import stores nothing. If all rows are rejected, it
// fails with ErrRejected, and the result counts them. A Read of r that
// blocks when ctx ends goes on behind its back.
func (s *Store) ImportUsers(ctx context.Context, r io.Reader, o ImportOptions) (res ImportResult, err error) {
	defer annotate(&err, "import users")
	return runImport(ctx, s, &importUsers{}, r, o)
}

// ImportPosts is ImportUsers for posts. Their columns are title, content, tags,
// the author as user_id or username, and id, created_at, updated_at and
// version; title, content and an author have to be there. A post that exists
// is known by its id; without ids every row is a new post.
func (s *Store) ImportPosts(ctx context.Context, r io.Reader, o ImportOptions) (res ImportResult, err error) {
	defer annotate(&err, "import posts")
	return runImport(ctx, s, &importPosts{}, r, o)
}
