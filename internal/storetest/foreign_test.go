package storetest

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { Main(m) }

// A server for tests is told from one that lets in everybody, or too little.
func TestCheckForeign(t *testing.T) {
	t.Parallel()
	url := NewEmptyURL(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if shared.c.server != nil && !asksForPassword(t.Context(), pool) {
		t.Error("a server with scram-sha-256 is taken for one without passwords")
	}
	if err := checkForeign(t.Context(), pool); err != nil {
		t.Errorf("a superuser is refused: %v", err)
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.RuntimeParams["role"] = "pg_read_all_data"
	plain, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := checkForeign(t.Context(), plain); err == nil {
		t.Error("a role that is no superuser is accepted")
	}
}
