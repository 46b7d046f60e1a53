package main

import (
	"fmt"

	"quern/postgres/migrate"
)

type migrationCommand struct {
	Name string `arg:"" help:"What it does, the verb first, such as add_posts_index."`
	Dir  string `default:"migrations" placeholder:"FOLDER" help:"Where it is written."`
}

// Run writes a file.
func (c migrationCommand) Run(a *app) error {
	path, err := migrate.Create(c.Dir, c.Name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, path)
	return err
}
