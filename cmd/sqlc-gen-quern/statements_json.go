package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
)

// statementsJSON is the file that contains for tools what registry.go contains for the runtime.
const statementsJSON = "statements.json"

// The format of statements.json. Its names and their order are a contract. Fields may
// be added, but none may be omitted. An absent value is null or an empty list.
type (
	statementJSON struct {
		Name        string       `json:"name"`
		Kind        string       `json:"kind"`
		File        string       `json:"file"`
		Doc         string       `json:"doc"`
		SQL         string       `json:"sql"`
		Parameters  []valueJSON  `json:"parameters"`
		Columns     []columnJSON `json:"columns"`
		Policy      policyJSON   `json:"policy"`
		Reads       bool         `json:"reads"`
		DerivedFrom *string      `json:"derivedFrom"`
	}
	valueJSON struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	columnJSON struct {
		Name    string `json:"name"`
		Type    string `json:"type"`
		NotNull bool   `json:"notNull"`
	}
	policyJSON struct {
		Route   string  `json:"route"`
		Timeout *string `json:"timeout"` // a Go duration
		Retry   bool    `json:"retry"`
		Plan    *string `json:"plan"`
		Batch   *string `json:"batch"` // the statement that answers several calls
		Class   string  `json:"class"`
		Stream  bool    `json:"stream"`
		Queue   bool    `json:"queue"`
	}
)

// emitStatementsJSON writes statements.json with the statements sorted by name,
// indented by two blanks.
func emitStatementsJSON(sorted []*statement) ([]byte, error) {
	list := make([]statementJSON, 0, len(sorted))
	for _, s := range sorted {
		list = append(list, s.json())
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // SQL contains many < and >
	if err := e.Encode(list); err != nil {
		return nil, fmt.Errorf("sqlc-gen-quern: write %s: %w", statementsJSON, err)
	}
	return b.Bytes(), nil
}

func (s *statement) json() statementJSON {
	p := s.policy
	out := statementJSON{
		Name: s.Name, Kind: s.kind, File: s.Filename, Doc: s.doc, SQL: s.sqlText(),
		Parameters: []valueJSON{}, Columns: []columnJSON{}, Reads: s.reads, DerivedFrom: orNull(s.derivedFrom),
		Policy: policyJSON{
			Route: cmp.Or(p.route, "primary"), Retry: p.retry, Plan: orNull(p.plan), Batch: orNull(s.batchName()),
			Class: s.class(), Stream: p.stream, Queue: p.queue,
		},
	}
	if p.timeout > 0 {
		out.Policy.Timeout = orNull(p.timeout.String())
	}
	for _, param := range s.Params {
		out.Parameters = append(out.Parameters, valueJSON{param.name(), param.Column.sqlType()})
	}
	for _, c := range s.columns {
		out.Columns = append(out.Columns, columnJSON{c.Name, c.sqlType(), c.NotNull})
	}
	return out
}

// sqlText returns the exact text that is sent to the server.
func (s *statement) sqlText() string {
	switch {
	case s.kind == "copyfrom":
		return s.copySQL()
	case s.derivedFrom != "":
		return s.Text
	}
	return fmt.Sprintf("-- name: %s %s\n%s\n", s.Name, s.Cmd, s.Text)
}

// batchName returns the statement that runs several calls of this one, or "".
func (s *statement) batchName() string {
	if s.policy.batch.derived {
		return s.derivedName()
	}
	return s.policy.batch.name
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
