package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	sqlc "quern/cmd/quern/internal/project"
	"quern/cmd/quern/internal/scratch"
	"quern/postgres"
)

// sqlcProject are the flags of the commands that read the statements of a project.
type sqlcProject struct {
	Project  string `placeholder:"DIR" default:"." type:"existingdir" help:"The folder of sqlc.yaml, which names the migrations and the queries."`
	Scratch  string `placeholder:"URL" help:"A server on which the role may create databases. Defaults to a PostgreSQL that this command starts in memory and stops again."`
	Binaries string `type:"existingdir" placeholder:"DIR" help:"The folder with the programs of the PostgreSQL to start, for another version than the newest that is installed."`
}

// load returns the project and its statements.
func (f sqlcProject) load() (sqlc.Project, []postgres.Statement, error) {
	p, err := sqlc.Find(f.Project)
	if err != nil {
		return p, nil, err
	}
	statements, err := p.Load()
	return p, statements, err
}

// onScratch calls do with a server for scratch databases, and stops the server.
func (f sqlcProject) onScratch(ctx context.Context, a *app, do func(*scratch.Server) error) (err error) {
	server, err := project{Scratch: f.Scratch, Binaries: f.Binaries}.start(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	return do(server)
}

// migrated calls do with the URL of a scratch database that has the project's schema.
func (f sqlcProject) migrated(ctx context.Context, a *app, p sqlc.Project, do func(url string) error) error {
	return f.onScratch(ctx, a, func(s *scratch.Server) error {
		url, err := migrated(ctx, s, p.FS(), 0)
		if err != nil {
			return err
		}
		return do(url)
	})
}

// place returns where a statement is declared, such as queries/book.sql: GetBook.
func place(p sqlc.Project, s postgres.Statement) string {
	return path.Join(p.Queries, s.File) + ": " + s.Name
}

// named returns the statement of a name.
func named(statements []postgres.Statement, name string) (postgres.Statement, error) {
	i := slices.IndexFunc(statements, func(s postgres.Statement) bool { return s.Name == name })
	if i < 0 {
		return postgres.Statement{}, usageError{fmt.Errorf("there is no statement %s: its name is in the line -- name: of its SQL file", name)}
	}
	return statements[i], nil
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
