// Package quern_test checks rules of the whole repository: which packages may import
// which, and where SQL may be.
package quern_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the package at the top, which only embeds the migrations: goose takes
// each Go file in their directory for a migration.
const root = "the root"

// module is the path of this module. The test's own package is below it.
var module = strings.TrimSuffix(reflect.TypeFor[here]().PkgPath(), "_test")

type here struct{}

// rooms says what each room may import of ours and of others. A room that is
// missing here may not exist.
var rooms = map[string]struct {
	ours  []string
	never []string // import paths and all below them
	only  []string // import paths and all below them, besides the standard library; nil for any
	std   bool     // only the standard library besides
}{
	"internal/jsonfmt": {std: true},

	"internal/memory": {std: true},

	"internal/pgproc": {std: true},

	"internal/proof": {ours: []string{"internal/pgproc", "postgres"}},

	"internal/db": {ours: []string{"postgres"}},

	"postgres/internal/conn": {ours: []string{"postgres/internal/dsn", "postgres/internal/wire"}, only: []string{"github.com/jackc/pgx/v5", "github.com/jackc/pgerrcode"}},
	"postgres/internal/dsn":  {only: []string{"github.com/jackc/pgx/v5"}},
	"postgres/internal/wire": {only: []string{"github.com/jackc/pgx/v5"}},

	"postgres": {ours: []string{"internal/pgproc", "postgres/internal/conn", "postgres/internal/dsn", "postgres/internal/wire"}, never: []string{
		"net/http", "github.com/prometheus", "go.opentelemetry.io", "github.com/pressly/goose",
		"github.com/jackc/pgx/v5/stdlib",
	}},

	"postgres/migrate": {ours: []string{"postgres"}},

	"postgres/patroni": {std: true},

	"postgres/pgprom": {ours: []string{"postgres"}},

	"postgres/pgotel": {ours: []string{"postgres"}},

	"postgres/pgconsole": {ours: []string{"internal/console", "postgres", "postgres/migrate"}, std: true},

	"internal/rowfile": {ours: []string{"internal/jsonfmt"}, std: true},

	"internal/store": {ours: []string{"internal/db", "internal/jsonfmt", "internal/memory", "internal/rowfile", "postgres"}, never: []string{"net/http"}},

	"internal/api": {ours: []string{"internal/db", "internal/jsonfmt", "internal/memory", "internal/rowfile", "internal/store", "postgres"}, never: []string{"github.com/jackc/pgx"}},

	"internal/console": {ours: []string{"internal/proof", "postgres", "postgres/migrate"}, only: []string{"github.com/jackc/pgx/v5"}},

	"localpg": {std: true},

	"internal/faults": {std: true},

	"internal/localcluster": {std: true},

	"pgtest": {ours: []string{"internal/proof", "postgres", "postgres/migrate", "localpg"}},

	"internal/doctest": {std: true},

	"internal/storetest": {ours: []string{"internal/store", "internal/db", "postgres", "pgtest", root}},

	"cmd/sqlc-gen-quern": {ours: []string{"cmd/sqlc-gen-quern/internal/module", "internal/pgproc"}, std: true},

	"cmd/sqlc-gen-quern/internal/module": {std: true},

	"cmd/server": {ours: []string{"internal/api", "internal/console", "internal/db", "internal/proof", "internal/rowfile", "internal/store", "postgres", "postgres/migrate", "postgres/pgprom", "postgres/pgotel", "postgres/patroni", "localpg", root}},

	"cmd/cluster": {ours: []string{"internal/localcluster", "localpg"}, std: true},

	"cmd/demo": {std: true},
}

// modules are those besides the main one that use the library as other projects do: what
// each may import of ours. Its tests may import pgtest, too.
var modules = map[string][]string{
	"cmd/quern": {"internal/proof", "postgres", "postgres/migrate", "localpg"},

	"examples/bookshop": {"postgres", "postgres/migrate", "postgres/pgconsole"},
}

// testRooms are for tests alone: nothing but tests and each other may import them.
var testRooms = []string{"pgtest", "internal/doctest", "internal/storetest"}

// service are the rooms of the example service that the tests of the library must not use, so that it can
// be tested and moved without them.
var service = []string{root, "internal/db", "internal/store", "internal/storetest"}

func isLibrary(room string) bool {
	first, _, _ := strings.Cut(room, "/")
	return slices.Contains([]string{"postgres", "pgtest", "localpg"}, first) ||
		slices.Contains([]string{"cmd/sqlc-gen-quern", "internal/console", "internal/pgproc", "internal/proof"}, room)
}

// sourceFiles parses every Go file of the module that is not generated or a
// test's input.
func sourceFiles(t *testing.T, visit func(room, name string, f *ast.File, fset *token.FileSet)) {
	t.Helper()
	walkFiles(t, ".", visit)
}

