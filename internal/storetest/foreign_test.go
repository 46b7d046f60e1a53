package storetest

import (
	"net/url"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/pgtest"
)

func TestMain(m *testing.M) { Main(m) }

// checkForeign must accept a usable server and refuse one that checks no
// passwords or whose role lacks privileges.
func TestCheckForeign(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("TEST_DATABASE_URL") == "" && !asksForPassword(t.Context(), config) {
		t.Error("a server with scram-sha-256 is reported as one without passwords")
	}
	if err := checkForeign(t.Context(), address); err != nil {
		t.Errorf("a superuser is refused: %v", err)
	}
	plain, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := plain.Query()
	query.Set("options", "-c role=pg_read_all_data")
	plain.RawQuery = query.Encode()
	if err := checkForeign(t.Context(), plain.String()); err == nil {
		t.Error("a role that is no superuser is accepted")
	}
}
