package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"quern/internal/rowfile"
	"quern/internal/store"
)

type importCommand struct {
	Users importUsers `cmd:"" help:"Import users. Columns: username, email, age, tags, id, created_at, updated_at, version."`
	Posts importPosts `cmd:"" help:"Import posts. Columns: user_id or username, title, content, tags, id, created_at, updated_at, version."`
}

type (
	importUsers struct{ importFlags }
	importPosts struct{ importFlags }
)

type importFlags struct {
	File       string `arg:"" help:"A CSV or NDJSON file, which may be gzipped; - is standard input."`
	Format     string `enum:"auto,csv,ndjson" default:"auto" help:"Format of the file: ${enum}. auto detects it by the first character."`
	Delimiter  string `default:"comma" placeholder:"CHARACTER" help:"Field separator of CSV: one character, or comma, semicolon, tab or pipe."`
	Ignore     bool   `name:"ignore-unknown" help:"Ignore unknown columns instead of rejecting the file."`
	OnConflict string `enum:"error,skip,update" default:"error" help:"What to do with a row whose username or post id exists already: ${enum}."`
	Strict     bool   `help:"Store all rows, or none if one is rejected."`
	MaxRejects *int64 `placeholder:"N" help:"Stop after more than N rejected rows; up to N still exits 0, unless all rows are rejected."`
	Rejects    string `placeholder:"FILE" help:"Write the rejected rows to FILE, as NDJSON that can be corrected and imported."`
	Force      bool   `help:"Replace the FILE of --rejects if it exists."`
	Key        string `placeholder:"TEXT" help:"Import the whole file even if it, or one with the same beginning, was imported in the last day. TEXT names this import."`
	Quiet      bool   `short:"q" help:"Print nothing but errors."`
}

// Validate is called by kong after parsing.
func (f *importFlags) Validate() error {
	if _, err := rowfile.ParseDelimiter(f.Delimiter); err != nil {
		return fmt.Errorf("--delimiter: %w", err)
	}
	if f.MaxRejects != nil && *f.MaxRejects < 0 {
		return fmt.Errorf("--max-rejects is %d: set it to 0 or more", *f.MaxRejects)
	}
	if in, err := os.Stat(f.File); err == nil && f.Rejects != "" && f.File != "-" {
		if out, err := os.Stat(f.Rejects); err == nil && os.SameFile(in, out) {
			return fmt.Errorf("--rejects names the file that is imported: name another one")
		}
	}
	return checkOutput("--rejects", f.Rejects, f.Force)
}

func (c importUsers) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, "users", (*store.Store).ImportUsers)
}

func (c importPosts) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, "posts", (*store.Store).ImportPosts)
}

type importAct func(*store.Store, context.Context, io.Reader, store.ImportOptions) (store.ImportResult, error)

// run imports a file. If it fails, the error includes how many rows were stored.
func (f importFlags) run(ctx context.Context, a *app, what string, act importAct) (err error) {
	file, size, err := f.open()
	if err != nil {
		return err
	}
	defer file.Close()
	rejects, err := a.newRejects(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rejects.close()) }()
	return a.withStore(ctx, func(s *store.Store) error {
		p := a.newProgress("import "+what, size, true, f.Quiet)
		defer p.end()
		delimiter, _ := rowfile.ParseDelimiter(f.Delimiter) // cannot fail, because Validate has parsed it
		res, err := act(s, ctx, f.source(p, file), store.ImportOptions{
			Format: f.format(), Delimiter: delimiter, IgnoreUnknown: f.Ignore, OnConflict: store.OnConflict(f.OnConflict), Strict: f.Strict,
			MaxRejects: f.MaxRejects, Key: f.Key, Rejected: rejects.add,
			Progress: func(r store.ImportResult) { p.rows(r.Rows, r.Rejected+r.ResumedRejected) },
		})
		p.end()
		if err != nil && (f.Strict || !errors.Is(err, store.ErrRejected)) {
			if errors.Is(err, store.ErrRejected) || errors.Is(err, store.ErrTooManyRejects) {
				err = errors.Join(err, rejects.keep())
			}
			return f.explain(res, err)
		}
		if err := rejects.keep(); err != nil {
			return err
		}
		rejected := res.Rejected + res.ResumedRejected
		if !f.Quiet {
			text := describeImport(res)
			if res.Resumed < res.Rows || res.Rows == 0 {
				text += " " + p.took(res.Rows-res.Resumed)
			}
			if _, err := fmt.Fprintf(a.stdout, "%s: %s\n", what, text); err != nil {
				return err
			}
		}
		if rejected > 0 && (f.MaxRejects == nil || rejected == res.Rows) {
			return fmt.Errorf("import %s: %s of %s were rejected: %s", what, thousands(rejected), inRows(res.Rows), rejects.where())
		}
		return nil
	})
}

