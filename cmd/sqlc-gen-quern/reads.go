package main

import (
	"slices"

	"quern/internal/pgproc"
)

// onlyReads reports whether the text of a statement shows that it changes nothing.
// It must be one query, write and lock no rows, and call only functions of
// PostgreSQL that change nothing. The text does not show which functions a view or
// an operator calls. TestStatements asks the server about these.
func onlyReads(s *statement) bool {
	tokens := slices.DeleteFunc(locate(s.Text), func(t located) bool { return t.kind == comment })
	if n := len(tokens); n > 0 && tokens[n-1].is(";") {
		tokens = tokens[:n-1]
	}
	if len(tokens) == 0 || s.kind == "copyfrom" || len(s.writes) > 0 || !slices.Contains(readers, tokens[0].text) {
		return false
	}
	for i, t := range tokens {
		if t.is(";") {
			return false
		}
		if !t.is("(") {
			continue
		}
		name, schema := calledAt(tokens, i)
		if name != "" && (schema != "" && schema != "pg_catalog" || !pgproc.Reads(name)) {
			return false
		}
	}
	return true
}

// writerCalled returns a function of PostgreSQL that the statement calls and whose
// effects outlast the statement, or "". For functions of the project,
// TestStatements asks the server.
func writerCalled(s *statement) string {
	tokens := slices.DeleteFunc(locate(s.Text), func(t located) bool { return t.kind == comment })
	for i, t := range tokens {
		if !t.is("(") {
			continue
		}
		if name, schema := calledAt(tokens, i); (schema == "" || schema == "pg_catalog") && pgproc.Writes(name) {
			return name
		}
	}
	return ""
}
