package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/internal/store"
	"quern/internal/storetest"
)

// eachFormat imports rows of texts as CSV and as NDJSON. Numbers and lists are unquoted, and
// all other values are in quotes. It returns the stored rows and the reasons of the rejects.
func eachFormat(t *testing.T, what string, columns []string, rows [][]string, check func(d *storetest.DB, res store.ImportResult, reasons []string)) {
	t.Helper()
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	for _, format := range []string{"csv", "ndjson"} {
		var b strings.Builder
		if format == "csv" {
			b.WriteString(strings.Join(columns, ",") + "\n")
		}
		for _, row := range rows {
			for i, text := range row {
				sep := ","
				if i == 0 {
					sep = ""
				}
				switch column := columns[i]; {
				case format == "csv" && text == "":
					b.WriteString(sep)
				case format == "csv":
					b.WriteString(sep + quote(text))
				case text == "":
				default:
					if i == 0 {
						sep = "{"
					}
					switch column {
					case "id", "user_id", "age", "version", "tags":
					default:
						text = `"` + text + `"`
					}
					fmt.Fprintf(&b, `%s%q:%s`, sep, column, text)
				}
			}
			if format == "ndjson" {
				b.WriteByte('}')
			}
			b.WriteByte('\n')
		}
		d := storetest.New(t)
		d.Exec(t, "INSERT INTO users (username, email) VALUES ('author', 'x')")
		var reasons []string
		o := store.ImportOptions{Rejected: func(r store.Reject) error {
			reasons = append(reasons, fmt.Sprintf("%s %s", r.Field, r.Reason))
			return nil
		}}
		act := d.Store.ImportUsers
		if what == "posts" {
			act = d.Store.ImportPosts
		}
		res, err := act(t.Context(), strings.NewReader(b.String()), o)
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		check(d, res, reasons)
	}
}

// TestImport_Integers checks that every integer may be written with a fraction of zeros or an
// exponent.
func TestImport_Integers(t *testing.T) {
	t.Parallel()
	rows := [][]string{
		{"a", "x", "30.0", "1000.0", "7.0"},
		{"b", "x", "3e1", "1.001e3", "7E0"},
		{"c", "x", "0.0", "4503599627370001.0", "70e-1"},
		{"d", "x", "30.5", "2000", "1"},
		{"e", "x", "30", "1e30", "1"},
		{"f", "x", "30", "2001", "2147483648.0"},
		{"g", "x", "1e400", "2002", "1"},
	}
	eachFormat(t, "users", []string{"username", "email", "age", "id", "version"}, rows, func(d *storetest.DB, res store.ImportResult, reasons []string) {
		if res.Inserted != 3 {
			t.Errorf("%+v", res)
		}
		if n := d.Count(t, `SELECT count(*) FROM users WHERE version = 7 AND (username, id, age) IN
			(('a', 1000, 30), ('b', 1001, 30), ('c', 4503599627370001, 0))`); n != 3 {
			t.Errorf("%d users are as given, want 3", n)
		}
		if diff := cmp.Diff([]string{
			"age is not an integer", fmt.Sprintf("id is not between 1 and %d", store.MaxID), "version is not between 1 and 2147483647", "age is not between 0 and 150",
		}, reasons); diff != "" {
			t.Error(diff)
		}
	})
	rows = [][]string{{"1.0", "t", "x", "5e2", "3.0"}, {"1.5", "t", "x", "501", "1"}}
	eachFormat(t, "posts", []string{"user_id", "title", "content", "id", "version"}, rows, func(d *storetest.DB, _ store.ImportResult, reasons []string) {
		if n := d.Count(t, "SELECT count(*) FROM posts WHERE id = 500 AND version = 3 AND user_id = 1"); n != 1 || len(reasons) != 1 || reasons[0] != "user_id is not an integer" {
			t.Errorf("%d posts are as given, want 1; %q", n, reasons)
		}
	})
}

// TestImport_OtherWriters imports rows as csvformat -U 1, mlr, pandas, DuckDB and
// csvjson write them: every field in quotes, and a list as a text that holds JSON.
func TestImport_OtherWriters(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	for input, want := range map[string]string{
		`"id","username","email","age","tags","created_at","version"` + "\n" + `"","a","x","","","",""` + "\n":                "a x NULL []",
		`"username","email","age","tags"` + "\n" + `"b","x","31.0","[""t"", ""u""]"` + "\n":                                   `b x 31 ["t", "u"]`,
		`{"username":"c","email":"x","age":31.0,"tags":"[\"t\", \"u\"]","created_at":"2024-04-20 04:01:34.663+05:30"}` + "\n": `c x 31 ["t", "u"]`,
		`{"username":"d","email":"x","age":null,"tags":"[]"}` + "\n":                                                          `d x NULL []`,
	} {
		d.Exec(t, "DELETE FROM users")
		res, rejects := imported(t, d, "users", input, store.ImportOptions{})
		n := d.Count(t, `SELECT count(*) FROM users WHERE concat_ws(' ', username, email, COALESCE(age::text, 'NULL'), tags) = $1 AND version = 1`, want)
		if n != 1 {
			t.Errorf("%s: %+v, %q, want %s", input, res, rejects, want)
		}
	}
	for input, want := range map[string]string{
		"username,email\n\"\",x\n":                    "username is empty",
		"username,email,tags\na,x,t\n":                "tags is not a JSON array of strings",
		`{"username":"a","email":"x","tags":"t"}`:     `tags is not a list of strings`,
		`{"username":"a","email":"x","tags":"[1]"}`:   `tags is not a list of strings`,
		`{"username":"a","email":"x","age":""}`:       "age is not an integer",
		`{"username":"a","email":"x","age":"30"}`:     "age is not an integer",
		"username,email,age\na,x,True\n":              "age is not an integer",
		"username,email,created_at\na,x,2026-01-01\n": "created_at is not a time",
	} {
		var got string
		_, err := d.Store.ImportUsers(t.Context(), strings.NewReader(input), store.ImportOptions{Rejected: func(r store.Reject) error {
			got = r.Field + " " + r.Reason
			return nil
		}})
		if err == nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, %v, want %q", input, got, err, want)
		}
	}
}
