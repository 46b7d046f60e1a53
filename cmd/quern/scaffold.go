package main

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"quern/cmd/quern/internal/scaffold"
	"quern/postgres"
)

type scaffoldCommand struct {
	Table      string `required:"" placeholder:"NAME" help:"The table, with its schema before a point if that is not public."`
	Noun       string `placeholder:"NAME" help:"The name of one row, such as order_item. Defaults to the table's name in the singular."`
	Database   string `placeholder:"URL" help:"A database to which the migrations were applied. Defaults to a PostgreSQL that is started for the command."`
	Dir        string `default:"." placeholder:"FOLDER" help:"The project: the folder of its go.mod, to which the other folders are relative."`
	Migrations string `default:"migrations" placeholder:"FOLDER" help:"The migrations, goose files."`
	Queries    string `default:"queries" placeholder:"FOLDER" help:"The statements, sqlc files."`
	Generated  string `default:"internal/db" placeholder:"FOLDER" help:"The package that sqlc writes."`
	API        string `name:"api" default:"internal/api" placeholder:"FOLDER" help:"The package of the HTTP API."`
	Generate   string `default:"make generate" placeholder:"COMMAND" help:"The command that runs sqlc."`
	Force      bool   `help:"Replace files that exist."`
}

// Help is what `quern help scaffold` adds.
func (scaffoldCommand) Help() string {
	return `It applies the migrations to a database, reads the table, and writes queries/NOUN.sql, internal/api/NOUN.go and ` +
		`internal/api/NOUN_test.go. They are a beginning, to be edited. What remains to be added by hand is printed.`
}

// Run writes the files.
func (c scaffoldCommand) Run(ctx context.Context, a *app) error {
	result, err := scaffold.Run(ctx, scaffold.Config{
		Dir: c.Dir, Table: c.Table, Noun: c.Noun, Database: c.Database, Migrations: c.Migrations, Queries: c.Queries,
		Generated: c.Generated, API: c.API, Generate: c.Generate, Runtime: runtimeModule(), Force: c.Force, Stderr: a.stderr,
	})
	if err != nil {
		return err
	}
	for _, name := range result.Files {
		fmt.Fprintln(a.stdout, "wrote", name)
	}
	fmt.Fprintln(a.stdout, "\nAdd by hand:")
	for _, hint := range result.Hints {
		fmt.Fprintln(a.stdout, "   ", hint)
	}
	if len(result.Notes) > 0 {
		fmt.Fprintln(a.stdout)
	}
	for _, note := range result.Notes {
		fmt.Fprintln(a.stdout, note)
	}
	return nil
}

// runtimeModule is the path of the module that this tool belongs to.
func runtimeModule() string {
	return strings.TrimSuffix(reflect.TypeFor[postgres.Config]().PkgPath(), "/postgres")
}
