package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/internal/storetest"
)

// ready returns the status and the body of /readyz.
func (p *process) ready(t *testing.T) (int, string) {
	t.Helper()
	resp, err := http.Get(p.base + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestServe_NewerSchema serves on a schema that a newer program has migrated.
func TestServe_NewerSchema(t *testing.T) {
	t.Parallel()
	address := storetest.NewURL(t)
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := serve(t, t.TempDir(), "DATABASE_URL="+address)
	if log := p.stderr.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "the schema is newer than this program") || !strings.Contains(log, "unknown=[99999]") {
		t.Errorf("want one warning, of a newer schema and its version: %s", log)
	}
	if status, body := p.ready(t); status != 200 {
		t.Errorf("/readyz: %d %s", status, body)
	}
	// A current schema is no warning.
	p = serve(t, t.TempDir(), "DATABASE_URL="+storetest.NewURL(t))
	if log := p.stderr.String(); strings.Contains(log, "newer") {
		t.Errorf("warned of a current schema: %s", log)
	}
}

// TestServe_ReadOnly serves on a database that rejects writes.
func TestServe_ReadOnly(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), "DATABASE_URL="+storetest.NewURL(t)+"&default_transaction_read_only=on")
	if status, body := p.ready(t); status != 503 || !strings.Contains(body, "default_transaction_read_only is on") {
		t.Errorf("/readyz: %d %s, want 503 and the setting", status, body)
	}
}
