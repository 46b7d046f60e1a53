//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/google/uuid"

	"quern/postgres"
)

// bookshopStatements returns the SQL of the bookshop's statements by name. They are read from
// its file, because the bookshop is another module.
func bookshopStatements(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../examples/bookshop/db/statements.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []struct{ Name, SQL string }
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	statements := map[string]string{}
	for _, s := range list {
		statements[s.Name] = s.SQL
	}
	return statements
}

// TestCitus_Bookshop cuts the transactions of a database whose rows are distributed by the
// first column of each key. Each takes effect once. An order is repeated with its id until it
// is answered, and needs no marker. A review has no key, so its marker, which is in a reference
// table, resolves a lost COMMIT.
func TestCitus_Bookshop(t *testing.T) {
	c := newCitus(t, bookshopOnCitus)
	sql := bookshopStatements(t)
	shop, book := uuid.New(), uuid.New()
	router, _ := connect(t, postgres.Config{URL: c.coordinator.url.String(), MaxConns: 4})
	if _, err := router.Exec(t.Context(), sql["PutBook"], shop, book, "978", "Quern", []string{}, "10.00", nil); err != nil {
		t.Fatal(err)
	}
	t.Run("Order", func(t *testing.T) {
		c.cutEach(t, citusWrite{moments: onePhase, keyed: true, write: func(ctx context.Context, name string) error {
			id := uuid.NewSHA1(shop, []byte(name))
			err := postgres.InTx(ctx, router, postgres.TxOptions{NoMarker: true}, func(tx postgres.DBTX) error {
				if _, err := tx.Exec(ctx, sql["CreateOrder"], shop, id, name); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, sql["AddLine"], id, 1, shop, book)
				return err
			})
			if errors.Is(err, postgres.ErrUnique) {
				return nil // an earlier attempt has stored it
			}
			return err
		}, stored: `
			SELECT ARRAY[count(*), count(DISTINCT l.order_id)]
			FROM sales.orders AS o
			LEFT JOIN sales.lines AS l ON l.shop_id = o.shop_id AND l.order_id = o.id
			WHERE starts_with(o.customer, $1)`})
	})
	t.Run("Review", func(t *testing.T) {
		c.cutEach(t, citusWrite{moments: twoPhases, write: func(ctx context.Context, name string) error {
			return postgres.InTx(ctx, router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				_, err := tx.Exec(ctx, sql["CreateReview"], shop, book, 5, name)
				return err
			})
		}, stored: "SELECT ARRAY[count(*), count(DISTINCT text)] FROM catalog.reviews WHERE starts_with(text, $1)"})
	})
}

// TestCitus_BookshopTests runs the bookshop's own tests, and with them each of its statements, on
// Citus.
func TestCitus_BookshopTests(t *testing.T) {
	c := newCitus(t, bookshopOnCitus)
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", ".")
	cmd.Dir = "../../examples/bookshop"
	cmd.Env = append(os.Environ(), "BOOKSHOP_TEST_URL="+c.coordinator.url.String())
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
