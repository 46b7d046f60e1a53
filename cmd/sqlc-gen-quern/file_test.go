package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// problemsOf checks one query file, queries/a.sql.
func problemsOf(text string) string {
	f := readFile(sqlFile{"queries/a.sql", text})
	for _, p := range f.parts {
		f.check(p)
	}
	var lines []string
	for _, p := range f.problems {
		lines = append(lines, strings.TrimPrefix(p.where, "queries/a.sql:")+": "+p.text)
	}
	return strings.Join(lines, "\n")
}

// TestFile covers what sqlc silently loses or assigns to another query.
func TestFile(t *testing.T) {
	t.Parallel()
	const (
		a      = "-- name: A :exec\nDELETE FROM t;"
		b      = "\n-- name: B :exec\nUPDATE t SET n = n + 1;\n"
		inside = ", where sqlc does not collect it: move it above -- name:"
		last   = " is after the last statement, where sqlc does not collect it: move it above -- name:"
		block  = " is in a block comment of several lines, which sqlc does not collect: write -- "
		line   = " is not at the start of a line, the only place where sqlc collects it: write -- "
		inText = "this line of a string begins with -- , so sqlc removes it as a comment: write the string differently, such as E'…\\n-- …'"
	)
	after := func(name string) string {
		return name + " is after the semicolon of A, so sqlc does not assign it to that query: move it above -- name: A"
	}
	for name, tt := range map[string]struct{ text, want string }{
		"Behind":              {a + " -- @retry" + b, "2: " + after("@retry")},
		"BehindMisspelt":      {a + "--@retri" + b, "2: " + after("@retri")},
		"BehindInABlock":      {a + " /* @retry */" + b, "2: " + after("@retry")},
		"BehindTheLast":       {a + " -- @retry", "2: " + after("@retry")},
		"BehindCRLF":          {strings.ReplaceAll(a+" -- @retry"+b, "\n", "\r\n"), "2: " + after("@retry")},
		"AfterTheLast":        {a + "\n-- @route replica\n\n-- @rout replica", "3: @route" + last + "\n5: @rout" + last},
		"AfterTheLastStarred": {a + "\n/*\n * @retry\n */\n", "4: @retry" + last},
		"BeforeASemicolon":    {a + "\n-- @retry\n;" + b, "3: @retry" + last},
		"OnlyComments":        {"-- @retry\n", "1: @retry" + last},
		"Starred":             {"/*\n * A deletes.\n * @route replica\n * @rout replica\n */\n" + a, "3: @route" + block + "@route\n4: @rout" + block + "@rout"},
		"StarredCRLF":         {"/**\r\n * @retry\r\n */\r\n" + a, "2: @retry" + block + "@retry"},
		"Block":               {"/*\n@retry\n*/\n" + a, "2: @retry" + block + "@retry"},
		"BlockFirstLine":      {"/* @retry\n*/\n" + a, "1: @retry" + block + "@retry"},
		"BlockWithDashes":     {"/*\n-- @retry\n*/\n" + a, "2: @retry" + block + "@retry"},
		"NestedBlock":         {"/* /*\n @retry */ */\n" + a, "2: @retry" + block + "@retry"},
		"TwoBlocks":           {"/* a */ /* @retry */\n" + a, "1: @retry" + line + "@retry on a separate line"},
		"BeforeText":          {"-- name: A :exec\n/* @retry */ DELETE FROM t;", "2: @retry" + line + "@retry on a separate line"},
		"Indented":            {"-- A\n  -- @retry\n" + a, "2: @retry" + line + "@retry on a separate line"},
		"ThreeDashes":         {"--- @retry\n" + a, "1: @retry is not the first word of its comment: write -- @retry, or begin the line with another word"},
		"TwiceDashed":         {"-- - @retry\n" + a, "1: @retry is not the first word of its comment: write -- @retry, or begin the line with another word"},
		"Inside":              {"-- name: A :exec\nDELETE\n-- @class bulk\nFROM t;", "3: @class is inside the statement A" + inside},
		"InsideIndented":      {"-- name: A :exec\nDELETE FROM t\n    -- @retry\n;", "3: @retry is inside the statement A" + inside},
		"InsideBehindText":    {"-- name: A :exec\nDELETE FROM t -- @retry\n;", "2: @retry is inside the statement A" + inside},
		"InsideABlock":        {"-- name: A :exec\nDELETE /*\n * @retry */ FROM t;", "3: @retry is inside the statement A" + inside},

		"NoName":        {"DELETE FROM t;\n" + a, "1: sqlc omits a statement without a name: put -- name: NAME :one (or another kind) on a separate line above it"},
		"NameInCapital": {"-- Name: A :exec\nDELETE FROM t;", "2: sqlc omits a statement without a name: put -- name: NAME :one (or another kind) on a separate line above it"},
		"NameBehind":    {a + " -- name: B :exec\nDELETE FROM t;", "3: sqlc omits a statement without a name: put -- name: NAME :one (or another kind) on a separate line above it"},
		"NameIndented":  {a + "\n -- B\n -- name: B :exec\nDELETE FROM t;", "5: sqlc omits a statement without a name: put -- name: NAME :one (or another kind) on a separate line above it"},
		"TwoNames":      {"-- name: A :exec\n" + a, "1: A: 2 lines -- name: before one semicolon, but sqlc uses only the first: end each statement with a semicolon, and give each one name"},

		"String":       {"-- name: A :exec\nUPDATE t SET s = 'a\n-- @retry\n';", "3: A: " + strings.ReplaceAll(inText, "-- ", "--")},
		"DollarString": {"-- name: A :exec\nUPDATE t SET s = $q$a\n--b\n$q$;", "3: A: " + strings.ReplaceAll(inText, "-- ", "--")},
		"EscapeString": {"-- name: A :exec\nUPDATE t SET s = E'a\\'\n--b\n';", "3: A: " + strings.ReplaceAll(inText, "-- ", "--")},
		"QuotedName":   {"-- name: A :exec\nUPDATE t SET \"a\n--b\" = 1;", "3: A: " + strings.ReplaceAll(inText, "-- ", "--")},
		"NameInString": {"-- name: A :exec\nUPDATE t SET s = 'a\n-- name: B :exec\n';", "3: A: " + strings.ReplaceAll(inText, "-- ", "--") +
			"\n1: A: 2 lines -- name: before one semicolon, but sqlc uses only the first: end each statement with a semicolon, and give each one name"},
		"HashInString":    {"-- name: A :exec\nUPDATE t SET s = '\n# b\n';", "3: A: " + strings.ReplaceAll(inText, "-- ", "#")},
		"Hash":            {"-- name: A :exec\nUPDATE t SET n = n\n# 3;", "3: A: sqlc removes this line as a comment because it begins with #: indent it"},
		"Blocks":          {"-- name: A :exec\nDELETE FROM t\n/* only */ WHERE gone /* ones */\n;", "3: A: sqlc removes this line as a comment because it begins with /*: indent it"},
		"EndOfBlock":      {"-- name: A :exec\nDELETE FROM t /*\n-- a */ WHERE gone;", "3: A: sqlc removes this line as a comment because it begins with --: indent it"},
		"CarriageReturns": {"-- name: A :exec\n-- A\rDELETE FROM t;", "2: A: sqlc removes this line as a comment because it begins with --: indent it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, problemsOf(tt.text)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFileAccepts covers files that sqlc reads as intended.
func TestFileAccepts(t *testing.T) {
	t.Parallel()
	const a = "-- name: A :exec\nDELETE FROM t;"
	for name, text := range map[string]string{
		"Above":        "-- A deletes.\n--\n-- @retry\n--@class bulk\n--\t@timeout 1s\n" + a,
		"BelowTheName": "-- name: A :exec\n-- @retry\nDELETE FROM t;",
		"OneLineBlock": "/* @retry */\n/*@class bulk*/\n" + a,
		"NameInBlock":  "/* name: A :exec */\nDELETE FROM t;",
		"CRLF":         strings.ReplaceAll("-- @retry\n/* @class bulk */\n"+a+"\n", "\n", "\r\n"),
		"FirstBlanks":  "\n \n  -- @retry\n" + a,
		"NoSemicolon":  "-- @retry\n-- name: A :exec\nDELETE FROM t",
		"Comments":     "/*\n * A, bob@example.org, and @ last\n */\n" + a + " -- the end of A, see @retry\n-- The end.\n",
		"Strings":      "-- name: A :exec\nUPDATE t SET a = '; -- @retry', b = $x$ -- @retry ; $x$, \"; -- @c\" = E'\\';' /* ; */;",
		"Inside":       "-- name: A :exec\nDELETE FROM t\n-- those of today\nWHERE /* not\n -- those */ true AND n\n  # 3 = 1 -- #\n;",
		"Hint":         "-- name: A :exec\n/*+ SeqScan(t) */\nDELETE FROM t;",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := problemsOf(text); got != "" {
				t.Error(got)
			}
		})
	}
}