// open opens the file and returns its size, or -1 if that is not known.
func (f importFlags) open() (*os.File, int64, error) {
	if f.File == "-" {
		return os.Stdin, -1, nil
	}
	file, err := os.Open(f.File)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory: name a file in it", f.File)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return file, -1, nil
	}
	return file, info.Size(), nil
}

// source returns a reader of file that counts the bytes read. A strict import may
// have to read the file again, so its source is a Seeker. Without one, the import
// would copy the file to a temporary file.
func (f importFlags) source(p *progress, file *os.File) io.Reader {
	if !f.Strict {
		return p.reader(file)
	}
	return struct {
		io.Reader
		io.Seeker
		io.ReaderAt
	}{p.reader(file), file, countingReaderAt{file, p}}
}

func (f importFlags) format() store.Format {
	if f.Format == "auto" {
		return store.FormatAuto
	}
	return store.Format(f.Format)
}

// explain adds to the error of an import how much was stored and how to continue.
func (f importFlags) explain(res store.ImportResult, err error) error {
	if wrong := (*store.ColumnError)(nil); errors.As(err, &wrong) {
		switch {
		case wrong.Delimiter != 0:
			err = fmt.Errorf("%w: pass --delimiter %s", err, rowfile.DelimiterName(wrong.Delimiter))
		case wrong.Unknown:
			err = fmt.Errorf("%w: rename it, or pass --ignore-unknown", err)
		}
	}
	if errors.Is(err, store.ErrBeganAlike) {
		return fmt.Errorf("%w: nothing was stored: pass --key TEXT to import the whole file", err)
	}
	if f.Strict || res.Rows == 0 || f.File == "-" {
		return err
	}
	return fmt.Errorf("%w: all rows up to line %d are stored, except rejected ones: run the same command again to resume", err, res.Line)
}

// describeImport summarizes an import in a sentence.
func describeImport(r store.ImportResult) string {
	at := r.ResumedAt.Local().Format("2006-01-02 15:04:05")
	if r.Resumed > 0 && r.Resumed == r.Rows {
		return fmt.Sprintf("%s: nothing was stored, because this file was imported at %s: pass --key TEXT to import it again", inRows(r.Rows), at)
	}
	parts := []string{}
	for _, c := range []struct {
		n    int64
		what string
	}{
		{r.Inserted, "inserted"},
		{r.Updated, "updated"},
		{r.Unchanged, "unchanged"},
		{r.Skipped, "skipped"},
		{r.Rejected, "rejected"},
	} {
		if c.n > 0 {
			parts = append(parts, thousands(c.n)+" "+c.what)
		}
	}
	text := inRows(r.Rows)
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	if r.Resumed > 0 {
		text += fmt.Sprintf("; resumed after row %s, which was stored at %s", thousands(r.Resumed), at)
	}
	return text
}

// shownRejects is how many rejects are logged if there is no file for them.
const shownRejects = 10

// keptLine is the largest buffer for a line of the rejects file that is kept for
// the next line. A row may have 8 MiB, and escaping can multiply that by six.
const keptLine = 64 << 10

// rejects writes the rejected rows to a file, or logs the first of them. The file
// appears when the import is complete or has stopped because of too many rejects.
// An interrupted import leaves none, because the command that resumes it writes all
// rejected rows.
type rejects struct {
	a     *app
	name  string
	out   *output // nil: the log
	w     *bufio.Writer
	line  []byte
	count int64
}

func (a *app) newRejects(f importFlags) (*rejects, error) {
	r := &rejects{a: a, name: f.Rejects}
	if f.Rejects == "" {
		return r, nil
	}
	out, err := a.createOutput(f.Rejects, f.Force)
	if err != nil {
		return nil, err
	}
	r.out, r.w = out, bufio.NewWriter(out)
	return r, nil
}

func (r *rejects) add(reject store.Reject) error {
	r.count++
	if r.w != nil {
		r.line = reject.AppendNDJSON(r.line[:0])
		_, err := r.w.Write(r.line)
		if cap(r.line) > keptLine {
			r.line = nil
		}
		return err
	}
	if r.count <= shownRejects {
		r.a.log.Warn("rejected", "line", reject.Line, "field", reject.Field, "reason", reject.Reason)
	}
	return nil
}

func (r *rejects) where() string {
	switch {
	case r.out != nil:
		return "they are in " + r.name
	case r.count > shownRejects:
		return fmt.Sprintf("the first %d are listed above: pass --rejects FILE to get all of them", shownRejects)
	}
	return "pass --rejects FILE to get them in a file"
}

func (r *rejects) keep() error {
	if r.out == nil {
		return nil
	}
	return errors.Join(r.w.Flush(), r.out.keep())
}

// close removes the file of rejects unless it was kept.
func (r *rejects) close() error {
	if r.out == nil {
		return nil
	}
	return r.out.discard()
}
