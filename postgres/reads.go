package postgres

import (
	"regexp"
	"slices"
	"strings"

	"quern/internal/pgproc"
)

var (
	// lexemes splits a statement into comments, literals, quoted names, words and single
	// characters, which is enough for readsOnly.
	lexemes = regexp.MustCompile(`(?s)--[^\n]*|'[^']*'|"[^"]*"|[\p{L}_][\p{L}\p{N}_$]*|\S`)

	// opaque matches text that lexemes would split incorrectly: nested block comments,
	// escapes and dollar quotes.
	opaque = regexp.MustCompile(`/\*|\\|\$[\p{L}_][\p{L}\p{N}_]*\$|\$\$`)

	// changing lists words. A query that contains none of them neither changes nor locks rows.
	changing = []string{"insert", "update", "delete", "merge", "into", "share"}
)

// readsOnly reports whether the text of a statement that no SQL file declares shows that it
// changes nothing. If in doubt it returns false, and then a lost answer leaves the outcome
// of the statement unknown.
//
// The plugin does the same for statements of SQL files, more precisely. A test queries the
// server for the functions that their views and operators call.
func readsOnly(sql string) bool {
	if opaque.MatchString(sql) {
		return false
	}
	tokens := slices.DeleteFunc(lexemes.FindAllString(strings.TrimRight(sql, "; \t\r\n"), -1), func(t string) bool {
		return strings.HasPrefix(t, "--")
	})
	at := func(i int) string {
		if i < 0 || i >= len(tokens) {
			return ""
		}
		return strings.ToLower(tokens[i])
	}
	if !slices.Contains([]string{"select", "with", "values", "table", "show"}, at(0)) {
		return false
	}
	for i := range tokens {
		switch token := at(i); {
		case token == ";", slices.Contains(changing, token):
			return false
		case token == "(" && !callsReader(at(i-1), at(i-2), at(i-3), at(i-4)):
			return false
		}
	}
	return true
}

var lexemeName = regexp.MustCompile(`^["\p{L}_]`)

// callsReader reports whether a parenthesis begins something other than a call of a
// function that may write. Its arguments are the four tokens before the parenthesis, the
// nearest first.
func callsReader(name, before, qualifier, outer string) bool {
	switch {
	case !lexemeName.MatchString(name):
		return true
	case before == ".":
		return qualifier == "pg_catalog" && outer != "." && pgproc.Reads(name)
	}
	return before == "as" || pgproc.IsConstruct(name, before) || pgproc.Reads(name)
}
