package pgtest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// SQLFiles returns the migrations of a project that does not use goose. They are the files that match
// the patterns of [filepath.Glob], in the order of the patterns and of their names. Each is sent as
// one message, like golang-migrate does, so its statements are one transaction:
//
//	pgtest.Connect(t, pgtest.SQLFiles(t, "../migrations/*.up.sql"), postgres.Config{})
//
// If a pattern matches no file, or a goose file, the test fails. For goose files, pass os.DirFS of
// their directory instead.
func SQLFiles(t testing.TB, patterns ...string) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	for _, pattern := range patterns {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == 0 {
			t.Fatalf("pgtest: no file matches %s: the test runs in the directory of its package", pattern)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "-- +goose") {
				t.Fatalf("pgtest: %s is a goose file: pass os.DirFS(%q) instead", name, filepath.Dir(name))
			}
			files[fmt.Sprintf("%05d_%s", len(files)+1, filepath.Base(name))] = &fstest.MapFile{Data: asGoose(text)}
		}
	}
	return files
}

// asGoose returns a goose file with a single statement. It has no goose transaction, because that
// would refuse CREATE INDEX CONCURRENTLY, which is allowed if it is alone in a file.
func asGoose(sql []byte) []byte {
	return fmt.Appendf(nil, "-- +goose NO TRANSACTION\n-- +goose Up\n-- +goose StatementBegin\n%s\n-- +goose StatementEnd\n", sql)
}
