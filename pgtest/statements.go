package pgtest

import (
	"io/fs"
	"testing"

	"quern/internal/proof"
	"quern/postgres"
)

// CheckStatements reports each statement of a registry that does not fit the schema. Such a
// statement cannot be prepared, its parameters or columns have other types or nullability than in
// the generated code, it writes although it is declared to only read, or its @plan does not hold.
// statements are those of [postgres.Config.Statements].
//
// It executes statements that only read, and rolls them back. With TEST_DATABASE_URL it needs a
// superuser.
func CheckStatements(t testing.TB, migrations fs.FS, statements []postgres.Statement) {
	t.Helper()
	problems, err := proof.Statements(t.Context(), URL(t, migrations), statements)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}
