package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"quern/cmd/sqlc-gen-quern/testdata/full/db"
	"quern/postgres"
)

// TestStatementsJSON compares statements.json with the registry beside it, whose SQL is
// sqlc's own constants.
func TestStatementsJSON(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/full/db/statements.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []statementJSON
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	var got []postgres.Statement
	for _, s := range list {
		out := postgres.Statement{
			Name: s.Name, Kind: postgres.Kind(s.Kind), File: s.File, Doc: s.Doc, SQL: s.SQL,
			Route: postgres.Route(s.Policy.Route), Retry: s.Policy.Retry, Plan: text(s.Policy.Plan), Batch: text(s.Policy.Batch),
			Class: s.Policy.Class, Stream: s.Policy.Stream, Queue: s.Policy.Queue, Reads: s.Reads, DerivedFrom: text(s.DerivedFrom),
		}
		if s.Policy.Timeout != nil {
			if out.Timeout, err = time.ParseDuration(*s.Policy.Timeout); err != nil {
				t.Error(err)
			}
		}
		for _, p := range s.Parameters {
			out.Params = append(out.Params, postgres.Param(p))
		}
		for _, c := range s.Columns {
			out.Columns = append(out.Columns, postgres.Column(c))
		}
		got = append(got, out)
	}
	want := slices.Clone(db.Statements)
	for i := range want {
		want[i].Types, want[i].Key = nil, nil // only the runtime uses them
		if want[i].Route == "" {
			want[i].Route = postgres.Primary
		}
		if want[i].Class == "" {
			want[i].Class = postgres.DefaultClass
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b postgres.Statement) bool { return sameStatement(a, b) })); diff != "" {
		t.Errorf("registry and statements.json (-want +got):\n%s", diff)
	}
	for _, empty := range []string{`"parameters": []`, `"columns": []`, `"timeout": null`, `"derivedFrom": null`} {
		if !strings.Contains(string(b), empty) {
			t.Errorf("no statement has %s: a list must never be null, and an absent value must be null", empty)
		}
	}
}

func sameStatement(a, b postgres.Statement) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// TestUnknownOptions has options of a later sqlc, such as one that puts the models into
// another package.
func TestUnknownOptions(t *testing.T) {
	t.Parallel()
	req := made(one())
	g, err := newGolang(settings{
		"package": "db", "out": "db", "sql_package": "pgx/v5", "output_models_package": "models", "emit_future": "true", "emit_json_tags": "true",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.file, req.golang = "sqlc.yaml", g
	_, err = generateMade(req)
	const why = ": this version of the plugin does not know the option: remove it, or use a plugin that supports this version of sqlc"
	want := "sqlc.yaml: gen.go.emit_future" + why + "\nsqlc.yaml: gen.go.output_models_package" + why
	if err == nil || err.Error() != want {
		t.Errorf("err = %v, want\n%s", err, want)
	}
}

// TestRuntimeOption sets another runtime than that of the plugin's module.
func TestRuntimeOption(t *testing.T) {
	t.Parallel()
	for runtime, want := range map[string]string{
		"":                           `	"quern/postgres"`,
		"example.com/fork/postgres":  `	"example.com/fork/postgres"`,
		"example.com/fork/engine/v3": `	postgres "example.com/fork/engine/v3"`,
	} {
		req := made(one(" @timeout 1s", " @queue"), many(" @stream"))
		req.options.Runtime = runtime
		files, err := generateMade(req)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f.Name, ".go") && strings.Count(string(f.Contents), want+"\n") != 1 {
				t.Errorf("runtime %q: %s has no %s:\n%s", runtime, f.Name, want, f.Contents)
			}
		}
	}
	req := made(one())
	req.options.Runtime = "../postgres and more"
	if _, err := generateMade(req); err == nil || !strings.Contains(err.Error(), `sqlc.yaml: options.runtime: "../postgres and more" is not an import path`) {
		t.Errorf("err = %v", err)
	}
}
