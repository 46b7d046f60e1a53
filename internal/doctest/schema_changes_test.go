package doctest

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSchemaChanges follows the worked example of docs/schema-changes.md with a new
// project beside this module.
func TestSchemaChanges(t *testing.T) {
	t.Parallel()
	beside(t, "docs/schema-changes.md", "notes")
}

// beside runs a page in the folder of a new project beside a clone of this module, with
// an installed sqlc.
func beside(t *testing.T, page, name string, env ...string) {
	t.Helper()
	sqlc := os.Getenv("SQLC")
	if sqlc == "" {
		t.Skip("SQLC does not name a sqlc to run")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	project, bin := filepath.Join(dir, name), filepath.Join(dir, "bin")
	for _, d := range []string{project, bin} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{filepath.Join(dir, "quern"): root, filepath.Join(bin, "sqlc"): sqlc} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	path := "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")
	Run(t, Page{File: filepath.Join(root, page), Dir: project, Env: append(env, path)})
}
