package doctest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/pgtest"
	"quern/postgres"
)

// TestAdopt follows docs/adopt.md with a new project beside this module.
func TestAdopt(t *testing.T) {
	t.Parallel()
	sqlc := os.Getenv("SQLC")
	if sqlc == "" {
		t.Skip("SQLC does not name a sqlc to run")
	}
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skipf("the page uses psql: %v", err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	project := filepath.Join(dir, "library")
	bin := filepath.Join(dir, "bin")
	for _, d := range []string{project, bin} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// As a clone beside the project, and an installed sqlc, would be.
	for link, target := range map[string]string{filepath.Join(dir, "quern"): root, filepath.Join(bin, "sqlc"): sqlc} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	Run(t, Page{
		File: filepath.Join(root, "docs/adopt.md"),
		Dir:  project,
		Env: []string{
			"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"),
			"DATABASE_URL=" + pgtest.EmptyURL(t),
		},
	})
}

// TestAdopt_Tables holds the SQL of docs/adopt.md to the migration of the runtime's tables.
func TestAdopt_Tables(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/adopt.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := parse(string(page))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(blocks, func(b block) bool { return b.file == "quern.sql" })
	if i < 0 {
		t.Fatal("docs/adopt.md has no quern.sql")
	}
	_, up, _ := strings.Cut(postgres.Config{}.TablesMigration(), "-- +goose Up\n")
	up, _, _ = strings.Cut(up, "\n-- +goose Down")
	// The names need no quotes.
	if diff := cmp.Diff(strings.ReplaceAll(up, `"`, ""), blocks[i].text+"\n"); diff != "" {
		t.Errorf("quern.sql is not what Config.TablesMigration returns (-want +got):\n%s", diff)
	}
}
