package dsn

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestDriverParameters_ArePgxs keeps the list free of parameters that pgx does not have.
// All of them refuse the value "?".
func TestDriverParameters_ArePgxs(t *testing.T) {
	t.Parallel()
	for name := range driverParameters {
		if _, err := pgxpool.ParseConfig("postgres://h/d?" + name + "=?"); err == nil {
			t.Errorf("pgx does not know %s any more: take it off the list", name)
		}
	}
}
