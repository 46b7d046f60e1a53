package store_test

import (
	"slices"
	"testing"

	"quern"
	"quern/internal/db"
	"quern/pgtest"
	"quern/postgres"
)

// TestStatements checks every statement of the registry on the schema that the migrations
// create: its parameters and results, its @plan, and that it only reads if it is declared to
// only read.
func TestStatements(t *testing.T) {
	t.Parallel()
	pgtest.CheckStatements(t, quern.Migrations(), slices.Concat(db.Statements, postgres.Config{}.OwnStatements()))
}
