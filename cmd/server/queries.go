package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

type queriesCommand struct {
	JSON bool `help:"Print all properties of each statement, as JSON."`
}

// Run prints the registry. It needs no database.
func (c queriesCommand) Run(a *app) error {
	if c.JSON {
		return printQueriesJSON(a, db.Statements)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tKIND\tFILE\tPARAMETERS\tPOLICY")
	for _, s := range db.Statements {
		var params []string
		for _, p := range s.Params {
			params = append(params, p.Name)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Name, s.Kind, s.File, orDash(strings.Join(params, ", ")), orDash(policy(s)))
	}
	return w.Flush()
}

// policy returns the statement's directives. @batch includes the statement that it
// names or that is derived.
func policy(s postgres.Statement) string {
	var p []string
	// First, because it concerns the generated code and not the calls.
	if s.Queue {
		p = append(p, "@queue")
	}
	if s.Route != "" && s.Route != postgres.Primary {
		p = append(p, "@route "+string(s.Route))
	}
	if s.Timeout != 0 {
		p = append(p, "@timeout "+s.Timeout.String())
	}
	if s.Retry {
		p = append(p, "@retry")
	}
	if s.Plan != "" {
		p = append(p, "@plan "+s.Plan)
	}
	if s.Batch != "" {
		p = append(p, "@batch "+s.Batch)
	}
	if s.DerivedFrom != "" {
		p = append(p, "derived from "+s.DerivedFrom)
	}
	if s.Class != "" && s.Class != postgres.DefaultClass {
		p = append(p, "@class "+s.Class)
	}
	if s.Stream {
		p = append(p, "@stream")
	}
	return strings.Join(p, " ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// The JSON form is a contract of the command line and not of the Go types, so it has
// separate types. A property that a statement does not have is null.
type (
	queryJSON struct {
		Name    string         `json:"name"`
		Kind    postgres.Kind  `json:"kind"`
		File    string         `json:"file"`
		Doc     string         `json:"doc"`
		SQL     string         `json:"sql"`
		Params  []queryParam   `json:"params"`
		Route   postgres.Route `json:"route"`
		Timeout *string        `json:"timeout"`
		Retry   bool           `json:"retry"`
		Plan    *string        `json:"plan"`
		Batch   *queryBatch    `json:"batch"`
		Class   string         `json:"class"`
		Stream  bool           `json:"stream"`
		Queue   bool           `json:"queue"`
		Reads   bool           `json:"reads"`
		Derived *string        `json:"derived_from"`
	}
	queryParam struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	queryBatch struct {
		Name string `json:"name"`
	}
)

func printQueriesJSON(a *app, statements []postgres.Statement) error {
	list := make([]queryJSON, 0, len(statements))
	for _, s := range statements {
		q := queryJSON{
			Name: s.Name, Kind: s.Kind, File: s.File, Doc: s.Doc, SQL: s.SQL,
			Params: make([]queryParam, 0, len(s.Params)),
			Route:  s.Route, Timeout: orNull(durationText(s.Timeout)), Retry: s.Retry,
			Plan: orNull(s.Plan), Class: cmp.Or(s.Class, postgres.DefaultClass), Stream: s.Stream, Queue: s.Queue,
			Derived: orNull(s.DerivedFrom), Reads: s.Reads || s.Route == postgres.Replica,
		}
		if q.Route == "" {
			q.Route = postgres.Primary
		}
		for _, p := range s.Params {
			q.Params = append(q.Params, queryParam{Name: p.Name, Type: p.Type})
		}
		if s.Batch != "" {
			q.Batch = &queryBatch{Name: s.Batch}
		}
		list = append(list, q)
	}
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // SQL is full of < and >
	return e.Encode(list)
}

func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
