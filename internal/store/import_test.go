package store_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/internal/store"
	"quern/internal/storetest"
)

// imported runs an import that must not fail, and returns its rejects too.
func imported(t *testing.T, d *storetest.DB, what, input string, o store.ImportOptions) (store.ImportResult, []string) {
	t.Helper()
	var rejects []string
	o.Rejected = func(r store.Reject) error {
		rejects = append(rejects, strings.TrimSuffix(string(r.AppendNDJSON(nil)), "\n"))
		return nil
	}
	act := d.Store.ImportUsers
	if what == "posts" {
		act = d.Store.ImportPosts
	}
	res, err := act(t.Context(), strings.NewReader(input), o)
	if err != nil {
		t.Fatal(err)
	}
	return res, rejects
}

func TestImportUsers(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	res, rejects := imported(t, d, "users", "\ufeffage,username,email,tags\r\n"+
		"31,ann,ann@example.com,\"[\"\"a\"\"]\"\r\n"+
		"\n"+
		",\"bob\nby\",\"b,ob\",\n"+
		"151,cy,c,\n"+
		"x,dee,d,\n"+
		"3,\"eve,e,\n"+
		"3,fay,f,\n"+
		"3,fay,g,\n", store.ImportOptions{})
	if diff := cmp.Diff(store.ImportResult{Rows: 7, Inserted: 3, Rejected: 4, Line: 10}, res); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		`{"_reject":{"line":6,"field":"age","reason":"is not between 0 and 150"},"age":151,"username":"cy","email":"c","tags":null}`,
		`{"_reject":{"line":7,"field":"age","reason":"is not an integer"},"age":"x","username":"dee","email":"d","tags":null}`,
		`{"_reject":{"line":8,"field":"","reason":"has a quote that is not closed"},"_raw":"3,\"eve,e,"}`,
		`{"_reject":{"line":10,"field":"username","reason":"is on line 9 already"},"age":3,"username":"fay","email":"g","tags":null}`,
	}, rejects); diff != "" {
		t.Error(diff)
	}
	if n := d.Count(t, "SELECT count(*) FROM users WHERE username = E'bob\nby' AND email = 'b,ob' AND age IS NULL AND tags = '[]'"); n != 1 {
		t.Error("bob is not as given")
	}
}
