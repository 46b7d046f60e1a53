package main

import (
	"fmt"
	gotoken "go/token"
	"go/types"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goWords returns the names that Go, sqlc's templates and the plugin's templates use:
// keywords, predeclared names, packages and variables.
func goWords() []string {
	all := strings.Fields("context pgx pgconn pgtype postgres time iter fmt driver json netip " +
		"db b q ctx err row rows i items result arg fn fns tx opts on e s src ns value r _ init main dbtx new queries statements querier name")
	for t := gotoken.BREAK; t <= gotoken.VAR; t++ {
		all = append(all, t.String())
	}
	all = append(all, types.Universe.Names()...)
	slices.Sort(all)
	return slices.Compact(all)
}

// named are queries in which something has one of the words as its name.
var named = map[string]func(word string, n int) (name, query string){
	"One": func(word string, _ int) (string, string) {
		return upperFirst(word), " :one\nSELECT id, name FROM items WHERE id = @id;"
	},
	"Many": func(word string, _ int) (string, string) {
		return upperFirst(word), " :many\nSELECT created_at FROM items WHERE id > @id AND name < @name;"
	},
	"Exec": func(word string, _ int) (string, string) {
		return upperFirst(word), " :exec\nDELETE FROM items WHERE mood = @mood;"
	},
	"ExecRowsLower": func(word string, _ int) (string, string) {
		return word, " :execrows\nUPDATE items SET name = @name WHERE id = @id;"
	},
	"QueuedOne": func(word string, _ int) (string, string) {
		return upperFirst(word), " :one\n-- @queue\nSELECT id, name FROM items WHERE id = @id;"
	},
	"OfQueuedMany": func(word string, n int) (string, string) {
		return fmt.Sprint("OfQueuedMany", n), " :many\n-- @queue\nSELECT id, name FROM items WHERE name = sqlc.narg('" + word + "');"
	},
	"OfQueuedExec": func(word string, n int) (string, string) {
		return fmt.Sprint("OfQueuedExec", n), " :exec\n-- @queue\nDELETE FROM items WHERE name = sqlc.arg('" + word + "');"
	},
	"OfOne": func(word string, n int) (string, string) {
		return fmt.Sprint("OfOne", n), " :one\nSELECT name FROM items WHERE name = sqlc.arg('" + word + "');"
	},
	"OfOneStruct": func(word string, n int) (string, string) {
		return fmt.Sprint("OfOneStruct", n), " :one\nSELECT id, name FROM items WHERE name = sqlc.arg('" + word + "');"
	},
	"OfOneTime": func(word string, n int) (string, string) {
		return fmt.Sprint("OfOneTime", n), " :one\nSELECT created_at FROM items WHERE id = sqlc.arg('" + word + "');"
	},
	"OfMany": func(word string, n int) (string, string) {
		return fmt.Sprint("OfMany", n), " :many\nSELECT id FROM items WHERE name = sqlc.arg('" + word + "');"
	},
	"OfManyStruct": func(word string, n int) (string, string) {
		return fmt.Sprint("OfManyStruct", n), " :many\nSELECT id, name FROM items WHERE name = sqlc.narg('" + word + "');"
	},
	"OfExec": func(word string, n int) (string, string) {
		return fmt.Sprint("OfExec", n), " :exec\nDELETE FROM items WHERE name = sqlc.arg('" + word + "');"
	},
	"OfExecRows": func(word string, n int) (string, string) {
		return fmt.Sprint("OfExecRows", n), " :execrows\nDELETE FROM items WHERE name = sqlc.arg('" + word + "');"
	},
	"OfStruct": func(word string, n int) (string, string) {
		return fmt.Sprint("OfStruct", n), " :one\nSELECT id AS \"" + word + "\", name FROM items WHERE name = sqlc.arg('" + word + "') AND id = @n;"
	},
	"ColumnOne": func(word string, n int) (string, string) {
		return fmt.Sprint("ColumnOne", n), " :one\nSELECT name AS \"" + word + "\" FROM items WHERE id = sqlc.arg('" + word + "');"
	},
	"ColumnMany": func(word string, n int) (string, string) {
		return fmt.Sprint("ColumnMany", n), " :many\nSELECT name AS \"" + word + "\" FROM items;"
	},
}

const namesSQL = `CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, mood mood NOT NULL, created_at timestamptz NOT NULL);
`

var refusedQuery = regexp.MustCompile(`(?m)^queries/names.sql: (\w+): `)

// TestSQLCNames uses each word as the name of a query, a parameter and a column, for each
// kind. Either the plugin must refuse it or the package must compile.
func TestSQLCNames(t *testing.T) {
	t.Parallel()
	for kind, write := range named {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			queries, of := map[string]string{}, map[string]string{}
			for n, word := range goWords() {
				name, text := write(word, n)
				queries[name], of[name] = "-- name: "+name+text+"\n", word
			}
			text := func() string {
				var b strings.Builder
				for _, name := range slices.Sorted(maps.Keys(queries)) {
					b.WriteString(queries[name])
				}
				return b.String()
			}
			p := newProject(t, map[string]string{"migrations/1.sql": namesSQL, "queries/names.sql": text()})
			out, _ := p.sqlc("generate")
			var refused []string
			for _, match := range refusedQuery.FindAllStringSubmatch(out, -1) {
				refused = append(refused, of[match[1]])
				delete(queries, match[1])
			}
			slices.Sort(refused)
			if diff := cmp.Diff(strings.Fields(refusedNames[kind]), slices.Compact(refused)); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			p.write("queries/names.sql", text())
			p.generate()
			p.mustBuild()
		})
	}
}

// constantNames are the words that no query may have as its name, because the query's
// constant would get that name.
const constantNames = "_ append bool break byte case chan const context continue ctx default defer driver else error fallthrough false fmt for func go goto if import init int64 interface map nil package pgconn pgtype pgx postgres q range return select string struct switch true type var"

// refusedNames are the words that the plugin refuses. For each of them, sqlc alone
// generates code that does not compile, except "postgres" and "append".
var refusedNames = map[string]string{
	"ColumnMany":    "_ append items nil rows",
	"ColumnOne":     "_ ctx err row string",
	"Exec":          constantNames,
	"ExecRowsLower": sorted(constantNames + " arg db"),
	"Many":          sorted(constantNames + " arg"),
	"OfExec":        "_ ctx err",
	"OfExecRows":    "_ ctx err nil result",
	"OfMany":        "_ append ctx err int64 items nil rows",
	"OfManyStruct":  "_ append ctx err items nil rows",
	"OfOne":         "_ ctx err row string",
	"OfOneStruct":   "_ ctx err i row",
	"OfOneTime":     "_ ctx err row",
	"OfStruct":      "_",
	"One":           constantNames,
	"OfQueuedExec":  "_ ctx err",
	"OfQueuedMany":  "_ append ctx err items nil rows",
	"QueuedOne":     sorted(constantNames + " b"),
}

func sorted(words string) string {
	all := strings.Fields(words)
	slices.Sort(all)
	return strings.Join(all, " ")
}
