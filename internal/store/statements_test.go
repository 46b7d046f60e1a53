package store_test

import (
	"slices"
	"testing"

	"quern/internal/db"
	"quern/internal/proof"
	"quern/internal/storetest"
	"quern/postgres"
)

// TestStatements holds every statement of the registry to the schema that the
// migrations make: what it takes and returns, whether it only reads where it is
// declared to, and its @plan.
func TestStatements(t *testing.T) {
	t.Parallel()
	problems, err := proof.Statements(t.Context(), storetest.New(t).URL, slices.Concat(db.Statements, postgres.Config{}.OwnStatements()))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}
