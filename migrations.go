// Package quern embeds the history of the schema. The directory migrations has
// goose's files alone, so that the goose command reads it.
package quern

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql
var files embed.FS

// Sums are the checksums of the migrations, by which an edited one is found.
//
//go:embed migrations.sum
var Sums []byte

// Migrations returns the migrations, at the root of the file system.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the name is valid
	}
	return sub
}
