package main

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

// TestCopyFrom covers names that the golden package does not have: a schema,
// quotes, and a parameter with another name than its column.
func TestCopyFrom(t *testing.T) {
	t.Parallel()
	params := append(param("user_name", "text"), param("age", "int4")...)
	params[0].Column.OriginalName = "name" // @user_name for the column name
	q := create(" Loads.").cmd(":copyfrom").takes(params).text(`INSERT INTO app."us""ers" (name, age) VALUES ($1, $2)`)
	q.InsertIntoTable = &identifier{Schema: "app", Name: `us"ers`}
	files, err := generateMade(made(q))
	if err != nil {
		t.Fatal(err)
	}
	want := "`copy \"app\".\"us\"\"ers\" ( \"name\", \"age\" ) from stdin binary;`"
	if got := string(files[0].Contents); !strings.Contains(got, want) || !strings.Contains(got, "postgres.CopyFrom") {
		t.Errorf("no %s in:\n%s", want, got)
	}
	if len(files) != 3 {
		t.Fatalf("%d files, want only registry.go, copy.go and statements.json", len(files))
	}
	for _, want := range []string{"func (r *iteratorFor" + q.Name + ") Pointers(", "&r.rows[0].UserName,", "&r.rows[0].Age,"} {
		if got := string(files[1].Contents); strings.Count(got, want) != 1 {
			t.Errorf("no %s in:\n%s", want, got)
		}
	}
}

// TestCopyFrom_OneColumn checks a :copyfrom whose rows are plain values.
func TestCopyFrom_OneColumn(t *testing.T) {
	t.Parallel()
	q := create(" Loads.").cmd(":copyfrom").takes(param("name", "text")).text(`INSERT INTO users (name) VALUES ($1)`)
	files, err := generateMade(made(q))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(files[1].Contents), "&r.rows[0],"; !strings.Contains(got, want) {
		t.Errorf("no %s in:\n%s", want, got)
	}
}

// TestClass checks that the registry has the class of statements of each kind.
func TestClass(t *testing.T) {
	t.Parallel()
	files, err := generateMade(made(one(), many(" @class bulk", " @stream"), create(" @class reports").cmd(":copyfrom")))
	if err != nil {
		t.Fatal(err)
	}
	// gofmt aligns the values with those of other fields.
	got := strings.Join(strings.Fields(string(files[0].Contents)), " ")
	for _, want := range []string{`Class: "bulk",`, `Class: "reports",`} {
		if strings.Count(got, want) != 1 {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if n := strings.Count(got, "Class:"); n != 2 {
		t.Errorf("%d statements have a class, want 2", n)
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		250 * time.Millisecond:  "250 * time.Millisecond",
		90 * time.Second:        "90 * time.Second",
		2 * time.Minute:         "2 * time.Minute",
		48 * time.Hour:          "48 * time.Hour",
		1500 * time.Microsecond: "1500 * time.Microsecond",
		time.Second + 1:         "1000000001 * time.Nanosecond",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%v) = %s, want %s", d, got, want)
		}
	}
}

// TestParseComments checks that the documentation keeps its paragraphs.
func TestParseComments(t *testing.T) {
	t.Parallel()
	doc, p, wrong := parseComments([]string{
		" Get gets.", "", " @route replica", "", "", "   indented", " @sqlc-vet-disable", " @retry", "", " About @batch.", "", " @stream",
	})
	if want := "Get gets.\n\n  indented\n\nAbout @batch."; doc != want {
		t.Errorf("doc = %q, want %q", doc, want)
	}
	if want := (policy{route: "replica", retry: true, stream: true}); p != want || wrong != nil {
		t.Errorf("policy = %+v, %v, want %+v", p, wrong, want)
	}
}

// TestBadRequest expects an error and no standard output.
func TestBadRequest(t *testing.T) {
	t.Parallel()
	options := func(s string) string {
		return `{"plugin_options":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"}`
	}
	for name, tt := range map[string]struct{ request, want string }{
		"NotJSON":       {"\x0a\x05", "sqlc.yaml must say `format: json` for this plugin"},
		"UnknownOption": {options(`{"gotypes":{}}`), `unknown field "gotypes": use runtime, package, go_types and models`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(t.TempDir(), strings.NewReader(tt.request), &stdout, &stderr)
			if code != 1 || stdout.Len() > 0 || !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, stdout.String(), stderr.String(), tt.want)
			}
		})
	}
}