// walkFiles is sourceFiles for the module in a folder.
func walkFiles(t *testing.T, root string, visit func(room, name string, f *ast.File, fset *token.FileSet)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, nested := os.Stat(filepath.Join(name, "go.mod"))
			if name != root && (nested == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err == nil {
			visit(filepath.ToSlash(filepath.Dir(name)), filepath.ToSlash(name), f, fset)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImports(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	sourceFiles(t, func(room, name string, f *ast.File, _ *token.FileSet) {
		if room == "." {
			return
		}
		rule, ok := rooms[room]
		if !ok {
			t.Errorf("%s: the room %s is not in the table: give it its rule", name, room)
			return
		}
		seen[room] = true
		test := strings.HasSuffix(name, "_test.go")
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			ours, ok := strings.CutPrefix(imported, module+"/")
			if imported == module {
				ours, ok = root, true
			}
			if ok {
				if test && isLibrary(room) && slices.Contains(service, ours) {
					t.Errorf("%s imports %s: the tests of the library use postgres/testdata", name, ours)
				}
				if !test && slices.Contains(testRooms, ours) && !slices.Contains(testRooms, room) {
					t.Errorf("%s imports %s, which is for tests alone", name, ours)
				}
				if !test && !slices.Contains(rule.ours, ours) {
					t.Errorf("%s imports %s: %s may import of ours only %v", name, ours, room, rule.ours)
				}
				continue
			}
			for _, never := range rule.never {
				if !test && (imported == never || strings.HasPrefix(imported, never+"/")) {
					t.Errorf("%s imports %s, which %s never does", name, imported, room)
				}
			}
			first, _, _ := strings.Cut(imported, "/")
			under := func(p string) bool { return imported == p || strings.HasPrefix(imported, p+"/") }
			if rule.only != nil && !test && strings.Contains(first, ".") && !slices.ContainsFunc(rule.only, under) {
				t.Errorf("%s imports %s: %s may import of others only %v", name, imported, room, rule.only)
			}
			if rule.std && !test && strings.Contains(first, ".") {
				t.Errorf("%s imports %s: %s needs nothing but the standard library", name, imported, room)
			}
		}
	})
	for room := range rooms {
		if !seen[room] {
			t.Errorf("the room %s of the table does not exist", room)
		}
	}
}

// TestModules holds the modules that use the library to its public rooms.
func TestModules(t *testing.T) {
	t.Parallel()
	for dir, may := range modules {
		files := 0
		walkFiles(t, dir, func(_, name string, f *ast.File, _ *token.FileSet) {
			files++
			for _, spec := range f.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				ours, ok := strings.CutPrefix(imported, module+"/")
				if !ok || ours == dir || strings.HasPrefix(ours, dir+"/") {
					continue
				}
				test := strings.HasSuffix(name, "_test.go") && slices.Contains([]string{"pgtest", "localpg"}, ours)
				if !test && !slices.Contains(may, ours) {
					t.Errorf("%s imports %s: %s may import of ours only %v", name, ours, dir, may)
				}
			}
		})
		if files == 0 {
			t.Errorf("the module %s of the table has no Go file", dir)
		}
	}
}

// TestImporterModules lists the modules that a program draws in with the runtime.
// Another one is a decision: each user of the library pays for it.
func TestImporterModules(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./postgres").Output()
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Compact(slices.Sorted(strings.FieldsSeq(string(out))))
	want := []string{
		"github.com/jackc/pgerrcode",     // names of SQLSTATEs: constants only
		"github.com/jackc/pgpassfile",    // pgx: ~/.pgpass
		"github.com/jackc/pgservicefile", // pgx: pg_service.conf
		"github.com/jackc/pgx/v5",        //
		"github.com/jackc/puddle/v2",     // pgxpool
		"golang.org/x/sync",              // puddle; the queue of a class of work
		"golang.org/x/text",              // pgx: SCRAM
		module,
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("an importer of the runtime draws in\n%q, want\n%q", got, want)
	}
}

// createTable matches the name of a table in a migration.
var createTable = regexp.MustCompile(`(?im)^\s*create table(?: if not exists)? (\w+)`)

// applicationStatement matches SQL that touches a table of the application: one
// of the migrations, except for the tables that postgres keeps itself.
// COPY is for sqlc too: it is :copyfrom.
func applicationStatement(t *testing.T) *regexp.Regexp {
	t.Helper()
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range createTable.FindAllStringSubmatch(string(text), -1) {
			if m[1] != "server_histories" && m[1] != "commit_markers" {
				tables = append(tables, m[1])
			}
		}
	}
	if !slices.Contains(tables, "users") {
		t.Fatalf("the tables of migrations/ are %v", tables)
	}
	return regexp.MustCompile(`(?is)\b(select\b.*\bfrom|join|(insert|merge)\s+into|update|delete\s+from|truncate(\s+table)?|copy|lock\s+table)\s+(only\s+)?` +
		`("?public"?\.)?"?(` + strings.Join(tables, "|") + `)\b`)
}

