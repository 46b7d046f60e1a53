package migrate_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"testing/fstest"

	"quern/pgtest"
	"quern/postgres/migrate"
)

// books are the migrations of a schema. A project embeds its directory of migrations and passes
// the result of fs.Sub, whose root has the files.
var books = fstest.MapFS{
	"00001_create_books.sql": {Data: []byte("-- +goose Up\nCREATE TABLE books (id bigint);\n-- +goose Down\nDROP TABLE books;\n")},
	"00002_add_title.sql":    {Data: []byte("-- +goose Up\nALTER TABLE books ADD title text;\n-- +goose Down\nALTER TABLE books DROP title;\n")},
}

func ExampleMigrator() {
	ctx := context.Background()
	url, drop, err := pgtest.Create(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer drop()

	m, err := migrate.New(migrate.Config{URL: url, FS: books, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	applied, err := m.Up(ctx) // safe in several processes at once
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range applied {
		fmt.Println(a.Direction, a.File)
	}
	undone, err := m.Down(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(undone[0].Direction, undone[0].File)
	status, err := m.Status(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range status {
		fmt.Println(s.Version, s.Applied)
	}
	// Output:
	// up 00001_create_books.sql
	// up 00002_add_title.sql
	// down 00002_add_title.sql
	// 1 true
	// 2 false
}
