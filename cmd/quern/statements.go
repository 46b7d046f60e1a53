package main

import (
	"encoding/json"
	"fmt"
	"os"

	"quern/postgres"
)

// readStatements reads a statements.json, which the plugin writes beside the generated
// code.
func readStatements(file string) ([]postgres.Statement, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var read []struct {
		Name       string
		Kind       postgres.Kind
		File       string
		Doc        string
		SQL        string
		Parameters []postgres.Param
	}
	if err := json.Unmarshal(text, &read); err != nil {
		return nil, fmt.Errorf("%s: not a statements.json: %w: run `sqlc generate`", file, err)
	}
	var list []postgres.Statement
	for _, s := range read {
		list = append(list, postgres.Statement{Name: s.Name, Kind: s.Kind, File: s.File, Doc: s.Doc, SQL: s.SQL, Params: s.Parameters})
	}
	return list, nil
}
