package main

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"quern/internal/store"
)

type exportCommand struct {
	Users exportUsers `cmd:"" help:"Export users, in the order of their ids."`
	Posts exportPosts `cmd:"" help:"Export posts with their authors' usernames, in the order of their ids."`
}

type (
	exportUsers struct {
		exportFlags
		MinAge         *int32  `placeholder:"N" help:"Only users of this age or older."`
		MaxAge         *int32  `placeholder:"N" help:"Only users of this age or younger."`
		UsernamePrefix *string `placeholder:"TEXT" help:"Only users whose username starts with this."`
	}
	exportPosts struct {
		exportFlags
		UserID *int64 `placeholder:"ID" help:"Only the posts of this user."`
	}
)

type exportFlags struct {
	Output string `short:"o" default:"-" placeholder:"FILE" help:"The file to write, which appears when the export is complete; - is standard output."`
	Force  bool   `help:"Replace FILE if it exists."`
	Format string `enum:"auto,csv,ndjson" default:"auto" help:"Format of the file: ${enum}. auto uses the extension of FILE, and csv if it has none."`
	Gzip   bool   `help:"Compress with gzip; implied if FILE ends in .gz."`
	Quiet  bool   `short:"q" help:"Print nothing but errors."`
}

// Validate is called by kong after parsing.
func (f *exportFlags) Validate() error { return checkOutput("-o", f.Output, f.Force) }

func (c exportUsers) Run(ctx context.Context, a *app) error {
	filter := store.UserFilter{MinAge: c.MinAge, MaxAge: c.MaxAge, UsernamePrefix: c.UsernamePrefix}
	return c.run(ctx, a, "users", func(s *store.Store, w io.Writer, o store.ExportOptions) (int64, error) {
		return s.ExportUsers(ctx, w, filter, o)
	})
}

func (c exportPosts) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, "posts", func(s *store.Store, w io.Writer, o store.ExportOptions) (int64, error) {
		return s.ExportPosts(ctx, w, store.PostFilter{UserID: c.UserID}, o)
	})
}

func (f exportFlags) run(ctx context.Context, a *app, what string, act func(*store.Store, io.Writer, store.ExportOptions) (int64, error)) error {
	return a.withStore(ctx, func(s *store.Store) (err error) {
		timeout := a.settings.ExportTimeout
		ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took longer than %s: increase EXPORT_TIMEOUT", timeout))
		defer cancel()
		out, err := a.createOutput(f.Output, f.Force)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, out.discard()) }()
		p := a.newProgress("export "+what, -1, false, f.Quiet)
		defer p.end()
		w := io.Writer(endingWriter{ctx, out})
		compressed := (*gzip.Writer)(nil)
		if f.Gzip || strings.HasSuffix(f.Output, ".gz") {
			// Compression is the bottleneck, and the fastest level still shrinks the data to a fifth.
			compressed, _ = gzip.NewWriterLevel(w, gzip.BestSpeed) // the error is only for invalid levels
			w = compressed
		}
		rows, err := act(s, w, store.ExportOptions{Format: f.format(), Timeout: timeout, Progress: func(rows int64) { p.rows(rows, 0) }})
		if err == nil && compressed != nil {
			err = compressed.Close()
		}
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("export %s: %w", what, context.Cause(ctx))
		}
		if err == nil {
			err = out.keep()
		}
		p.end()
		if err != nil || f.Quiet {
			return err
		}
		if f.Output == "-" {
			a.log.Info("export "+what, "rows", rows)
			return nil
		}
		_, err = fmt.Fprintf(a.stdout, "%s: %s %s\n", what, inRows(rows), p.took(rows))
		return err
	})
}

func (f exportFlags) format() store.Format {
	if f.Format != "auto" {
		return store.Format(f.Format)
	}
	switch filepath.Ext(strings.TrimSuffix(f.Output, ".gz")) {
	case ".ndjson", ".jsonl", ".json":
		return store.FormatNDJSON
	}
	return store.FormatCSV
}

// endingWriter is a writer whose Write returns when ctx is cancelled. Otherwise a
// pipe that is not read would hold the export's snapshot forever.
type endingWriter struct {
	ctx context.Context
	w   io.Writer
}

func (e endingWriter) Write(p []byte) (int, error) {
	done := make(chan error, 1)
	go func() {
		_, err := e.w.Write(p)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return 0, err
		}
		return len(p), nil
	case <-e.ctx.Done():
		return 0, context.Cause(e.ctx)
	}
}
