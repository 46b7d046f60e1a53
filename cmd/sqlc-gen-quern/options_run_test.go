package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// typesSQL has a column of each type, and tables with irregular singular forms.
const typesSQL = `CREATE SCHEMA app;
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE app.state AS ENUM ('on', 'off');
CREATE TYPE pair AS (a integer, b integer);
CREATE DOMAIN grade AS integer;
CREATE TABLE people (id bigserial PRIMARY KEY, name varchar(9) NOT NULL, "userId" integer, born date, api_url text);
CREATE TABLE status (id smallint PRIMARY KEY, code char(2) NOT NULL);
CREATE TABLE app.addresses (id uuid PRIMARY KEY, state app.state, moods mood[] NOT NULL);
CREATE TABLE "Mixed" (id integer, "2fa" boolean);
CREATE TABLE types (
	c1 smallint, c2 integer, c3 bigint, c4 real, c5 double precision, c6 numeric, c7 boolean, c8 text, c9 varchar, c10 char(3), c11 citext, c12 name,
	c13 json, c14 jsonb, c15 bytea, c16 uuid, c17 date, c18 time, c19 timetz, c20 timestamp, c21 timestamptz, c22 interval, c23 inet, c24 cidr,
	c25 macaddr, c26 bit(3), c27 varbit, c28 oid, c29 money, c30 point, c31 daterange, c32 int4range, c33 int8range, c34 numrange, c35 tsrange,
	c36 tstzrange, c37 datemultirange, c38 tsvector, c39 xml, c40 mood, c41 app.state, c42 pair, c43 grade, c44 mood[], c45 text[], c46 integer[][],
	c47 bigserial, c48 timestamptz[], c49 uuid[], c50 pg_lsn, c51 jsonpath, c52 macaddr8, c53 box, c54 xid
);
`

// typeQueries streams every table, and every type as the only column and as the only
// parameter, both nullable and not null.
func typeQueries() string {
	var b strings.Builder
	for i := range 54 {
		fmt.Fprintf(&b, "-- @stream\n-- name: ListC%[1]d :many\nSELECT c%[1]d FROM types WHERE c%[1]d = @c%[1]d;\n", i+1)
		fmt.Fprintf(&b, "-- @stream\n-- name: ListNarg%[1]d :many\nSELECT coalesce(c%[1]d, c%[1]d) AS x FROM types WHERE c%[1]d = sqlc.narg('x');\n", i+1)
	}
	for i, table := range []string{"people", "status", "app.addresses", `"Mixed"`, "types"} {
		fmt.Fprintf(&b, "-- @stream\n-- name: ListTable%d :many\nSELECT * FROM %s LIMIT @n;\n", i, table)
	}
	return strings.ReplaceAll(b.String(), "-- @stream", "-- @stream\n-- @queue") + `-- @queue
-- name: GetTable :one
SELECT * FROM people WHERE id = @id;
-- @queue
-- name: GetSome :one
SELECT id, name FROM people WHERE id = @id AND born > @b;
-- @queue
-- name: GetOne :one
SELECT c44 FROM types WHERE c40 = @b;
-- @queue
-- name: Rename :exec
UPDATE people SET name = @name WHERE id = @id;
-- @queue
-- name: Forget :execrows
DELETE FROM people WHERE born = @row::date;
-- @stream
-- name: ListNothing :many
SELECT id FROM people;
-- @stream
-- @timeout 1s
-- name: ListPairs :many
SELECT id, name FROM people WHERE id = @user_id AND born > @born AND "userId" = @kind::integer AND api_url = @api_url;
-- @stream
-- name: ListCounts :many
SELECT count(*), max(born) FROM people WHERE id = sqlc.arg('select')::bigint AND api_url = @postgres::text AND name = @name;
-- name: CopyPeople :copyfrom
INSERT INTO people (name, born) VALUES (@name, @born);
-- name: EmbedPeople :many
SELECT sqlc.embed(people), sqlc.embed(status) FROM people, status;
`
}

