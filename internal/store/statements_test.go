package store_test

import (
	"testing"

	"quern/internal/db"
	"quern/internal/proof"
	"quern/internal/storetest"
)

// TestStatements holds every statement of the registry to the schema that the
// migrations make: what it takes and returns, whether it only reads where it is
// declared to, and its @plan.
func TestStatements(t *testing.T) {
	t.Parallel()
	problems, err := proof.Statements(t.Context(), storetest.New(t).URL, db.Statements)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}
