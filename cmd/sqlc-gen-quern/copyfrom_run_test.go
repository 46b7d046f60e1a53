package main

import (
	"os"
	"strings"
	"testing"

	"quern/postgres/testdata"
)

const (
	itemsSQL = "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL);\n"

	itemQueries = `-- @queue
-- name: CreateItem :one
INSERT INTO items (id, name) VALUES (@id, @name) RETURNING id, name;

-- @queue
-- name: RenameItem :exec
UPDATE items SET name = @name WHERE id = @id;

-- @stream
-- name: ListItems :many
SELECT id, name FROM items ORDER BY id;
`
	copyQuery = `
-- name: CopyItems :copyfrom
INSERT INTO items (id, name) VALUES (@id, @name);
`

	// itemProgram calls the methods that the plugin adds to Queries. COPY exists only
	// with a :copyfrom.
	itemProgram = `package main

import (
	"os"
	"context"
	"fmt"

	"IMPORT"
	"quern/postgres"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Println("error:", err)
	}
}

func run(ctx context.Context) error {
	router, err := postgres.Connect(ctx, postgres.Config{URL: os.Getenv("DATABASE_URL"), Statements: db.Statements, MaxConns: 4})
	if err != nil {
		return err
	}
	defer router.Close()
	q := db.New(router)
	rename := func(q *db.Queries) error {
		return q.QueueWithCommit(ctx, func(b *postgres.Batch) error {
			q.QueueRenameItem(b, db.RenameItemParams{ID: 1, Name: "renamed"})
			return nil
		})
	}
	err = q.InTx(ctx, func(q *db.Queries) error {
		if _, err := q.CreateItem(ctx, db.CreateItemParams{ID: 1, Name: "one"}); err != nil {
			return err
		}
		_ = q.InTx(ctx, func(q *db.Queries) error {
			_, err := q.CreateItem(ctx, db.CreateItemParams{ID: 9, Name: "undone"})
			return fmt.Errorf("undo: %w", err)
		})
		return rename(q)
	})
	if err != nil {
		return err
	}
	err = q.Pipeline(ctx, postgres.TxOptions{NoMarker: true}, func(b *postgres.Batch) error {
		two := q.QueueCreateItem(b, db.CreateItemParams{ID: 2, Name: "two"})
		q.QueueCreateItem(b, db.CreateItemParams{ID: 3, Name: "three"})
		if _, err := two.Get(); err == nil {
			return fmt.Errorf("an item before it is created")
		}
		return nil
	})
	if err != nil {
		return err
	}
	// COPY
	if err := rename(q); err != nil {
		return err
	}
	for item, err := range q.ListItemsStream(ctx) {
		if err != nil {
			return err
		}
		fmt.Println(item.ID, item.Name)
	}
	// Three methods are not enough to begin a transaction.
	var plain db.DBTX = router.Pool()
	fmt.Println(db.New(plain).InTx(ctx, func(*db.Queries) error { return nil }))
	return nil
}
`
	copyCall = `if _, err := q.CopyItems(ctx, []db.CopyItemsParams{{ID: 4, Name: "four"}}); err != nil {
		return err
	}`
)

// TestCopyFromOrNot runs the code of a project without a :copyfrom, whose DBTX has
// three methods, and of a project with a :copyfrom.
func TestCopyFromOrNot(t *testing.T) {
	t.Parallel()
	const rows = "1 renamed\n2 two\n3 three\n"
	const refused = "begin: a *pgxpool.Pool cannot begin a transaction: use a Router, or the DBTX that InTx passes to its function\n"
	for name, tt := range map[string]struct{ queries, program, want string }{
		"Without": {itemQueries, itemProgram, rows + refused},
		"With":    {itemQueries + copyQuery, strings.Replace(itemProgram, "// COPY", copyCall, 1), rows + "4 four\n" + refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, map[string]string{"migrations/1.sql": itemsSQL, "queries/item.sql": tt.queries})
			p.generate()
			p.write("run/main.go", strings.Replace(tt.program, "IMPORT", p.importPath("db"), 1))
			d := testdata.New(t)
			d.Exec(t, itemsSQL)
			cmd := p.goTool("run", "run")
			cmd.Env = append(os.Environ(), "DATABASE_URL="+d.URL)
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != tt.want {
				t.Errorf("%v, printed\n%s\nwant\n%s", err, out, tt.want)
			}
		})
	}
}