func TestStatementsStandInQueries(t *testing.T) {
	t.Parallel()
	statement := applicationStatement(t)
	sourceFiles(t, func(room, name string, f *ast.File, fset *token.FileSet) {
		if room == "internal/db" || strings.HasSuffix(name, "_test.go") {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if ok && lit.Kind == token.STRING && statement.MatchString(lit.Value) {
				t.Errorf("%s: a statement on a table of the application: it belongs in queries/", fset.Position(lit.Pos()))
			}
			return true
		})
	})
}

// TestNoSafeToRetry keeps out a function that says of a lost COMMIT that it
// was not applied: in 10 of 10 trials it had been.
func TestNoSafeToRetry(t *testing.T) {
	t.Parallel()
	sourceFiles(t, func(_, name string, f *ast.File, fset *token.FileSet) {
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "SafeToRetry" {
				t.Errorf("%s: SafeToRetry lies about a lost COMMIT", fset.Position(sel.Pos()))
			}
			return true
		})
	})
}

var (
	migrationName = regexp.MustCompile(`^\d{5}_[a-z0-9_]+\.sql$`)
	queryLine     = regexp.MustCompile(`(?m)^-- name: (\w+) :(\w+)$`)
	selectsStar   = regexp.MustCompile(`(?i)(select|returning)\s+(\w+\.)?\*`)
)

// TestSQLFiles holds the habits of queries/ and migrations/ that no tool checks.
func TestSQLFiles(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{".", "postgres/testdata"} {
		checkMigrationFiles(t, dir)
		checkQueryFiles(t, dir)
	}
}

func checkMigrationFiles(t *testing.T, dir string) {
	t.Helper()
	// `goose validate` takes each .sql and .go file for a migration.
	files, err := filepath.Glob(filepath.Join(dir, "migrations/*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("migrations: %v, %v", files, err)
	}
	for i, name := range files {
		base := path.Base(filepath.ToSlash(name))
		if number, _ := strconv.Atoi(base[:5]); !migrationName.MatchString(base) || number != i+1 {
			t.Errorf("%s: the %dth migration is named %05d_verb_object.sql", name, i+1, i+1)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"-- +goose Up\n", "-- +goose Down\n"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: no %q", name, want)
			}
		}
		if !strings.HasPrefix(string(text), "-- ") || strings.HasPrefix(string(text), "-- +goose") {
			t.Errorf("%s: the first lines tell an operator what it locks", name)
		}
		for n, line := range strings.Split(string(text), "\n") {
			if len(line) > 60_000 {
				t.Errorf("%s:%d: goose and sqlc drop what follows a line of 64 kB", name, n+1)
			}
		}
	}
}

func checkQueryFiles(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "queries/*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("queries: %v, %v", files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, query := range queryLine.FindAllStringSubmatchIndex(string(text), -1) {
			title := string(text[query[2]:query[3]])
			above := strings.TrimSpace(string(text[:query[0]]))
			if i := strings.LastIndex(above, "\n\n"); i >= 0 {
				above = above[i+2:]
			}
			if !strings.HasPrefix(above, "-- "+title+" ") {
				t.Errorf("%s: %s: its comment must be directly above and start with its name", name, title)
			}
			body := string(text[query[1]:])
			if i := strings.Index(body, ";"); i >= 0 {
				body = body[:i]
			}
			if selectsStar.MatchString(body) {
				t.Errorf("%s: %s: columns are named, never *", name, title)
			}
			// OFFSET 0 skips nothing. It keeps the planner from merging a subquery with its caller.
			if regexp.MustCompile(`(?i)\boffset\s+[^0\s]`).MatchString(body) {
				t.Errorf("%s: %s: pages go by keyset, never by OFFSET", name, title)
			}
		}
	}
}

// TestCoverageNamesTests keeps docs/coverage.md from naming tests that are gone.
func TestCoverageNamesTests(t *testing.T) {
	t.Parallel()
	exist := map[string]bool{}
	for _, dir := range []string{".", "cmd/quern"} {
		walkFiles(t, dir, func(_, name string, f *ast.File, _ *token.FileSet) {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && strings.HasSuffix(name, "_test.go") {
					exist[fn.Name.Name] = true
				}
			}
		})
	}
	// The tests with a browser have their own module.
	inBrowser, err := filepath.Glob("tools/browser/*_test.go")
	if err != nil || len(inBrowser) == 0 {
		t.Fatalf("tools/browser: %v, %v", inBrowser, err)
	}
	for _, name := range inBrowser {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			exist[m[1]] = true
		}
	}
	text, err := os.ReadFile("docs/coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9_]+|Fuzz[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) == 0 {
		t.Error("docs/coverage.md names no test")
	}
	for _, m := range named {
		if !exist[m[1]] {
			t.Errorf("docs/coverage.md names %s, which does not exist", m[1])
		}
	}
}
