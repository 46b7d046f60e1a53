package main

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/pgtest"
	"quern/postgres"
)

// asTool makes the test binary run as the tool.
const asTool = "QUERN_TEST_AS_TOOL"

func TestMain(m *testing.M) {
	if os.Getenv(asTool) != "" {
		main()
	}
	pgtest.Main(m)
}

// quern runs a command line.
func quern(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestHelp(t *testing.T) {
	t.Parallel()
	_, list, _ := quern("help")
	for _, args := range [][]string{{}, {"--help"}, {"help", "help"}} {
		if code, out, errs := quern(args...); code != exitSuccess || out == "" || errs != "" {
			t.Errorf("%v: %d\n%s%s", args, code, out, errs)
		}
	}
	parser, _, err := newParser(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range parser.Model.Children {
		if !strings.Contains(list, "\n  "+command.Name+" ") || command.Help == "" {
			t.Errorf("quern help says nothing about %s", command.Name)
		}
		_, byHelp, _ := quern("help", command.Name)
		code, byFlag, errs := quern(command.Name, "--help")
		if code != exitSuccess || errs != "" || !strings.HasPrefix(byFlag, "Usage: quern "+command.Name) {
			t.Errorf("quern %s --help: %d\n%s%s", command.Name, code, byFlag, errs)
		}
		if diff := cmp.Diff(byFlag, byHelp); diff != "" {
			t.Errorf("quern help %s is another help:\n%s", command.Name, diff)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"grind":                "quern: unexpected argument grind: see `quern help`\n",
		"tables --no":          "quern: unknown flag --no",
		"help grind":           "quern help: unexpected argument grind\n",
		"tables --schema a.b":  `quern tables: --schema "a.b": not a plain name: `,
		"tables --schema Shop": `quern tables: --schema "Shop": not a plain name: `,
	} {
		code, out, errs := quern(strings.Fields(line)...)
		if code != exitUsage || out != "" || !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("quern %s: %d, %q, %q, want %d and %q", line, code, out, errs, exitUsage, want)
		}
	}
}

// The migration that is printed creates the tables where the runtime looks for them.
func TestTables(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		args   []string
		before string
		config postgres.Config
	}{
		{name: "Default", args: []string{"tables"}},
		{
			name: "Schema", args: []string{"tables", "--schema", "app"}, before: "CREATE SCHEMA app;",
			config: postgres.Config{MarkerTable: "app.commit_markers", HistoryTable: "app.server_histories"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, text, errs := quern(test.args...)
			if code != exitSuccess || errs != "" {
				t.Fatalf("%d, %s", code, errs)
			}
			migrations := fstest.MapFS{"00002_create_runtime_tables.sql": {Data: []byte(text)}}
			migrations["00001_create_schema.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + test.before + "\n-- +goose Down\n")}
			checkTables(t, migrations, test.config)
		})
	}
}

// checkTables sends the statements of the runtime on its own tables.
func checkTables(t *testing.T, migrations fs.FS, config postgres.Config) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pgtest.URL(t, migrations))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, s := range config.OwnStatements() {
		if _, err := conn.Prepare(t.Context(), s.Name, s.SQL); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}
