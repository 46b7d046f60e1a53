package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// several lists query paths in several places.
const several = "queries: [queries, more/*/*.sql, '[o]ne.sql', last/last.sql]"

// TestSQLCFiles checks that the plugin reads the same files and the same directives as
// sqlc.
func TestSQLCFiles(t *testing.T) {
	t.Parallel()
	count := func(name, comments string) string {
		return comments + "-- name: " + name + " :one\nSELECT count(*) FROM items;"
	}
	p := newProject(t, map[string]string{
		"sqlc.yaml":            strings.Replace(config, "queries: queries", several, 1),
		"migrations/1.sql":     itemsSQL,
		"queries/a.sql":        count("A", "-- @retry\n") + " -- the end of A\n\n" + count("B", "/* @retry */\n"),
		"queries/crlf.sql":     strings.ReplaceAll(count("C", "--@retry\n"), "\n", "\r\n"),
		"queries/.hidden.sql":  "-- @retry",
		"queries/d.down.sql":   "-- @retry",
		"queries/sub/none.sql": "-- @retry",
		"queries/notes.txt":    "-- @retry",
		"more/x/a.sql":         count("D", "\n  -- @retry\n"),
		"more/y/e.sql":         count("E", "/* E counts. */\n-- @retry\n"),
		"one.sql":              "-- name: F :one\n-- @retry\nSELECT count(*) FROM items;",
		"last/last.sql":        "/* name: G :one */\n-- @retry\nSELECT count(*) FROM items;",
	})
	p.generate()
	registry, err := os.ReadFile(filepath.Join(p.dir, "db/registry.go"))
	if err != nil || strings.Count(string(registry), "Retry: true") != 7 && strings.Count(string(registry), "Retry:    true") != 7 {
		t.Errorf("%v: not 7 statements with Retry:\n%s", err, registry)
	}

	p.write("more/y/e.sql", count("E", "")+" -- @retry")
	p.write("last/last.sql", count("G", "-- @retri\n"))
	p.write("queries/crlf.sql", strings.ReplaceAll(count("C", "/*\n * @retry\n */\n"), "\n", "\r\n"))
	out, err := p.sqlc("generate")
	want := "# package registry\n" +
		"error generating code: process: error running command \n" +
		"queries/crlf.sql:2: @retry is in a block comment of several lines, which sqlc does not collect: write -- @retry\n" +
		"more/y/e.sql:2: @retry is after the semicolon of E, so sqlc does not assign it to that query: move it above -- name: E\n" +
		"last/last.sql: G: unknown directive @retri (did you mean @retry?): use one of @batch, @class, @plan, @queue, @retry, @route, @stream, @timeout\n\n"
	if diff := cmp.Diff(want, out); err == nil || diff != "" {
		t.Errorf("%v: sqlc printed (-want +got):\n%s", err, diff)
	}
}

// TestSQLCElsewhere starts sqlc outside the directory of sqlc.yaml, where there are no
// files or those of another project.
func TestSQLCElsewhere(t *testing.T) {
	t.Parallel()
	const other = "queries: other"
	for name, tt := range map[string]struct {
		here map[string]string
		want []string // each before the hint
	}{
		"Nothing":      {nil, []string{"no sqlc.yaml found: "}},
		"OtherConfig":  {map[string]string{"sqlc.yaml": strings.Replace(config, "queries: queries", other, 1)}, []string{"sqlc.yaml: no entry under sql has the plugin registry with the queries [queries]: "}},
		"NoQueries":    {map[string]string{"sqlc.yaml": config}, []string{"sqlc.yaml: queries: stat queries: no such file or directory: "}},
		"OtherQueries": {map[string]string{"sqlc.yaml": config, "queries/item.sql": copyQuery}, []string{"queries/item.sql:2: sqlc did not send the query CopyItems: ", "item.sql: RenameItem: sqlc sent this query, but no query file has it: "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, map[string]string{"inner/migrations/1.sql": itemsSQL, "inner/queries/item.sql": itemQueries})
			p.write("inner/sqlc.yaml", strings.Replace(config, "./plugin", filepath.Join(p.dir, "plugin"), 1))
			if err := os.Remove(filepath.Join(p.dir, "sqlc.yaml")); err != nil {
				t.Fatal(err)
			}
			for name, text := range tt.here {
				p.write(name, text)
			}
			out, err := p.sqlc("generate", "-f", "inner/sqlc.yaml")
			for _, want := range tt.want {
				if err == nil || !strings.Contains(out, want+whereSQLCRuns+"\n") {
					t.Errorf("%v: no %q in\n%s", err, want, out)
				}
			}
		})
	}
}

// TestSQLCLost has statements for which sqlc generates methods that lack their parameters
// or columns.
func TestSQLCLost(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{"migrations/1.sql": itemsSQL, "queries/lost.sql": `
-- name: Merge :exec
MERGE INTO items USING (SELECT 1 AS id) AS s ON s.id = items.id WHEN MATCHED THEN UPDATE SET name = @name;
-- name: MergeNumber :exec
MERGE INTO items USING (SELECT 1 AS id) AS s ON s.id = items.id WHEN MATCHED THEN UPDATE SET name = $1;
-- name: MergeAll :exec
MERGE INTO items USING (SELECT 1 AS id) AS s ON s.id = items.id WHEN MATCHED THEN DELETE;
-- name: Show :one
SHOW search_path;
-- name: Explain :many
EXPLAIN SELECT id FROM items WHERE id = @id;
-- name: Values :many
VALUES (1, @name::text);
-- name: Star :many
SELECT * FROM (VALUES (1, 'a')) AS v (x, y);
-- name: Object :one
SELECT json_object('a': @a)::text AS object;
-- name: CopyTwice :copyfrom
INSERT INTO items (id, name) VALUES (@id, @id);
-- name: CopyName :copyfrom
INSERT INTO items (id) VALUES (@name);
`})
	out, err := p.sqlc("generate")
	var refused []string
	for line := range strings.Lines(out) {
		if text, ok := strings.CutPrefix(line, "queries/lost.sql: "); ok {
			name, _, _ := strings.Cut(text, ":")
			refused = append(refused, name)
		}
	}
	want := []string{"Merge", "MergeNumber", "Show", "Explain", "Values", "Star", "Object", "CopyTwice", "CopyName"}
	if diff := cmp.Diff(want, refused); err == nil || diff != "" {
		t.Errorf("%v: refused (-want +got):\n%s\n%s", err, diff, out)
	}
}
