// Command server is Quern's one binary: it serves the API and administers its
// database.
//
//	main.go        the command line and its exit codes
//	settings.go    every setting: flag, environment variable, default, help
//	dotenv.go      the file .env
//	misspelt.go    misspelt names of settings
//	renamed.go     old names of settings
//	database.go    the server of DATABASE_URL, or the embedded one
//	serve.go       the service, from the first line printed to the last request
//	hosts.go       the hosts that requests may name
//	access.go      which requests need an API token
//	token.go       API tokens
//	ready.go       the check of /readyz
//	observe.go     metrics for Prometheus and spans for OpenTelemetry
//	migrate.go     the migrations of the schema
//	queries.go     the registry of statements
//	openapi.go     the OpenAPI document
//	doctor*.go     problems of the settings and the server, each with its hint
//	bulk.go        import.go, export.go, seed.go, and their output.go and progress.go
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

	"quern/internal/store"
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

	Serve   serveCommand   `cmd:"" default:"withargs" help:"Serve the API (the default). Without DATABASE_URL it starts an embedded PostgreSQL."`
	Migrate migrateCommand `cmd:"" help:"Apply, undo, list and create migrations."`
	Import  importCommand  `cmd:"" help:"Import users or posts from CSV or NDJSON. If interrupted, run the same command again to resume."`
	Export  exportCommand  `cmd:"" help:"Export users or posts as CSV or NDJSON."`
	Seed    seedCommand    `cmd:"" help:"Add demo data: users and their posts, most of them by a few users."`
	Queries queriesCommand `cmd:"" help:"List every SQL statement of the API, with its policy."`
	OpenAPI openapiCommand `cmd:"" name:"openapi" help:"Print the OpenAPI document of the API."`
	Doctor  doctorCommand  `cmd:"" help:"Check the settings and the database, and print each problem with its fix."`
	Token   tokenCommand   `cmd:"" help:"Create, list and revoke API tokens."`
	Version versionCommand `cmd:"" help:"Print the version of this program."`
}

// app holds the settings, the outputs and the loggers that every command uses.
type app struct {
	settings   settings
	sources    []setting
	stdout     io.Writer
	stderr     io.Writer
	log        *slog.Logger // on standard error
	warnings   *slog.Logger // log without level info, because standard output says the same
	outOfOrder bool         // whether pending migrations may be older than the last applied one
	names      []string     // warnings about deprecated and misspelt names of settings
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
		kong.Description("A SQL-first data service on PostgreSQL. Each setting is a flag, an environment variable or a line in .env; the first one found wins."),
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
	if command.Command() != "doctor" { // doctor lists them among its findings
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

// forgetEmpty unsets the environment variables of settings that are empty,
// because compose files and CI systems pass on a missing value as an empty one.
// Otherwise kong would reject an empty POOL_MAX_CONNS as an invalid number.
func forgetEmpty(model *kong.Application) {
	for _, flag := range model.Flags {
		for _, name := range flag.Tag.Envs {
			if os.Getenv(name) == "" {
				_ = os.Unsetenv(name) // cannot fail for a name that kong accepts
			}
		}
	}
}

// untilSignal returns a context that the first signal cancels, for a graceful
// shutdown. The second signal ends the process at once, because the default
// handling is restored first. signal.NotifyContext would restore it only when
// stop is called.
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

// endSignals are the signals that request a graceful shutdown. SIGHUP, sent when
// the terminal is closed, is one of them unless nohup made the process ignore it.
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

// oneLine joins the lines of a text, because errors of errors.Join and pgx span
// several. A line that the next one repeats, as pgx's errors of a connection with
// and without TLS do, is kept once.
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

// passwords matches passwords in URLs and in libpq's keyword form. Errors about a
// connection string already omit them. But if a connection string is passed where
// none is expected, kong quotes it as an unexpected argument.
var passwords = regexp.MustCompile(`(://[^\s:/@]*:)[^\s/]*(@)|((?i:pass(?:word|file)?)\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s"&]+)`)

// withoutPasswords redacts passwords, and API tokens, which kong quotes as well.
func withoutPasswords(s string) string {
	return passwords.ReplaceAllString(store.RedactTokens(s), "${1}${3}xxxxx${2}")
}
