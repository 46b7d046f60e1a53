package doctest

import (
	"os"
	"os/exec"
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
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skipf("the page uses psql: %v", err)
	}
	beside(t, "docs/adopt.md", "library", "DATABASE_URL="+pgtest.EmptyURL(t))
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
