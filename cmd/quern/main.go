// Command quern is the developer's tool for projects on the runtime. It is not part of
// a running service, so it is a separate module.
//
//	main.go     the command line and its exit codes
//	help.go     quern help
//	new.go      quern new: a project
//	scaffold.go quern scaffold: the code of a noun from a table
//	migration.go quern migration: an empty migration
//	compat.go   quern compat: a release's statements on the new schema
//	plans.go    quern plans, explain.go, advise.go: plans and indexes
//	vet.go      quern vet: statements that are a risk
//	tables.go   quern tables: the migration of the runtime's own tables
//	project.go  the flags and databases of the commands on a project's migrations
//	diff.go     quern diff: the migration to a desired schema; numbering.go
//	drift.go    quern drift: a live database against its migrations
//	rehearse.go quern rehearse: what migrations lock and rewrite
//	locks.go    quern locks: the table of what statements lock
//
// A command is a field of cli. Its type has a method Run, which may take a
// context.Context and an *app. It returns an error of the form what failed: why: hint.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes, the same as those of the server.
const (
	exitSuccess = 0
	exitFailure = 1
	exitUsage   = 2
)

// cli is the command line. `quern help` lists the commands in this order.
type cli struct {
	New       newCommand       `cmd:"" help:"Write a new project with one noun."`
	Scaffold  scaffoldCommand  `cmd:"" help:"Write the code of a noun from a table: statements, HTTP API, test."`
	Migration migrationCommand `cmd:"" help:"Write an empty migration with the next number."`
	Compat    compatCommand    `cmd:"" help:"Check that the statements of a release run on the migrated schema."`
	Plans     plansCommand     `cmd:"" help:"Check on a live database that each statement can keep its @plan."`
	Explain   explainCommand   `cmd:"" help:"Print the generic plan of a statement as a tree."`
	Advise    adviseCommand    `cmd:"" help:"Name the index that a statement lacks."`
	Vet       vetCommand       `cmd:"" help:"Find statements that are a risk as tables and servers grow."`
	Diff      diffCommand      `cmd:"" help:"Write the migration to a desired schema."`
	Drift     driftCommand     `cmd:"" help:"Compare a live database with its migrations."`
	Rehearse  rehearseCommand  `cmd:"" help:"Run migrations on a copy with rows, and measure their locks."`
	Locks     locksCommand     `cmd:"" help:"Measure what common changes of a schema lock."`
	Tables    tablesCommand    `cmd:"" help:"Print the migration that creates the runtime's own tables."`
	Help      helpCommand      `cmd:"" help:"List the commands, or explain one."`
}

// app has what every command needs.
type app struct {
	stdout io.Writer
	stderr io.Writer
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// usageError is an error of a command's arguments that kong cannot see.
type usageError struct{ error }

// run executes a command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		args = []string{"help"}
	}
	parser, exited, err := newParser(stdout, stderr)
	if err != nil {
		return fail(stderr, exitFailure, "", err)
	}
	command, err := parser.Parse(args)
	if *exited {
		return exitSuccess
	}
	if err != nil {
		return fail(stderr, exitUsage, "", fmt.Errorf("%w: see `quern help`", err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	command.BindTo(ctx, (*context.Context)(nil))
	if err := command.Run(&app{stdout: stdout, stderr: stderr}); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted: %w", err)
		}
		code := exitFailure
		if wrong := (usageError{}); errors.As(err, &wrong) {
			code = exitUsage
		}
		return fail(stderr, code, command.Selected().Name, err)
	}
	return exitSuccess
}

// newParser returns the parser of the command line. If it has printed a help, it sets exited
// and does not end the process.
func newParser(stdout, stderr io.Writer) (parser *kong.Kong, exited *bool, err error) {
	exited = new(bool)
	parser, err = kong.New(&cli{},
		kong.Name("quern"),
		kong.Description("The developer's tool for SQL-first projects on PostgreSQL."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { *exited = true }),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true, FlagsLast: true, Compact: true}),
	)
	return parser, exited, err
}

// fail prints an error of a command as one line and returns code.
func fail(stderr io.Writer, code int, command string, err error) int {
	name := "quern"
	if command != "" {
		name += " " + command
	}
	// errors.Join and pgx write several lines.
	fmt.Fprintln(stderr, name+": "+strings.Join(strings.Fields(err.Error()), " "))
	return code
}
