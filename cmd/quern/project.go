package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/cmd/quern/internal/catalog"
	"quern/cmd/quern/internal/scratch"
	"quern/postgres"
)

// project are the flags of the commands that build the schema of the migrations.
type project struct {
	Migrations string `default:"migrations" type:"existingdir" placeholder:"DIR" help:"The folder of the goose migrations."`
	Scratch    string `placeholder:"URL" help:"A server on which the role may create databases. Defaults to a PostgreSQL that this command starts in memory and stops again."`
	Binaries   string `type:"existingdir" placeholder:"DIR" help:"The folder with the programs of the PostgreSQL to start, for another version than the newest that is installed."`
}

// files are the migrations.
func (p project) files() fs.FS { return os.DirFS(p.Migrations) }

// start starts the server for scratch databases.
func (p project) start(ctx context.Context, a *app) (*scratch.Server, error) {
	return scratch.Start(ctx, scratch.Config{
		URL: p.Scratch, Binaries: p.Binaries,
		Say: func(line string) { fmt.Fprintln(a.stderr, line) },
	})
}

// migrated makes a database with the schema of the migrations up to a version, or of all if
// version is 0.
func migrated(ctx context.Context, s *scratch.Server, files fs.FS, version int64) (url string, err error) {
	if url, err = s.Create(ctx); err != nil {
		return "", err
	}
	if names, err := fs.Glob(files, "*.sql"); err != nil || len(names) == 0 {
		return url, err
	}
	return url, s.Migrate(ctx, url, files, version)
}

// readSchema reads the schema of a database.
func readSchema(ctx context.Context, url string, opts catalog.Options) (*catalog.Schema, error) {
	conn, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	return catalog.Read(ctx, conn, opts)
}

// connect connects to a database of the caller. The error has no password.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	cc, prepare, err := postgres.Config{URL: url}.ConnConfig()
	if err != nil {
		return nil, usageError{err}
	}
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return nil, postgres.WrapError("connect to "+postgres.MaskURL(url), err)
	}
	if err := prepare(ctx, conn); err != nil {
		conn.Close(ctx)
		return nil, postgres.WrapError("connect to "+postgres.MaskURL(url), err)
	}
	return conn, nil
}

// subset is a folder without some of its files.
type subset struct {
	fs.FS
	has map[string]bool
}

// ReadDir implements fs.ReadDirFS, by which goose finds the files.
func (s subset) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !s.has[e.Name()] }), err
}

// runtimeTables are the names of the runtime's own tables, in any schema, each with what fails
// without it.
var runtimeTables = map[string]string{
	"commit_markers":   "without it a COMMIT whose answer is lost ends in ErrCommitUnknown",
	"server_histories": "without it no replica is used",
}

// runtimeTable returns the runtime's table that the object is or belongs to, or "".
func runtimeTable(o *catalog.Object) string {
	for table := range runtimeTables {
		for _, name := range []string{o.Name, o.Parent} {
			for part := range strings.SplitSeq(name, ".") {
				if part == table {
					return table
				}
			}
		}
		if o.Kind == "grant" && strings.Contains(o.Name, "."+table+" TO ") {
			return table
		}
	}
	return ""
}
