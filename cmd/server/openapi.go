package main

import (
	"fmt"

	"quern/internal/api"
)

type openapiCommand struct{}

// Run prints the document that /openapi.json has. It needs no database.
func (openapiCommand) Run(a *app) error {
	text, err := api.Document(version())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", text)
	return err
}
