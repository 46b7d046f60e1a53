// Command server is Quern's one binary: it serves the API, and looks after the
// database that the API stands on.
//
//	main.go        the command line and its exit codes
//	settings.go    every setting: flag, environment variable, default, help
//	dotenv.go      the file .env
//	misspelt.go    names that are nearly those of settings
//	renamed.go     old names of settings
//	database.go    the server DATABASE_URL names, or the embedded default
//	serve.go       the service, from the first line printed to the last request
//	hosts.go       the hosts that requests may name
//	ready.go       what /readyz answers
//	observe.go     what Prometheus and OpenTelemetry see
//	migrate.go     the history of the schema
//	queries.go     the registry of statements
//	doctor*.go     problems of the settings and the server, each with its hint
//	bulk.go        import.go, export.go, seed.go: rows by the million; output.go, progress.go
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes. A script can tell a wrong command line from a failure.
const (
	exitSuccess = 0
	exitFailure = 1
	exitUsage   = 2
)

// cli is the command line. The settings belong to every command: kong puts the
// flags of its root before and after any of them.
type cli struct {
	Settings settings `embed:""`

	Serve   serveCommand   `cmd:"" default:"withargs" help:"Serve the API (the default). Without DATABASE_URL it starts a PostgreSQL of its own."`
	Migrate migrateCommand `cmd:"" help:"Look at the history of the schema, and change where the database stands in it."`
	Import  importCommand  `cmd:"" help:"Import users or posts from CSV or NDJSON. Broken off and run again, it goes on where it stopped."`
	Export  exportCommand  `cmd:"" help:"Export users or posts as CSV or NDJSON."`
	Seed    seedCommand    `cmd:"" help:"Add demo data: users, and posts of which few users write most."`
	Queries queriesCommand `cmd:"" help:"List every statement that the API sends, with its policy."`
	Doctor  doctorCommand  `cmd:"" help:"Say what is wrong with the settings and the database, and how to mend it."`
	Version versionCommand `cmd:"" help:"Print the version of this program."`
}

// app is what every command works with.
type app struct {
	settings   settings
	sources    []setting
	stdout     io.Writer
	stderr     io.Writer
	log        *slog.Logger // on standard error
	warnings   *slog.Logger // the logger, without lines that standard output has already
	outOfOrder bool         // migrations may be applied so
	names      []string     // warnings about names of settings that are deprecated or misspelt
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes a command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	fromFile, err := loadDotenv(".env")
	if err != nil {
		return fail(stderr, exitFailure, err)
	}
	var c cli
	parser, err := kong.New(&c,
		kong.Name("server"),
		kong.Description("A SQL-first data service on PostgreSQL. Each setting is a flag, an environment variable or a line of .env, in that order."),
		kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true, FlagsLast: true, Compact: true}),
	)
	if err != nil {
		return fail(stderr, exitFailure, err)
	}
	forgetEmpty(parser.Model)
	args, deprecated := acceptRenamed(args, fromFile)
	command, err := parser.Parse(args)
	if err != nil {
		return fail(stderr, exitUsage, fmt.Errorf("%w: see `server --help`", err))
	}

	ctx, stop := untilSignal()
	defer stop()

	a := &app{
		settings: c.Settings,
		sources:  settingSources(command, fromFile),
		stdout:   stdout,
		stderr:   stderr,
		log:      c.Settings.logger(stderr),
		warnings: c.Settings.warningLogger(stderr),
		names:    append(deprecated, misspelt(parser.Model, dotenvNames(".env"), os.Environ())...),
	}
	slog.SetDefault(a.log)
	if command.Command() != "doctor" { // it prints them itself
		for _, m := range a.names {
			a.log.Warn(m)
		}
	}
	command.BindTo(ctx, (*context.Context)(nil))
	if err := command.Run(a); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted: %w", err)
		}
		return fail(stderr, exitFailure, err)
	}
	return exitSuccess
}

// forgetEmpty makes settings that are set to nothing count as not set, which
// is how compose files and CI systems pass on what nobody gave them. kong
// would take an empty POOL_MAX_CONNS for a number that cannot be.
func forgetEmpty(model *kong.Application) {
	for _, flag := range model.Flags {
		for _, name := range flag.Tag.Envs {
			if os.Getenv(name) == "" {
				_ = os.Unsetenv(name) // fails for no name that kong accepts
			}
		}
	}
}

// untilSignal returns a context that the first signal ends, for an orderly end.
// The next one finds the default behaviour again and ends the process at once:
// unlike signal.NotifyContext, before anybody knows of the first.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan os.Signal, 1)
	signal.Notify(first, endSignals()...)
	go func() {
		select {
		case <-first:
		case <-ctx.Done():
		}
		signal.Stop(first)
		cancel()
	}()
	return ctx, cancel
}

// endSignals are the signals that ask for an orderly end. A closed terminal is
// one, unless nohup told the process to outlive it.
func endSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// fail prints an error as one line and returns code.
func fail(stderr io.Writer, code int, err error) int {
	fmt.Fprintln(stderr, "server: "+oneLine(withoutPasswords(err.Error())))
	return code
}

// oneLine joins the lines of a text: errors.Join and pgx write several. What
// pgx met twice, with TLS and without, is said once.
func oneLine(s string) string {
	var parts []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	for i := len(parts) - 1; i > 0; i-- {
		if strings.HasPrefix(parts[i], parts[i-1]) {
			parts = slices.Delete(parts, i-1, i)
		}
	}
	return strings.Join(parts, " ")
}

// passwords finds those of URLs and of libpq's keyword form. Errors about a
// connection string come without them; this catches a connection string that
// was given where none belongs and is quoted as an unexpected argument.
var passwords = regexp.MustCompile(`(://[^\s:/@]*:)[^\s/]*(@)|((?i:pass(?:word|file)?)\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s"&]+)`)

func withoutPasswords(s string) string {
	return passwords.ReplaceAllString(s, "${1}${3}xxxxx${2}")
}
