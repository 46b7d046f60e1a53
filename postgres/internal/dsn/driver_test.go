package dsn

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestDriverParameters_ArePgxs checks that pgx has all parameters of the list. Each of
// them refuses the value "?".
func TestDriverParameters_ArePgxs(t *testing.T) {
	t.Parallel()
	for name := range driverParameters {
		if _, err := pgxpool.ParseConfig("postgres://h/d?" + name + "=?"); err == nil {
			t.Errorf("pgx no longer has %s: remove it from the list", name)
		}
	}
}
