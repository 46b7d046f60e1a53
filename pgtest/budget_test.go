package pgtest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"quern/postgres"
)

// failures is a testing.TB that records its errors.
type failures struct {
	testing.TB
	errors []string
}

func (f *failures) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func TestBudget(t *testing.T) {
	t.Parallel()
	const count = "SELECT count(*) FROM notes"
	router := Connect(t, notes, postgres.Config{Statements: []postgres.Statement{{Name: "CountNotes", SQL: count, Reads: true}}})
	for statements, want := range map[int]string{0: "", 2: "", 3: "3 statements were executed, and the budget is 2: CountNotes 3"} {
		f := &failures{TB: t}
		Budget(f, 2, func(ctx context.Context) {
			err := postgres.InTx(ctx, router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				for range statements {
					if _, err := tx.Exec(ctx, count); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		if got := strings.Join(f.errors, "\n"); got != want {
			t.Errorf("%d statements: %q, want %q", statements, got, want)
		}
	}
}
