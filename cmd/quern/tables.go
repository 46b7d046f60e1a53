package main

import (
	"fmt"
	"regexp"

	"quern/postgres"
)

type tablesCommand struct {
	Schema string `placeholder:"NAME" help:"The schema of the tables, which must exist. Config.MarkerTable and Config.HistoryTable must then name it. Defaults to the search path's first."`
}

// Help is what `quern help tables` adds.
func (tablesCommand) Help() string {
	return `Redirect the output into the next migration of the project, such as
quern tables > migrations/00001_create_runtime_tables.sql`
}

// schemaName is a name that needs no quotes, which is what postgres.Config accepts.
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// Run prints the migration.
func (c tablesCommand) Run(a *app) error {
	var config postgres.Config
	if c.Schema != "" {
		if !schemaName.MatchString(c.Schema) {
			return usageError{fmt.Errorf("--schema %q: not a plain name: use lower-case letters, digits and underscores", c.Schema)}
		}
		config.MarkerTable = c.Schema + ".commit_markers"
		config.HistoryTable = c.Schema + ".server_histories"
	}
	_, err := fmt.Fprint(a.stdout, config.TablesMigration())
	return err
}
