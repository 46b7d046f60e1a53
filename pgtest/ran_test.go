package pgtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quern/postgres"
)

// Only the names of successful statements are appended to the file.
func TestStatementNames(t *testing.T) {
	t.Parallel()
	statements := []postgres.Statement{
		{Name: "CountNotes", SQL: "SELECT count(*) FROM notes"}, {Name: "Wrong", SQL: "SELECT 1 / 0"}, {Name: "Idle", SQL: "SELECT 3"},
	}
	var names statementNames
	router := Connect(t, notes, postgres.Config{Statements: statements, Observers: []postgres.Observer{&names}})
	for _, s := range statements[:2] {
		_, _ = router.Exec(t.Context(), s.SQL)
	}
	file := filepath.Join(t.TempDir(), "ran")
	for range 2 {
		if err := names.write(file); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if got := strings.Fields(string(text)); err != nil || len(got) != 2 || got[0] != "CountNotes" || got[1] != "CountNotes" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if err := names.write(""); err != nil {
		t.Error(err)
	}
}
