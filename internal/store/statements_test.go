package store_test

import (
	"slices"
	"testing"

	"quern"
	"quern/internal/db"
	"quern/pgtest"
	"quern/postgres"
)

// TestStatements holds every statement of the registry to the schema that the
// migrations make: its parameters and results, whether it only reads if it is
// declared to, and its @plan.
func TestStatements(t *testing.T) {
	t.Parallel()
	pgtest.CheckStatements(t, quern.Migrations(), slices.Concat(db.Statements, postgres.Config{}.OwnStatements()))
}