// TestSQLCOptions generates code with each option that changes the code that the plugin
// adds to. The plugin's code must compile with it.
func TestSQLCOptions(t *testing.T) {
	t.Parallel()
	const product = `        emit_pointers_for_null_types: true
        emit_result_struct_pointers: true
        emit_empty_slices: true
        emit_enum_valid_method: true
        omit_unused_structs: true
        overrides: &overrides
          - {db_type: timestamptz, go_type: time.Time}
          - db_type: "timestamptz"
            nullable: true
            go_type: {import: time, type: Time, pointer: true}
          - {db_type: uuid, go_type: "encoding/json.RawMessage"}
          - {db_type: date, go_type: {import: "github.com/jackc/pgx/v5/pgtype", package: pgkinds, type: Date}, nullable: true}
          - {column: "types.c4*", go_type: {slice: true, type: string}}
          - {column: 'app.addr*.state', go_type: 'string'}
          - {column: people.name, go_struct_tag: 'x:"y"'}
`
	option := func(lines ...string) string { return "        " + strings.Join(lines, "\n        ") + "\n" }
	for name, options := range map[string]string{
		"None":           "",
		"Product":        product,
		"Limit0":         product + option("query_parameter_limit: 0"),
		"Limit5":         product + option("query_parameter_limit: 5"),
		"Exported":       option("emit_exported_queries: true"),
		"Interface":      option("emit_interface: yes", "output_querier_file_name: all.go"),
		"ParamPointers":  option("emit_params_struct_pointers: true", "emit_result_struct_pointers: true"),
		"NullPointers":   option("emit_pointers_for_null_types: true", "emit_pointers_for_null_enum_types: false"),
		"EnumPointers":   option("emit_pointers_for_null_enum_types: true", "emit_all_enum_values: true"),
		"OmitUnused":     option("omit_unused_structs: true", "emit_all_enum_values: true"),
		"ExactNames":     option("emit_exact_table_names: true"),
		"NotSingular":    option("inflection_exclude_table_names: [people, app_addresses]"),
		"Rename":         option("rename:", "  people: Folk", "  person: Human", "  user_id: Uzer", "  mood: Feeling", "  c40: Ceeforty", "  types: Kinds", "  type: Kind"),
		"Initialisms":    option("initialisms: [id, url, api]"),
		"NoInitialisms":  option("initialisms: []"),
		"Tags":           option("emit_json_tags: true", "emit_db_tags: true", "json_tags_case_style: camel", "json_tags_id_uppercase: true"),
		"WrapErrors":     option("wrap_errors: true"),
		"SQLComments":    option("emit_sql_as_comment: true"),
		"Files":          option("output_db_file_name: a.go", "output_models_file_name: b", "output_copyfrom_file_name: c.go", "output_files_suffix: _gen.go"),
		"NoVersion":      option("omit_sqlc_version: true", "emit_prepared_queries: true"),
		"BuildTags":      option("build_tags: linux || darwin || windows"),
		"GlobalOverride": option("rename: {people: A}") + "overrides:\n  go:\n    rename: {person: Someone}\n    overrides:\n      - {db_type: timestamptz, go_type: time.Time, engine: postgresql}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, map[string]string{
				"sqlc.yaml":         config + options,
				"migrations/1.sql":  typesSQL,
				"queries/types.sql": typeQueries(),
			})
			p.generate()
			p.mustBuild()
		})
	}
}

// TestSQLCRefusedOptions has configurations for which the code of sqlc and that of the plugin
// do not form one package.
func TestSQLCRefusedOptions(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ from, to, want string }{
		"DBArgument": {"out: db\n        sql", "out: db\n        emit_methods_with_db_argument: true\n        sql", "sqlc.yaml: gen.go.emit_methods_with_db_argument: with it, Queries has no database on which InTx could begin a transaction: remove it"},
		"Driver":     {"sql_package: pgx/v5", "sql_package: database/sql", `sqlc.yaml: gen.go.sql_package: "database/sql": the runtime supports only pgx: write pgx/v5`},
		"NoDriver":   {"sql_package: pgx/v5", "", `sqlc.yaml: gen.go.sql_package: "": the runtime supports only pgx: write pgx/v5`},
		"Out":        {"out: db\n        sql", "out: other\n        sql", "sqlc.yaml: gen.go.out: other, but the plugin's out is db: use the same directory, because both write one package"},
		"Package":    {"out: db\n    gen", "out: db\n        options: {package: other}\n    gen", "sqlc.yaml: gen.go.package: db, but the plugin's package is other: remove the plugin's"},
		"NoGo":       {"    gen:\n      go:\n        package: db\n        out: db\n        sql_package: pgx/v5\n", "", "sqlc.yaml: gen.go.out: this entry under sql generates no Go package that the plugin could complete: add gen.go with package, out and sql_package"},
		"File":       {"out: db\n        sql", "out: db\n        output_db_file_name: registry.go\n        sql", "sqlc.yaml: gen.go.output_*_file_name: registry.go is written by the plugin: rename the file"},
		"Suffix":     {"out: db\n        sql", "out: db\n        output_files_suffix: _test.go\n        sql", "queries/item.sql: sqlc writes its queries to item.sql_test.go, which Go excludes from the package on all or most systems because of its name: rename the file"},
		"Tag":        {"version: \"2\"", "version: !!str \"2\"", "sqlc.yaml: line 1: \"!!str \\\"2\\\"\" is not supported: write it differently"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, map[string]string{
				"sqlc.yaml": strings.Replace(config, tt.from, tt.to, 1), "migrations/1.sql": itemsSQL, "queries/item.sql": itemQueries,
			})
			if out, err := p.sqlc("generate"); err == nil || !strings.Contains(out, "\n"+tt.want+"\n") {
				t.Errorf("%v: sqlc printed\n%s\nwant\n%s", err, out, tt.want)
			}
		})
	}
}

// TestSQLCFileNames has query files whose generated code Go would exclude from the
// package.
func TestSQLCFileNames(t *testing.T) {
	t.Parallel()
	files := []string{"user_windows.sql", "user_arm64.sql", "user_linux_amd64.sql", "_user.sql", "user_js.sql"}
	p := newProject(t, map[string]string{"migrations/1.sql": itemsSQL, "queries/user_test.sql": itemQueries, "queries/windows.sql": copyQuery})
	for i, name := range files {
		p.write(filepath.Join("queries", name), fmt.Sprintf("-- name: Count%d :one\nSELECT count(*) FROM items;\n", i))
	}
	out, err := p.sqlc("generate")
	for _, name := range files {
		if want := "queries/" + name + ": sqlc writes its queries to " + name + ".go, which Go excludes from the package"; err == nil || !strings.Contains(out, want) {
			t.Errorf("%v: %s is not refused:\n%s", err, name, out)
		}
		if err := os.Remove(filepath.Join(p.dir, "queries", name)); err != nil {
			t.Fatal(err)
		}
	}
	p.generate()
	p.mustBuild()
}
