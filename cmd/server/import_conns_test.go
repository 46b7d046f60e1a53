package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/internal/storetest"
)

// TestImport_TwoConnections locks the table, so that the chunks of an import that are stored at
// once all wait for it.
func TestImport_TwoConnections(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var text strings.Builder
	text.WriteString("username,email\n")
	const rows = 30_000 // three chunks
	for i := range rows {
		fmt.Fprintf(&text, "user%d,e\n", i)
	}
	file := filepath.Join(dir, "users.csv")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	url := storetest.NewURL(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	count := func(sql string) (n int) {
		if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE users IN EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	p := command(t, dir, []string{"DATABASE_URL=" + url}, "import", "users", file)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two chunks are copied at once", func() bool {
		return count("SELECT count(DISTINCT pid) FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted") == 2
	})
	if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := count("SELECT count(*) FROM users"); n != rows {
		t.Errorf("%d users, want %d", n, rows)
	}
}
