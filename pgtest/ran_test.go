package pgtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quern/postgres"
)

// The names of successful statements are appended to the file, with the nullable columns
// that were NULL.
func TestStatementNames(t *testing.T) {
	t.Parallel()
	statements := []postgres.Statement{
		{Name: "CountNotes", SQL: "SELECT count(*) FROM notes"}, {Name: "Wrong", SQL: "SELECT 1 / 0"}, {Name: "Idle", SQL: "SELECT 3"},
	}
	const nullable = "SELECT nullif(text, 'first') AS text, 'x', text FROM notes"
	statements = append(statements, postgres.Statement{Name: "ListNotes", SQL: nullable, Columns: []postgres.Column{{Name: "text"}, {Name: "x", NotNull: true}, {Name: "kept"}}})
	var names statementNames
	router := Connect(t, notes, postgres.Config{Statements: statements, Observers: []postgres.Observer{&names}})
	for _, s := range statements[:2] {
		_, _ = router.Exec(t.Context(), s.SQL)
	}
	var texts [3]*string
	if err := router.QueryRow(t.Context(), nullable).Scan(&texts[0], &texts[1], &texts[2]); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ran")
	for range 2 {
		if err := names.write(file); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if want := strings.Repeat("CountNotes\nListNotes\nListNotes text\n", 2); err != nil || string(text) != want {
		t.Errorf("the file has %q, %v; want %q", text, err, want)
	}
	if err := names.write(""); err != nil {
		t.Error(err)
	}
}
