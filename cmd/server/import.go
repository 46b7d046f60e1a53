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
	Users importUsers `cmd:"" help:"Import users: columns username, email, age, tags, and id, created_at, updated_at, version."`
	Posts importPosts `cmd:"" help:"Import posts: columns user_id or username, title, content, tags, and id, created_at, updated_at, version."`
}

type (
	importUsers struct{ importFlags }
	importPosts struct{ importFlags }
)

type importFlags struct {
	File       string `arg:"" help:"CSV or NDJSON, gzipped or not; - is standard input."`
	Format     string `enum:"auto,csv,ndjson" default:"auto" help:"How it is written: ${enum}; auto looks at the first character."`
	Delimiter  string `default:"comma" placeholder:"CHARACTER" help:"What separates the fields of CSV: one character, or comma, semicolon, tab or pipe."`
	Ignore     bool   `name:"ignore-unknown" help:"Ignore columns that are unknown instead of refusing the file."`
	OnConflict string `enum:"error,skip,update" default:"error" help:"What becomes of a row that exists, by username or by post id: ${enum}."`
	Strict     bool   `help:"Store all rows, or none when one is rejected."`
	MaxRejects *int64 `placeholder:"N" help:"Give up when more than N rows are rejected, and take up to N for a success, if not all are."`
	Rejects    string `placeholder:"FILE" help:"Write the rejected rows to FILE, as NDJSON that can be mended and imported."`
	Force      bool   `help:"Replace the FILE of --rejects if it exists."`
	Key        string `placeholder:"TEXT" help:"Import a file in full although one that began alike was imported lately."`
	Quiet      bool   `short:"q" help:"Print nothing but errors."`
}

// Validate is called by kong with what was parsed.
func (f *importFlags) Validate() error {
	if _, err := rowfile.ParseDelimiter(f.Delimiter); err != nil {
		return fmt.Errorf("--delimiter: %w", err)
	}
	if f.MaxRejects != nil && *f.MaxRejects < 0 {
		return fmt.Errorf("--max-rejects is %d: set it to 0 or more", *f.MaxRejects)
	}
	if in, err := os.Stat(f.File); err == nil && f.Rejects != "" && f.File != "-" {
		if out, err := os.Stat(f.Rejects); err == nil && os.SameFile(in, out) {
			return fmt.Errorf("--rejects names the file that is imported: write to another one")
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

// run imports a file. What it can, it reports also when it fails.
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
		delimiter, _ := rowfile.ParseDelimiter(f.Delimiter) // was validated
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

// open opens the file, and returns how long it is, -1 when nobody knows.
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

// source counts the bytes read. A strict import may have to start again, and so
// gets the file itself: without a Seeker it would be copied to a temporary file.
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

// explain adds to the error of an import what was stored and how to go on.
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
		return fmt.Errorf("%w: nothing is stored: pass --key TEXT to import all of this one", err)
	}
	if f.Strict || res.Rows == 0 || f.File == "-" {
		return err
	}
	return fmt.Errorf("%w: up to line %d all is stored but what was rejected; the same command goes on from there", err, res.Line)
}

// describeImport says in a sentence what an import did.
func describeImport(r store.ImportResult) string {
	at := r.ResumedAt.Local().Format("2006-01-02 15:04:05")
	if r.Resumed > 0 && r.Resumed == r.Rows {
		return fmt.Sprintf("%s: nothing was stored; all of it was done at %s: pass --key TEXT to import it again", inRows(r.Rows), at)
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
		text += fmt.Sprintf("; resumed behind row %s, which was done at %s", thousands(r.Resumed), at)
	}
	return text
}

// shownRejects is how many rejects are logged where no file takes them.
const shownRejects = 10

// keptLine is how much memory for a line of the file of rejects is kept for the
// next one: escaped, a row of 8 MiB can have six times that.
const keptLine = 64 << 10

// rejects is where the rejected rows go. Their file appears when the import is
// whole or was given up because of them: the same command resumes one that was
// interrupted, and writes all of them down then.
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
		return fmt.Sprintf("the first %d are above; --rejects FILE writes down all", shownRejects)
	}
	return "--rejects FILE writes them down"
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
