package store_test

import (
	"log/slog"
	"testing"

	"quern"
	"quern/pgtest"
	"quern/postgres/migrate"
)

// Each migration can be undone, and applied again after that.
func TestMigrations_DownAndUpAgain(t *testing.T) {
	t.Parallel()
	m, err := migrate.New(migrate.Config{URL: pgtest.EmptyURL(t), FS: quern.Migrations(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for range 2 {
		if _, err := m.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.To(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
}
