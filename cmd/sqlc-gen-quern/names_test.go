package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSingular has the results of sqlc's own inflection for these tables.
func TestSingular(t *testing.T) {
	t.Parallel()
	for plural, want := range map[string]string{
		"users": "user", "commit_markers": "commit_marker", "idempotency_keys": "idempotency_key",
		"categories": "category", "import_checkpoints": "import_checkpoint", "ties": "ty",
		"people": "person", "user": "user", "statuses": "status", "news": "news", "buses": "bus", "matrices": "matrix", "movies": "movie",
		"shelves": "shelf", "boxes": "box", "addresses": "address", "data": "datum", "menus": "menu", "heroes": "hero", "series": "series",
		"PEOPLE": "PERSON", "Categories": "Category", "CATEGORIES": "CATEGORY", "salesmen": "salesman", "meta": "meta", "calories": "calorie",
		"status": "status", "is": "i", "gas": "ga", "Waves": "wave", "analyses": "analysis", "lives": "life", "quizzes": "quiz", "media": "medium",
	} {
		if got := singular(plural); got != want {
			t.Errorf("singular(%q) = %q, want %q", plural, got, want)
		}
	}
}

func TestGoName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"id": "ID", "user_id": "UserID", "created_at": "CreatedAt", "idle": "Idle", "url": "Url",
		"2fa": "_2fa", "a-b": "AB", "übung": "Übung", "camelCase": "CamelCase", "_": "",
	} {
		if got := made().goName(name); got != want {
			t.Errorf("goName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestLowerFirst(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"GetUser": "getUser", "URLs": "uRLs", "Ünique": "ünique", "get": "get"} {
		if got := lowerFirst(name); got != want {
			t.Errorf("lowerFirst(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestParamName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"id": "id", "user_id": "userID", "ID": "id", "created_at": "createdAt", "": "dollar_1", "type": "type", "a_b_id_c": "aBIDC",
	} {
		if got := made().paramName(param(name, "text")[0]); got != want {
			t.Errorf("paramName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	named := col("id", "int8")
	named.IsNamedParam = true
	var got []string
	for _, f := range made().fields([]column{col("id", "int8"), col("id", "int8"), col("", "text"), col("ID", "text"), named}) {
		got = append(got, f.name)
	}
	if diff := cmp.Diff([]string{"ID", "ID_2", "Column3", "ID_3", "ID"}, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestParseGoType(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]goType{
		"string":                               {name: "string"},
		"[]string":                             {name: "[]string"},
		"time.Time":                            {name: "time.Time", path: "time"},
		"encoding/json.RawMessage":             {name: "json.RawMessage", path: "encoding/json"},
		"*github.com/jackc/pgx/v5/pgtype.Date": {name: "*pgtype.Date", path: "github.com/jackc/pgx/v5/pgtype"},
		"example.org/money/v2.Amount":          {name: "money.Amount", path: "example.org/money/v2"},
	} {
		if diff := cmp.Diff(want, parseGoType(s), cmp.AllowUnexported(goType{})); diff != "" {
			t.Errorf("parseGoType(%q) (-want +got):\n%s", s, diff)
		}
	}
}

func TestSQLType(t *testing.T) {
	t.Parallel()
	for internal, want := range map[string]string{
		"int8": "bigint", "pg_catalog.int4": "integer", "bigserial": "bigint", "bool": "boolean",
		"float8": "double precision", "pg_catalog.varchar": "varchar", "pg_catalog.bpchar": "char",
		"timestamptz": "timestamptz", "jsonb": "jsonb", "task_status": "task_status",
		"public.task_status": "task_status", "billing.state": "billing.state", "int8[]": "bigint[]",
	} {
		if got := col("x", internal).sqlType(); got != want {
			t.Errorf("sqlType of %s = %q, want %q", internal, got, want)
		}
	}
	matrix := column{IsArray: true, ArrayDims: 2, Type: identifier{Schema: "pg_catalog", Name: "int2"}}
	if got := matrix.sqlType(); got != "smallint[][]" {
		t.Errorf("sqlType of a matrix = %q", got)
	}
}

// TestModel follows sqlc. A row is a table's model only if it has all columns
// of the table, in its order and with its types.
func TestModel(t *testing.T) {
	t.Parallel()
	public, app := identifier{Name: "users"}, identifier{Schema: "app", Name: "users"}
	of := func(table identifier, columns ...column) []column {
		for i := range columns {
			columns[i].Table = &table
		}
		return columns
	}
	id, name := col("id", "int8"), col("name", "text")
	req := made()
	req.Catalog.Schemas = []schema{
		{Name: "public", Tables: []table{{Rel: public, Columns: of(public, id, name)}}},
		{Name: "app", Tables: []table{{Rel: app, Columns: of(app, id, name)}}},
	}
	for name, tt := range map[string]struct {
		columns []column
		want    string
	}{
		"Same":        {of(public, col("id", "bigint"), name), "User"},
		"NamedSchema": {of(identifier{Schema: "public", Name: "users"}, id, name), "User"},
		"OtherSchema": {of(app, id, name), "AppUser"},
		"Fewer":       {of(public, id), ""},
		"OtherOrder":  {of(public, name, id), ""},
		"OtherType":   {of(public, col("id", "int4"), name), ""},
		"OtherName":   {of(public, id, col("title", "text")), ""},
		"OtherTable":  {of(identifier{Name: "posts"}, id, name), ""},
		"MayBeNull":   {of(public, id, nullable(name)), ""},
		"NoTable":     {[]column{id, name}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := req.modelOf(tt.columns); got != tt.want {
				t.Errorf("model = %q, want %q", got, tt.want)
			}
		})
	}
}
